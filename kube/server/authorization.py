"""RBAC on every request: the white paper's roles, Kubernetes' own, and what is stored here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kube.server.accounting import Accounts
from kube.server.kinds import RBAC
from kube.server.status import ApiError, bad_request, forbidden, not_found
from kube.server.store import Missing, ObjectStore
from kube.server.tokens import User
from policy.authorizer import Authorizer, Decision
from policy.bindings import KUBERNETES_DEFAULTS, Binding
from policy.roles import Plane, accounts, user_name
from policy.rules import Request, Rule

ROLES, CLUSTER_ROLES = f"roles.{RBAC}", f"clusterroles.{RBAC}"
BINDINGS, CLUSTER_BINDINGS = f"rolebindings.{RBAC}", f"clusterrolebindings.{RBAC}"
MAX_COMBINATIONS = 10_000  # each is decided on: 5 us, and nobody else is served meanwhile
FIELDS = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")  # of a rule
STORED = (ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS)

Json = dict[str, Any]


class Authorization:
    """Decides for one cluster, and counts what it decided.

    Args:
        plane: whose roles hold.
        store: where further roles and bindings are.
    """

    def __init__(self, plane: Plane, store: ObjectStore) -> None:
        self._plane, self._store = plane, store
        self.accounts = Accounts(map(user_name, accounts(plane)))
        self._authorizer = Authorizer(plane, KUBERNETES_DEFAULTS)
        self._seen = 0

    def decide(self, request: Request) -> Decision:
        """Return whether a request is allowed, without counting it."""
        return self._current().decide(request)

    def require(self, user: User, request: Request) -> None:
        """Let a request pass that is allowed.

        Raises:
            ApiError: 403, in Kubernetes' words.
        """
        allowed = self.decide(request).allowed
        self.accounts.count(request, allowed=allowed)
        if not allowed:
            raise forbidden(request)

    def rules_for(self, user: User, namespace: str) -> tuple[Rule, ...]:
        """Return every rule that holds for a user in a namespace."""
        return self._current().rules_for(user.name, namespace, user.all_groups)

    def check_escalation(self, user: User, key: str, obj: Json) -> None:
        """Refuse a role or binding that gives more than its author has himself.

        Source: `rbac/escalation_check` of Kubernetes: verbs `escalate` and `bind` lift it.

        Raises:
            ApiError: 403; 400, it can't be read; 404, there is no such role yet to judge by.
        """
        _check_shape(obj)
        namespace = obj["metadata"].get("namespace", "")
        verb = "bind" if key in (BINDINGS, CLUSTER_BINDINGS) else "escalate"
        name = obj["metadata"]["name"]
        what, groups = key.partition(".")[0], user.all_groups
        lifted = Request(user.name, verb, RBAC, what, "", name, namespace, groups=groups)
        if self.decide(lifted).allowed:
            return
        given = self._given(namespace, obj) if verb == "bind" else _rules(obj)
        if sum(map(_combinations, given)) > MAX_COMBINATIONS:
            raise bad_request(f"a role gives at most {MAX_COMBINATIONS} rights, each counted")
        for asked in (asked for rule in given for asked in _singles(rule, user, namespace)):
            if not self.decide(asked).allowed:
                words = "is attempting to grant RBAC permissions not currently held"
                raise ApiError(
                    403,
                    "Forbidden",
                    f'{key} "{name}" is forbidden: user "{user.name}" {words}',
                    {"name": name, "group": RBAC, "kind": what},
                )

    def _given(self, namespace: str, binding: Json) -> tuple[Rule, ...]:
        reference = binding.get("roleRef") or {}
        try:
            return self._role(namespace, reference)
        except Missing:
            raise not_found("roles", str(reference.get("name"))) from None

    def _current(self) -> Authorizer:
        changed = max(self._store.changed_at(key) for key in STORED)
        if changed != self._seen:
            self._seen = changed
            stored = self._stored()
            self._authorizer = Authorizer(self._plane, (*KUBERNETES_DEFAULTS, *stored))
        return self._authorizer

    def _stored(self) -> Iterator[Binding]:
        for key in (BINDINGS, CLUSTER_BINDINGS):
            for obj in self._store.list(key):
                namespace = obj["metadata"].get("namespace", "")
                reference = obj.get("roleRef") or {}
                users, groups = _subjects(obj.get("subjects") or ())
                rules = self._referenced(namespace, reference)
                role = str(reference.get("name", ""))
                yield Binding(role, rules, users, namespace, groups=groups)

    def _referenced(self, namespace: str, reference: Json) -> tuple[Rule, ...]:
        try:
            return self._role(namespace, reference)
        except Missing:
            return ()

    def _role(self, namespace: str, reference: Json) -> tuple[Rule, ...]:
        of_cluster = reference.get("kind") == "ClusterRole"
        key, space = (CLUSTER_ROLES, "") if of_cluster else (ROLES, namespace)
        return _rules(self._store.get(key, space, str(reference.get("name"))))


def _check_shape(obj: Json) -> None:
    """Refuse a role or binding that would have every later decision fail."""
    rules, subjects = obj.get("rules") or [], obj.get("subjects") or []
    lists = isinstance(rules, list) and isinstance(subjects, list)
    tables = (*rules, *subjects, obj.get("roleRef") or {}) if lists else (None,)
    if all(isinstance(table, dict) for table in tables):
        words = [rule.get(field) or [] for rule in rules for field in FIELDS]
        if all(isinstance(w, list) and all(isinstance(x, str) for x in w) for w in words):
            return
    raise bad_request("rules, subjects or roleRef are not of the agreed shape")


def _rules(role: Json) -> tuple[Rule, ...]:
    return tuple(map(_rule, role.get("rules") or ()))


def _rule(rule: Json) -> Rule:
    return Rule(*(tuple(rule.get(name) or ()) for name in FIELDS))


def _subjects(subjects: Iterable[Json]) -> tuple[frozenset[str], frozenset[str]]:
    """Return users, service accounts among them, and groups."""
    users, groups = set[str](), set[str]()
    for subject in subjects:
        kind, name = subject.get("kind"), str(subject.get("name", ""))
        if kind == "ServiceAccount":
            users.add(user_name(name, str(subject.get("namespace"))))
        elif name:
            (groups if kind == "Group" else users).add(name)
    return frozenset(users), frozenset(groups)


def _combinations(rule: Rule) -> int:
    about = len(rule.groups) * len(rule.resources) * max(1, len(rule.names))
    return len(rule.verbs) * (about + len(rule.urls))


def _singles(rule: Rule, user: User, namespace: str) -> Iterator[Request]:
    """Yield every single thing that a rule allows, as a request."""
    groups = user.all_groups
    for verb in rule.verbs:
        for url in rule.urls:
            yield Request(user.name, verb, path=url, groups=groups)
        for group in rule.groups:
            for resource in rule.resources:
                what, _, sub = resource.partition("/")
                for name in rule.names or ("",):
                    yield Request(user.name, verb, group, what, sub, name, namespace, groups=groups)
