"""A client of a split, in front of its control plane: starts runs, watches them, tails their logs.

It knows what a ready file says and nothing else, as any client would.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from flyteidl2.cluster import payload_pb2 as cluster_pb2
from flyteidl2.common import identifier_pb2, phase_pb2
from flyteidl2.core import literals_pb2, tasks_pb2
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.workflow import run_definition_pb2, run_service_pb2
from google.protobuf.message import Message

from planesplit.connect_client import ConnectClient, ConnectError, M
from planesplit.ready import Place, Ready
from planesplit.tail import RETRY_FOR_S, Line, Retry, tail_lines
from planesplit.tokens import Tokens
from planesplit.workloads import Container
from tunnel.capabilities import TAIL_LOGS

ROOT_ACTION = "a0"
RUN_SERVICE = "/flyteidl2.workflow.RunService"
SELECT_CLUSTER = "/flyteidl2.cluster.ClusterService/SelectCluster"
PAGE_RUNS = 100
PHASE_PREFIX = "ACTION_PHASE_"
DONE = frozenset({"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT", "RECOVERED"})
BEGUN = DONE | {"RUNNING", "PAUSED"}
SUCCEEDED = "SUCCEEDED"
EXIT_CODE = "ExitCode"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What the control plane knows of a run.

    Args:
        phase: name of the phase, e.g. RUNNING.
        exit_code: of its container; None while it runs, and where none was reported.
        message: of its error, empty without.
        created, ended: empty or RFC 3339.
        cluster: where it runs, once that is known.
        attempts: tries of its action so far.
    """

    name: str
    phase: str
    exit_code: int | None = None
    message: str = ""
    created: str = ""
    ended: str = ""
    cluster: str = ""
    attempts: int = 0

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.phase in DONE


class Viewer:
    """One client, with its connections and its token.

    Args:
        client: calls RPCs.
        control_url: base URL of the control plane.
        place: default scope.
        now_s: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        client: ConnectClient,
        control_url: str,
        place: Place,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.client, self.place, self.control_url = client, place, control_url
        self._now_s = now_s

    async def run(self, container: Container, name: str = "", *, cluster: str = "") -> str:
        """Start a run and return its name.

        Args:
            name: the run's name; the control plane chooses one if it is empty.
            cluster: where it is to run; the control plane chooses one if it is empty.

        Raises:
            ConnectError: e.g. `already_exists`.
        """
        request = run_service_pb2.CreateRunRequest()
        if name:
            request.run_id.CopyFrom(self._run_id(name))
        else:
            place = self.place
            request.project_id.organization, request.project_id.name = place.org, place.project
            request.project_id.domain = place.domain
        template = request.task_spec.task_template
        template.id.name, template.type = container.name, "container"
        template.container.image = container.image
        template.container.command.extend(container.command)
        template.container.args.extend(container.args)
        template.container.env.extend(
            literals_pb2.KeyValuePair(key=key, value=value)
            for key, value in (container.env or {}).items()
        )
        if container.gpus:
            template.container.resources.requests.add(
                name=tasks_pb2.Resources.GPU, value=str(container.gpus)
            )
        request.run_spec.cluster_pool = cluster
        answer = await self.call("CreateRun", request, run_service_pb2.CreateRunResponse)
        return str(answer.run.action.id.run.name)

    async def status(self, run: str) -> RunStatus:
        """Return what is known of a run.

        Raises:
            ConnectError: `not_found` also for runs that this client may not see.
        """
        request = run_service_pb2.GetRunDetailsRequest(run_id=self._run_id(run))
        answer = await self.call("GetRunDetails", request, run_service_pb2.GetRunDetailsResponse)
        return _status(answer.details.action)

    async def wait(
        self,
        run: str,
        *,
        until: Callable[[RunStatus], bool] = lambda status: False,
        retry_for_s: float = RETRY_FOR_S,
    ) -> RunStatus:
        """Wait until a run has ended, or until a condition holds; return its status then.

        Args:
            until: condition; a run that has ended is returned in any case.
            retry_for_s: how long to look for the control plane when it is lost.

        Raises:
            ConnectError: any; `unavailable` after `retry_for_s` seconds.
        """
        retry = Retry(retry_for_s)
        while True:
            error = ConnectError("unavailable", "the watch ended before the run")
            try:
                async with self._watch(run) as changes:
                    async for change in changes:
                        retry.reset()
                        status = _status(change.details)
                        if status.done or until(status):
                            return status
            except ConnectError as failure:
                if failure.code not in ("unavailable", "deadline_exceeded"):
                    raise
                error = failure
            await retry.pause(error)

    async def data_uris(self, run: str) -> run_service_pb2.GetActionDataURIsResponse:
        """Return where a run's inputs and outputs lie.

        Raises:
            ConnectError: any.
        """
        request = run_service_pb2.GetActionDataURIsRequest(action_id=self.action_id(run))
        answer = run_service_pb2.GetActionDataURIsResponse
        return await self.call("GetActionDataURIs", request, answer)

    async def runs(self) -> list[RunStatus]:
        """Return the newest runs of the default project, at most 100."""
        place = self.place
        request = run_service_pb2.ListRunsRequest()
        request.request.limit = PAGE_RUNS
        request.project_id.organization, request.project_id.name = place.org, place.project
        request.project_id.domain = place.domain
        answer = await self.call("ListRuns", request, run_service_pb2.ListRunsResponse)
        return [_summary(run.action) for run in answer.runs]

    async def abort(self, run: str, reason: str = "") -> None:
        """Ask for the end of a run."""
        request = run_service_pb2.AbortRunRequest(run_id=self._run_id(run), reason=reason)
        await self.call("AbortRun", request, run_service_pb2.AbortRunResponse)

    @asynccontextmanager
    async def tail(
        self,
        run: str,
        *,
        since: str | float | datetime | None = None,
        lines: int | None = None,
        follow: bool = True,
        attempt: int = 1,
        compress: bool = False,
        retry_for_s: float = RETRY_FOR_S,
        on_retry: Callable[[ConnectError], None] = lambda error: None,
    ) -> AsyncIterator[AsyncGenerator[Line]]:
        """Tail a run's log: `async with viewer.tail(run) as lines: async for line in lines`.

        It is entered when the run has begun. Iterating raises ConnectError for any end but an
        orderly one.

        Args:
            since: nothing older: RFC 3339 text, a time, or seconds ago.
            lines: only so many of the last lines; such a tail cannot go on after the relay is lost
                or its token has ended.
            follow: go on until the run has ended; otherwise until what is there was sent.
            attempt: of the run's action.
            compress: ask for compressed messages; the agent complies if `logs.compress` is set.
            retry_for_s: how long to look for the relay when it is lost.
            on_retry: told of each failed try.

        Raises:
            ConnectError: the run is unknown, or the control plane is away.
        """
        headers = {"planesplit-follow": "true" if follow else "false"}
        if since is not None:
            headers["planesplit-since"] = _since(since, self._now_s())
        if lines is not None:
            headers["planesplit-lines"] = str(lines)
        await self.wait(run, until=lambda status: status.phase in BEGUN, retry_for_s=retry_for_s)
        found = tail_lines(
            lambda: self._open_tail(run, attempt, headers, compress=compress),
            may_reopen=lines is None,
            retry_for_s=retry_for_s,
            on_retry=on_retry,
            now_s=self._now_s,
        )
        async with aclosing(found):
            yield found

    @asynccontextmanager
    async def _open_tail(
        self, run: str, attempt: int, headers: Mapping[str, str], *, compress: bool
    ) -> AsyncIterator[AsyncIterator[dataproxy.TailLogsResponse]]:
        request = dataproxy.TailLogsRequest(action_id=self.action_id(run), attempt=attempt)
        url = await self.endpoint(cluster_pb2.SelectClusterRequest.OPERATION_TAIL_LOGS, run)
        answers = self.client.stream(
            url + TAIL_LOGS, request, dataproxy.TailLogsResponse, headers, compress=compress
        )
        async with answers as messages:
            yield messages

    async def endpoint(
        self, operation: cluster_pb2.SelectClusterRequest.Operation.ValueType, run: str = ""
    ) -> str:
        """Return the base URL that serves an operation; the control plane decides.

        Args:
            operation: what is to be done.
            run: of the default project, which is asked for as a whole if this is empty.
        """
        request = cluster_pb2.SelectClusterRequest(operation=operation)
        if run:
            request.action_id.CopyFrom(self.action_id(run))
        else:
            project = request.project_id
            project.organization, project.name = self.place.org, self.place.project
            project.domain = self.place.domain
        answer = await self.client.unary(
            self.control_url + SELECT_CLUSTER, request, cluster_pb2.SelectClusterResponse
        )
        return answer.cluster_endpoint.rstrip("/") or self.control_url

    async def call(self, method: str, request: Message, answer: type[M]) -> M:
        """Call an RPC of RunService.

        Raises:
            ConnectError: any.
        """
        url = f"{self.control_url}{RUN_SERVICE}/{method}"
        return await self.client.unary(url, request, answer)

    def _watch(
        self, run: str
    ) -> AbstractAsyncContextManager[AsyncIterator[run_service_pb2.WatchActionDetailsResponse]]:
        return self.client.stream(
            f"{self.control_url}{RUN_SERVICE}/WatchActionDetails",
            run_service_pb2.WatchActionDetailsRequest(action_id=self.action_id(run)),
            run_service_pb2.WatchActionDetailsResponse,
        )

    def _run_id(self, run: str) -> identifier_pb2.RunIdentifier:
        place = self.place
        return identifier_pb2.RunIdentifier(
            org=place.org, project=place.project, domain=place.domain, name=run
        )

    def action_id(self, run: str) -> identifier_pb2.ActionIdentifier:
        """Return the full name of the one action of a run of the default project."""
        return identifier_pb2.ActionIdentifier(run=self._run_id(run), name=ROOT_ACTION)


@asynccontextmanager
async def open_viewer(
    ready: Ready,
    *,
    mounts: Mapping[str, httpx.AsyncBaseTransport] | None = None,
    now_s: Callable[[], float] = time.time,
) -> AsyncIterator[Viewer]:
    """Connect a client to a running split, as the demo client of its ready file.

    Args:
        mounts: transports by URL pattern, instead of the network.
        now_s: wall clock, seconds since the epoch.
    """
    verify = ssl.create_default_context(cafile=ready.ca_file) if ready.ca_file else False
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(
        verify=verify, trust_env=False, limits=limits, mounts=mounts
    ) as http:
        tokens = None
        if ready.credentials:
            login = ready.credentials
            secret_file = Path(login.client_secret_file)
            tokens = Tokens(http, ready.urls.control, login.client_id, secret_file)
        yield Viewer(ConnectClient(http, tokens), ready.urls.control, ready.place, now_s=now_s)


def _since(value: str | float | datetime, now_s: float) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, datetime):
        value = datetime.fromtimestamp(now_s - value, UTC)
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _status(details: run_definition_pb2.ActionDetails) -> RunStatus:
    attempts = details.attempts
    return RunStatus(
        name=details.id.run.name,
        phase=_phase(details.status.phase),
        exit_code=_exit_code(details),
        message=details.error_info.message,
        created=_time(details.status.start_time.seconds),
        ended=_time(details.status.end_time.seconds),
        cluster=attempts[-1].cluster if attempts else "",
        attempts=details.status.attempts,
    )


def _summary(action: run_definition_pb2.Action) -> RunStatus:
    return RunStatus(
        name=action.id.run.name,
        phase=_phase(action.status.phase),
        created=_time(action.status.start_time.seconds),
        ended=_time(action.status.end_time.seconds),
    )


def _phase(number: phase_pb2.ActionPhase.ValueType) -> str:
    return str(phase_pb2.ActionPhase.Name(number)).removeprefix(PHASE_PREFIX)


def _exit_code(details: run_definition_pb2.ActionDetails) -> int | None:
    """Success is 0; flyteidl2 has no field for others, so they are in the error's code."""
    if _phase(details.status.phase) == SUCCEEDED:
        return 0
    kind, _, number = details.error_info.code.partition(":")
    return int(number) if kind == EXIT_CODE and number.isdecimal() else None


def _time(seconds: int) -> str:
    return (
        datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else ""
    )
