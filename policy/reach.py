"""Who reaches what: one cell for each account, scope and resource."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policy.authorizer import Authorizer
from policy.resources import VERBS, payload, resources
from policy.roles import CLUSTER, NAMESPACE, Plane, accounts, user_name
from policy.rules import Request


@dataclass(frozen=True, slots=True)
class Reach:
    """One account's rights over resources.

    Args:
        account: the service account.
        plane: whose cluster.
        namespace: where they hold; empty for everywhere, else what holds only there.
        cells: verbs by `resource` or `resource/subresource`; without what may not be done.
    """

    account: str
    plane: Plane
    namespace: str
    cells: dict[str, tuple[str, ...]]

    @property
    def payload(self) -> dict[str, str]:
        """What of it holds customers' payload. The control plane's cluster runs no customer pod."""
        if self.plane == "control":
            return {}
        return {what: why for what, why in payload().items() if what in self.cells}


def reaches(plane: Plane, names: Sequence[str]) -> Iterator[Reach]:
    """Yield what every account of the plane may do, everywhere and in `union` only.

    Args:
        plane: whose cluster.
        names: `resource` or `resource/subresource`, by plural.
    """
    authorizer = Authorizer(plane)
    for account in accounts(plane):
        everywhere = _cells(authorizer, account, names, CLUSTER)
        yield Reach(account, plane, CLUSTER, everywhere)
        inside = _cells(authorizer, account, names, NAMESPACE)
        more = {what: verbs for what, verbs in inside.items() if verbs != everywhere.get(what)}
        if more:
            yield Reach(account, plane, NAMESPACE, more)


def _cells(
    authorizer: Authorizer, account: str, names: Sequence[str], namespace: str
) -> dict[str, tuple[str, ...]]:
    found = {what: _verbs(authorizer, account, what, namespace) for what in names}
    return {what: verbs for what, verbs in found.items() if verbs}


def _verbs(authorizer: Authorizer, account: str, what: str, namespace: str) -> tuple[str, ...]:
    name, _, subresource = what.partition("/")
    asked = [
        Request(user_name(account), verb, group, name, subresource, namespace=namespace)
        for verb in VERBS
        for group in resources()[name].groups
    ]
    return tuple(dict.fromkeys(one.verb for one in asked if authorizer.decide(one).allowed))
