"""What every service handler needs: store, access, clock, notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flyteidl2.common import identifier_pb2

from control_stub import directory, runs
from control_stub.identity import Access, Caller, not_found
from control_stub.kubernetes.parts import Parts
from control_stub.notices import Notices
from control_stub.runs import ROOT_ACTION, Run, RunKey
from control_stub.settings import ControlSettings
from control_stub.store import Store
from tunnel.journal import Journal
from tunnel.messages.rpc import Context
from tunnel.row_counts import RowCounts

OPEN_RUNS = "open runs"  # notice: a run waits to be assigned or aborted


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts that handlers share.

    Args:
        clock: seconds since the epoch.
        rows: where bodies are counted.
        parts: what the parts see of their own cluster; None where there is none.
    """

    settings: ControlSettings
    store: Store
    access: Access
    notices: Notices
    journal: Journal
    clock: Callable[[], float]
    rows: RowCounts
    parts: Parts | None = None

    def now_ns(self) -> int:
        """Return the time in nanoseconds since the epoch."""
        return int(self.clock() * 1e9)

    async def project(
        self, ctx: Context, permission: str, org: str, project: str, domain: str
    ) -> Caller:
        """Return the caller if it has the permission in a project that exists.

        Raises:
            ConnectError: see Access.require.
        """
        caller = self.access.require(ctx, permission, org, project, domain)
        known = await self.store.call(directory.projects, caller.org)
        if not any(project == p.project and domain in p.domains for p in known):
            raise not_found("project")
        if self.parts is not None:
            await self.parts.require("authorizer", project, domain)
        return caller

    async def run(
        self, ctx: Context, permission: str, name: identifier_pb2.RunIdentifier
    ) -> tuple[Caller, Run]:
        """Return the caller and a run that it may use.

        Raises:
            ConnectError: see Access.require.
        """
        caller = self.access.require(
            ctx, permission, name.org, name.project, name.domain, what="run"
        )
        key = RunKey(caller.org, name.project, name.domain, name.name)
        run = await self.store.call(runs.get, key)
        if run is None:
            raise not_found("run")
        return caller, run

    async def action(
        self, ctx: Context, permission: str, name: identifier_pb2.ActionIdentifier
    ) -> tuple[Caller, Run]:
        """Return the caller and the run of an action that it may use.

        Raises:
            ConnectError: see Access.require.
        """
        caller, run = await self.run(ctx, permission, name.run)
        if name.name != ROOT_ACTION:
            raise not_found("action")
        return caller, run
