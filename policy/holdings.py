"""What Kubernetes manifests grant, added up for each subject."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy.bindings import KUBERNETES_DEFAULTS
from policy.roles import CLUSTER, NAMESPACE, PREFIX, Plane, Role, accounts, roles, user_name
from policy.rules import Rule

MAX_OBJECTS = 10_000  # of one file; a large cluster has some hundred roles


class BadManifest(ValueError):
    """A document that is no Kubernetes object, or one of RBAC's with a part that can't be."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Rules that a subject has.

    Args:
        source: the role's kind and name.
        namespace: where they hold; empty for everywhere.
        rules: what they are.
        known: whether the role is there; a role that isn't may grant anything.
    """

    source: str
    namespace: str
    rules: tuple[Rule, ...]
    known: bool = True


Holdings = dict[str, list[Grant]]  # by user, group, or `role NAME` for what is bound to nobody
_Key = tuple[str, str, str]  # kind, namespace, name
_BUILT_IN: dict[_Key, tuple[Rule, ...]] = {  # every cluster has them, no manifest names them
    ("ClusterRole", CLUSTER, each.role): each.rules for each in KUBERNETES_DEFAULTS
}


def of_white_paper(planes: Sequence[Plane]) -> Holdings:
    """Return what Appendix C and D grant."""
    found: Holdings = {}
    for role in (role for plane in planes for role in roles(plane)):
        for subject in _subjects_of(role):
            found.setdefault(subject, []).append(
                _grant(role.kind, role.name, role.scope, role.rules)
            )
    return found


def of_manifests(documents: Iterable[object], namespace: str = NAMESPACE) -> Holdings:
    """Return what an operator's manifests grant; what isn't RBAC is passed over.

    A role of the white paper's name that no binding names counts as bound as the white paper says.

    Args:
        documents: as YAML has them; lists of objects are taken apart.
        namespace: what they call `union`.

    Raises:
        BadManifest: not Kubernetes objects, or more than 10,000.
    """
    objects = list(itertools.islice(_objects(documents), MAX_OBJECTS + 1))
    if len(objects) > MAX_OBJECTS:
        raise BadManifest(f"more than {MAX_OBJECTS} objects")
    found = _Collected(namespace)
    for one in objects:
        found.add(one)
    return found.holdings()


class _Collected:
    """Roles and bindings of one file."""

    def __init__(self, namespace: str) -> None:
        self._union = namespace
        self._roles: dict[_Key, Mapping[str, Any]] = {}
        self._bindings: list[Mapping[str, Any]] = []

    def add(self, one: Mapping[str, Any]) -> None:
        """Take a role or a binding."""
        match one.get("kind"):
            case "Role" | "ClusterRole":
                self._roles[self._key(one["kind"], one)] = one
            case "RoleBinding" | "ClusterRoleBinding":
                self._bindings.append(one)

    def holdings(self) -> Holdings:
        """Return each subject's grants."""
        found: Holdings = {}
        bound = set()
        for binding in self._bindings:
            key, namespace = self._role_of(binding)
            bound.add(key)
            grant = _grant(key[0], key[2], namespace, self._rules(key), known=self._knows(key))
            for one in _parts(binding, "subjects"):
                found.setdefault(self._subject(one, binding), []).append(grant)
        for key in self._roles.keys() - bound:
            for subject in _known_subjects(key):
                found.setdefault(subject, []).append(
                    _grant(key[0], key[2], key[1], self._rules(key))
                )
        return found

    def _role_of(self, binding: Mapping[str, Any]) -> tuple[_Key, str]:
        reference = _part(binding, "roleRef")
        if "name" not in reference:
            raise BadManifest(f"{_called(binding)} has no roleRef")
        kind = str(reference.get("kind"))
        where = self._namespace(binding) if binding["kind"] == "RoleBinding" else CLUSTER
        return (kind, where if kind == "Role" else CLUSTER, str(reference["name"])), where

    def _rules(self, key: _Key) -> tuple[Rule, ...]:
        if key not in self._roles and key in _BUILT_IN:
            return _BUILT_IN[key]
        role = self._roles.get(key, {})
        rules = [_rule(role, rule) for rule in _parts(role, "rules")]
        for labels in _selectors(role):
            for other in self._roles.values():
                has = _part(_part(other, "metadata"), "labels")
                if other is not role and labels.items() <= has.items():
                    rules += [_rule(other, rule) for rule in _parts(other, "rules")]
        return tuple(rules)

    def _knows(self, key: _Key) -> bool:
        return key in self._roles or key in _BUILT_IN

    def _key(self, kind: str, one: Mapping[str, Any]) -> _Key:
        return kind, self._namespace(one) if kind == "Role" else CLUSTER, _name(one)

    def _namespace(self, one: Mapping[str, Any]) -> str:
        given = str(_part(one, "metadata").get("namespace") or self._union)
        return NAMESPACE if given == self._union else given

    def _subject(self, subject: Mapping[str, Any], binding: Mapping[str, Any]) -> str:
        name = str(subject.get("name"))
        if subject.get("kind") != "ServiceAccount":
            return name
        given = str(subject.get("namespace") or self._namespace(binding))
        return user_name(name, NAMESPACE if given == self._union else given)


def _subjects_of(role: Role) -> list[str]:
    return [user_name(account) for account in role.accounts] or [f"role {role.name}"]


def _known_subjects(key: _Key) -> list[str]:
    """Who has a role that nothing binds, by the white paper."""
    for plane in ("control", "compute"):
        for role in roles(plane):
            if (role.kind, role.scope, role.name) == key:
                return _subjects_of(role)
    return []


def planes_of(holdings: Holdings) -> tuple[Plane, ...]:
    """Return the planes whose accounts or unbound roles have something."""
    every: tuple[Plane, ...] = ("control", "compute")
    return tuple(plane for plane in every if holdings.keys() & of_white_paper((plane,)).keys())


def short_name(subject: str) -> str:
    """Return a service account of `union` by its name alone."""
    name = subject.removeprefix(f"{PREFIX}{NAMESPACE}:")
    return name if name in (*accounts("control"), *accounts("compute")) else subject


def _grant(
    kind: str, name: str, namespace: str, rules: tuple[Rule, ...], *, known: bool = True
) -> Grant:
    return Grant(f"{kind} {name}", namespace, rules, known)


def _objects(documents: Iterable[object]) -> Iterator[Mapping[str, Any]]:
    for document in documents:
        if not document:
            continue
        one = _object(document)
        listed = one.get("items") if one["kind"].endswith("List") else None
        yield from map(_object, listed if isinstance(listed, list) else [one])


def _object(one: object) -> Mapping[str, Any]:
    if not isinstance(one, Mapping) or not isinstance(one.get("kind"), str):
        raise BadManifest("a document is no Kubernetes object: it has no kind")
    return one


def _selectors(role: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    """Labels of the roles that an aggregated role is made of."""
    for selector in _parts(_part(role, "aggregationRule"), "clusterRoleSelectors"):
        labels = _part(selector, "matchLabels")
        if not labels or "matchExpressions" in selector:
            raise BadManifest(f"{_called(role)}: only matchLabels are understood")
        yield labels


def _rule(role: Mapping[str, Any], rule: Mapping[str, Any]) -> Rule:
    parts = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
    values = []
    for part in parts:
        given = rule.get(part) or []
        if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
            raise BadManifest(f"{_called(role)}: {part} is no list of words")
        values.append(tuple(given))
    return Rule(*values)


def _parts(one: Mapping[str, Any], part: str) -> list[Mapping[str, Any]]:
    given = one.get(part) or []
    if not isinstance(given, list) or not all(isinstance(item, Mapping) for item in given):
        raise BadManifest(f"{_called(one)}: {part} is no list of objects")
    return given


def _part(one: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    given = one.get(part) or {}
    if not isinstance(given, Mapping):
        raise BadManifest(f"{_called(one)}: {part} is no object")
    return given


def _name(one: Mapping[str, Any]) -> str:
    name = _part(one, "metadata").get("name")
    if not isinstance(name, str):
        raise BadManifest(f"a {one['kind']} has no name")
    return name


def _called(one: Mapping[str, Any]) -> str:
    metadata = one.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return f"{one.get('kind', 'an object')} {name or 'without a name'}"
