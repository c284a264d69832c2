"""Kubernetes' RBAC authorizer over the white paper's roles: what no rule allows is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from policy.bindings import Binding, white_paper
from policy.roles import CLUSTER, Plane
from policy.rules import Request, Rule
from policy.words import denial


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer.

    Args:
        allowed: yes or no.
        why: for people; of a refusal in Kubernetes' words.
        role: the role that allowed it; None for a refusal.
        appendix: that role's row of the white paper, empty if it has none.
    """

    allowed: bool
    why: str
    role: str | None = None
    appendix: str = ""


class Authorizer:
    """Decides for one plane's cluster.

    Args:
        plane: whose roles hold.
        extra_bindings: what holds besides, e.g. `KUBERNETES_DEFAULTS`.
    """

    def __init__(self, plane: Plane, extra_bindings: Iterable[Binding] = ()) -> None:
        self._of_users: dict[str, list[Binding]] = {}
        self._of_groups: dict[str, list[Binding]] = {}
        for binding in (*white_paper(plane), *extra_bindings):
            for user in binding.subjects:
                self._of_users.setdefault(user, []).append(binding)
            for group in binding.groups:
                self._of_groups.setdefault(group, []).append(binding)

    def decide(self, request: Request) -> Decision:
        """Return whether somebody may do this, and by which role or why not."""
        for binding in self._bindings(request.user, request.groups, request.namespace):
            if any(rule.allows(request) for rule in binding.rules):
                return _allowed(binding)
        return Decision(False, denial(request))

    def rules_for(
        self, user: str, namespace: str = CLUSTER, groups: tuple[str, ...] = ()
    ) -> tuple[Rule, ...]:
        """Return every rule that holds for a user in a namespace (SelfSubjectRulesReview)."""
        found = self._bindings(user, groups, namespace)
        return tuple(dict.fromkeys(rule for binding in found for rule in binding.rules))

    def _bindings(self, user: str, groups: tuple[str, ...], namespace: str) -> Iterator[Binding]:
        held = [self._of_users.get(user, ())]
        held += [self._of_groups.get(group, ()) for group in groups]
        for binding in chain.from_iterable(held):
            if binding.namespace in (CLUSTER, namespace):
                yield binding


def _allowed(binding: Binding) -> Decision:
    kind = "Role" if binding.namespace else "ClusterRole"
    where = f' in the namespace "{binding.namespace}"' if binding.namespace else ""
    row = f", white paper {binding.appendix}" if binding.appendix else ""
    return Decision(True, f'{kind} "{binding.role}"{where}{row}', binding.role, binding.appendix)
