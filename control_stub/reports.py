"""What agents report: phases and health, metadata only. Arrives through the relay, as it came."""

from __future__ import annotations

import re

import httpx
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from control_stub import directory, runs
from control_stub.directory import Health, Usage
from control_stub.phases import RANKS, Report
from control_stub.runs import MAX_ATTEMPTS, ROOT_ACTION, RunKey
from control_stub.services.desk import OPEN_RUNS, Desk
from tunnel.health import REASONS
from tunnel.messages import planesplit_v1_pb2 as wire
from tunnel.messages.rpc import Context, connect_app

SERVICE = wire.DESCRIPTOR.services_by_name["ReportService"]
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,200}")
_POD = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")  # a Kubernetes object name
_MAX_NUMBER = 2**63 - 1  # SQLite's integers


class Reports:
    """Handles `planesplit.v1.ReportService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        app = connect_app((SERVICE, self), compressions=(), on_error=self._failed)
        transport = httpx.ASGITransport(app=app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://reports")

    async def answer(
        self, *, org: str, cluster: str, path: str, content_type: str, body: bytes
    ) -> httpx.Response:
        """Serve one exchange.

        Args:
            org, cluster: whose tunnel it came through, as the relay says.
        """
        headers = {
            "content-type": content_type,
            "planesplit-org": org,
            "planesplit-cluster": cluster,
        }
        return await self._client.post(path, content=body, headers=headers)

    async def report_health(self, request: wire.HealthRequest, ctx: Context) -> wire.HealthResponse:
        """Keep what an agent says of its cluster: numbers, and reasons from a closed list."""
        reporter = _reporter(request.org, request.cluster, ctx)
        health = _health(request)
        now_ns = self._desk.now_ns()
        if await self._desk.store.call(directory.set_health, *reporter, health, now_ns):
            self._desk.journal.event(
                "health_reported",
                org=request.org,
                cluster=request.cluster,
                healthy=health.healthy,
                reasons="+".join(health.reasons),
            )
        return wire.HealthResponse()

    async def report(self, request: wire.ReportRequest, ctx: Context) -> wire.ReportResponse:
        """Merge an agent's phases into the store; saying them again changes nothing."""
        reporter = _reporter(request.org, request.cluster, ctx)
        events = [event for event in map(_event, request.phases) if event is not None]
        now_ns = self._desk.now_ns()
        own = await self._desk.store.call(runs.record, reporter, events, now_ns)
        await self._desk.store.call(directory.heard, *reporter, now_ns)
        gone: set[RunKey] = set()
        if request.full:
            told = [(key, report.attempt) for key, report in events]
            gone = await self._desk.store.call(runs.lost, reporter, told, now_ns)
        for key in own | gone:
            self._desk.notices.touch(key)
        self._desk.notices.touch(OPEN_RUNS)  # an attempt that failed may have another
        accepted = sum(key in own for key, _ in events)
        self._desk.journal.event(
            "phases_reported",
            org=request.org,
            cluster=request.cluster,
            events=len(request.phases),
            accepted=accepted,
            lost=len(gone),
            full=request.full,
        )
        return wire.ReportResponse(accepted=accepted)

    def _failed(self, path: str, error: Exception) -> None:
        self._desk.journal.event("rpc_failed", path=path, error=type(error).__name__)


def _reporter(org: str, cluster: str, ctx: Context) -> tuple[str, str]:
    """Return whose tunnel a report came through; a report of another cluster is refused."""
    headers = ctx.request_headers
    if (headers.get("planesplit-org"), headers.get("planesplit-cluster")) != (org, cluster):
        raise ConnectError(Code.PERMISSION_DENIED, "the report is not of this tunnel's cluster")
    return org, cluster


def _health(request: wire.HealthRequest) -> Health:
    """Return what may be stored; reasons and addresses of another form are refused.

    Raises:
        ConnectError: INVALID_ARGUMENT.
    """
    if not set(request.reasons) <= REASONS:
        raise ConnectError(Code.INVALID_ARGUMENT, f"reasons are {', '.join(sorted(REASONS))}")
    if request.data_url and not _URL.fullmatch(request.data_url):
        raise ConnectError(Code.INVALID_ARGUMENT, "data_url must be http(s)://host:port")
    said = request.usage
    numbers = (
        said.nodes,
        said.pods_running,
        said.pods_pending,
        _milli(said.cpu_cores),
        _milli(said.cpu_used_cores),
        said.memory_bytes,
        said.memory_used_bytes,
    )
    usage = Usage(*(min(number, _MAX_NUMBER) for number in numbers))
    return Health(request.healthy, tuple(sorted(set(request.reasons))), request.data_url, usage)


def _milli(cores: float) -> int:
    return round(cores * 1000) if 0 <= cores < 1e9 else 0


def _event(event: wire.PhaseEvent) -> tuple[RunKey, Report] | None:
    """Return a well-formed phase; None for another, which is not stored."""
    action = event.action
    at_ns = event.at.seconds * 1_000_000_000 + event.at.nanos
    if (
        event.phase not in RANKS
        or action.action != ROOT_ACTION
        or not 1 <= action.attempt <= MAX_ATTEMPTS
        or not 0 <= at_ns <= _MAX_NUMBER
        or event.sequence > _MAX_NUMBER
    ):
        return None
    key = RunKey(action.org, action.project, action.domain, action.run)
    exit_code = event.exit_code if event.has_exit_code else None
    pod = event.pod if _POD.fullmatch(event.pod) else ""
    return key, Report(action.attempt, event.phase, event.sequence, at_ns, exit_code, pod)
