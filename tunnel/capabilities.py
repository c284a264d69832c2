"""The closed list of RPCs that may cross; relay and agent refuse what is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Opener = Literal["viewer", "control", "agent"]


@dataclass(frozen=True, slots=True)
class Capability:
    """One RPC that may cross.

    Args:
        path: `/{service}/{method}`.
        opened_by: whose exchange it is.
        permission: what the caller must hold in the scope.
        resumable: whether the relay may keep the request and re-open it at the last MARK. Only for
            reads that stream; a write is never replayed.
        row: row of the white paper's Appendix A that the bytes belong to.
    """

    path: str
    opened_by: Opener
    permission: str
    resumable: bool
    row: str


TAIL_LOGS = "/flyteidl2.dataproxy.DataProxyService/TailLogs"
ASSIGN = "/planesplit.v1.ExecutorService/Assign"
ABORT = "/planesplit.v1.ExecutorService/Abort"
REPORT = "/planesplit.v1.ReportService/Report"

CAPABILITIES: dict[str, Capability] = {
    capability.path: capability
    for capability in (
        Capability(TAIL_LOGS, "viewer", "view", resumable=True, row="A8"),
        Capability(ASSIGN, "control", "assign", resumable=False, row="A1"),
        Capability(ABORT, "control", "assign", resumable=False, row="A3"),
        Capability(REPORT, "agent", "report", resumable=False, row="A3"),
    )
}
