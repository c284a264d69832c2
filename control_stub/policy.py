"""Who may do what, in memory: what every RPC is checked against and what the relay is pushed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from control_stub import directory
from control_stub.directory import Binding, Cluster
from control_stub.issuer import Issuer
from control_stub.notices import Notices
from control_stub.settings import ANY
from control_stub.store import Store
from tunnel.roles import PERMISSIONS

POLICY = "policy"  # notice: the relay must be told again
HELD_S = 253_402_300_799  # the last second of 9999: no token is issued later
ACCESS = "access"  # notice: agents must be told again


class Policy:
    """A copy of the store's roles, clusters and revocations.

    Args:
        clock: seconds since the epoch; versions grow with it, so they grow over restarts too.
    """

    def __init__(self, store: Store, notices: Notices, clock: Callable[[], float]) -> None:
        self._store, self._notices, self._clock = store, notices, clock
        self.version = 0
        self._bindings: list[Binding] = []
        self._clusters: list[Cluster] = []
        self._revoked: dict[tuple[str, str], int] = {}
        self._homes: dict[str, str] = {}  # client id -> org

    async def reload(self) -> None:
        """Read everything again and wake those who wait for POLICY."""
        self._bindings = await self._store.call(directory.bindings)
        self._clusters = await self._store.call(directory.clusters)
        self._revoked = await self._store.call(directory.revoked)
        self._homes = await self._store.call(directory.homes)
        self.version = max(self.version + 1, int(self._clock() * 1000))
        self._notices.touch(POLICY)
        self._notices.touch(ACCESS)

    def allows(
        self, subject: str, permission: str, org: str, project: str | None, domain: str | None
    ) -> bool:
        """Whether a subject's roles give a permission.

        Args:
            project, domain: None asks for any; `-` is what belongs to no single one, where only a
                role of all of them counts.
        """
        return any(
            permission in PERMISSIONS[binding.role]
            for binding in self._bindings
            if (binding.subject, binding.org) == (subject, org)
            and (project is None or binding.project in (ANY, project))
            and (domain is None or binding.domain in (ANY, domain))
        )

    def bindings(self, org: str) -> list[Binding]:
        """Return the roles in an org."""
        return [binding for binding in self._bindings if binding.org == org]

    def clusters(self, org: str) -> list[Cluster]:
        """Return an org's clusters as they were when the policy was read."""
        return [cluster for cluster in self._clusters if cluster.org == org]

    def revoked(self, org: str) -> dict[str, int]:
        """Return since which second the tokens of an org's subjects count."""
        return {subject: at for (where, subject), at in self._revoked.items() if where == org}

    def is_revoked(self, org: str, subject: str, issued_at_s: int) -> bool:
        """Whether a token of an org's subject no longer counts."""
        return issued_at_s < self._revoked.get((org, subject), 0)

    def is_held(self, org: str, subject: str) -> bool:
        """Whether an org's subject gets no new tokens either."""
        return self._revoked.get((org, subject), 0) == HELD_S

    def document(self, issuer: Issuer) -> dict[str, Any]:
        """Return what the relay's private listener is pushed."""
        return {
            "version": self.version,
            "issuer": issuer.url,
            "jwks": issuer.jwks(),
            "bindings": [binding._asdict() for binding in self._bindings],
            "clusters": [
                {"org": c.org, "cluster": c.cluster, "enabled": c.enabled} for c in self._clusters
            ],
            "revoked": self._everywhere(),
        }

    def _everywhere(self) -> dict[str, int]:
        """Return the revocations of those whom an org may revoke for everybody: its own apps.

        The relay knows subjects, not their orgs; one org must not shut another's subject out.
        """
        return {
            subject: at
            for (org, subject), at in self._revoked.items()
            if self._homes.get(subject, org) == org
        }
