"""RunService: starts, watches and ends runs; what they print, read or write never comes here."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common import list_pb2
from flyteidl2.task import task_definition_pb2
from flyteidl2.workflow import run_definition_pb2 as definition
from flyteidl2.workflow import run_service_pb2 as wire

from control_stub import addresses, directory, lists, runs, tasks
from control_stub.clusters import choose
from control_stub.identity import Caller, not_found
from control_stub.lists import Listing, invalid
from control_stub.runs import NewRun, Run, RunKey
from control_stub.services import views
from control_stub.services.desk import OPEN_RUNS, Desk
from control_stub.services.specs import check_names, checked, with_environment
from control_stub.tasks import TaskKey
from tunnel.messages.rpc import Context

MAX_REASON_CHARS = 1024
EPHEMERAL_VERSION = "ephemeral"

_LISTING = Listing(
    "runs",
    time="created_at",
    name="run",
    fields={
        "phase": ("phase", int),
        "task_name": ("task_name", str),
        "task_version": ("task_version", str),
        "created_by": ("created_by", str),
        "created_at": ("created_at", lists.nanoseconds),
        "updated_at": ("updated_at", lists.nanoseconds),
    },
)


class RunService:
    """Handles `flyteidl2.workflow.RunService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create_run(
        self, request: wire.CreateRunRequest, ctx: Context
    ) -> wire.CreateRunResponse:
        """Queue a run of a task given in full or by the name of a deployed version."""
        if request.inputs.literals:
            raise invalid(
                "inputs do not pass through the control plane; upload them with UploadInputs to the"
                " cluster's data endpoint and name them in offloaded_input_data"
            )
        key = await self._new_key(request, ctx)
        caller = self._desk.access.caller(ctx)
        name, version, spec = await self._task(request, ctx)
        spec = with_environment(spec, request.run_spec)
        checked(spec, self._desk.settings.limits.spec_bytes)
        inputs_uri = self._inputs_uri(request, key)
        attempts = self._attempts(spec)
        cluster = await self._cluster(caller.org, request.run_spec.cluster_pool)
        if self._desk.parts is not None:
            await self._desk.parts.require("queue", key.project, key.domain)
        digest = await self._desk.store.call(tasks.put_spec, spec)
        new = NewRun(key, cluster, name, version, digest, caller.subject, inputs_uri, attempts)
        if not await self._desk.store.call(runs.create, new, self._desk.now_ns()):
            raise ConnectError(Code.ALREADY_EXISTS, "a run has this name")
        self._desk.journal.event("run_created", org=key.org, run=key.run, cluster=cluster)
        self._desk.notices.touch(OPEN_RUNS)
        run = await self._desk.store.call(runs.get, key)
        assert run is not None
        return wire.CreateRunResponse(run=definition.Run(action=views.action(run)))

    async def abort_run(self, request: wire.AbortRunRequest, ctx: Context) -> wire.AbortRunResponse:
        """Ask a run's cluster to end it; a run that has ended stays as it is."""
        caller, run = await self._desk.run(ctx, "run", request.run_id)
        await self._abort(caller, run.key, request.reason)
        return wire.AbortRunResponse()

    async def abort_action(
        self, request: wire.AbortActionRequest, ctx: Context
    ) -> wire.AbortActionResponse:
        """Abort a run by its action."""
        caller, run = await self._desk.action(ctx, "run", request.action_id)
        await self._abort(caller, run.key, request.reason)
        return wire.AbortActionResponse()

    async def get_run_details(
        self, request: wire.GetRunDetailsRequest, ctx: Context
    ) -> wire.GetRunDetailsResponse:
        """Return what is known of a run."""
        _, run = await self._desk.run(ctx, "view", request.run_id)
        return wire.GetRunDetailsResponse(
            details=definition.RunDetails(action=await self._details(run))
        )

    async def watch_run_details(
        self, request: wire.WatchRunDetailsRequest, ctx: Context
    ) -> AsyncIterator[wire.WatchRunDetailsResponse]:
        """Return what is known of a run, now and at every change, until it ends."""
        caller, run = await self._desk.run(ctx, "view", request.run_id)
        async for details in self._watch(caller, run.key):
            yield wire.WatchRunDetailsResponse(details=definition.RunDetails(action=details))

    async def get_action_details(
        self, request: wire.GetActionDetailsRequest, ctx: Context
    ) -> wire.GetActionDetailsResponse:
        """Return what is known of an action."""
        _, run = await self._desk.action(ctx, "view", request.action_id)
        return wire.GetActionDetailsResponse(details=await self._details(run))

    async def watch_action_details(
        self, request: wire.WatchActionDetailsRequest, ctx: Context
    ) -> AsyncIterator[wire.WatchActionDetailsResponse]:
        """Return what is known of an action, now and at every change, until it ends."""
        caller, run = await self._desk.action(ctx, "view", request.action_id)
        async for details in self._watch(caller, run.key):
            yield wire.WatchActionDetailsResponse(details=details)

    async def watch_actions(
        self, request: wire.WatchActionsRequest, ctx: Context
    ) -> AsyncIterator[wire.WatchActionsResponse]:
        """Return a run's actions, now and at every change, until it ends."""
        if request.filter:
            raise invalid("a watch has no filters")
        caller, run = await self._desk.run(ctx, "view", request.run_id)
        async for details in self._watch(caller, run.key):
            action = definition.Action(
                id=details.id, metadata=details.metadata, status=details.status
            )
            enriched = definition.EnrichedAction(action=action, meets_filter=True)
            yield wire.WatchActionsResponse(enriched_actions=[enriched])

    async def get_action_data_uris(
        self, request: wire.GetActionDataURIsRequest, ctx: Context
    ) -> wire.GetActionDataURIsResponse:
        """Return where inputs and outputs lie; reading them takes a signature of the customer's."""
        _, run = await self._desk.action(ctx, "view", request.action_id)
        return wire.GetActionDataURIsResponse(
            inputs_uri=run.inputs_uri,
            outputs_uri=addresses.outputs_uri(self._desk.settings.objects, run.key, run.attempt),
        )

    async def list_runs(self, request: wire.ListRunsRequest, ctx: Context) -> wire.ListRunsResponse:
        """Return one page of a project's runs."""
        name = request.project_id
        caller = await self._desk.project(ctx, "view", name.organization, name.name, name.domain)
        if request.paused_actions_only:
            return wire.ListRunsResponse()  # nothing pauses here
        scope = {"org": caller.org, "project": name.name, "domain": name.domain}
        page = await self._page(scope, request.request)
        found = (views.action(runs.from_row(row)) for row in page.rows)
        return wire.ListRunsResponse(
            runs=[definition.Run(action=action) for action in found], token=page.token
        )

    async def list_actions(
        self, request: wire.ListActionsRequest, ctx: Context
    ) -> wire.ListActionsResponse:
        """Return a run's actions."""
        _, run = await self._desk.run(ctx, "view", request.run_id)
        page = await self._page(run.key._asdict(), request.request)
        return wire.ListActionsResponse(
            actions=[views.action(runs.from_row(row)) for row in page.rows], token=page.token
        )

    async def _page(self, scope: dict[str, str], request: list_pb2.ListRequest) -> lists.Page:
        rows = self._desk.settings.limits.page_rows
        return await self._desk.store.call(lists.page, _LISTING, scope, request, rows)

    async def _new_key(self, request: wire.CreateRunRequest, ctx: Context) -> RunKey:
        match request.WhichOneof("id"):
            case "run_id":
                run = request.run_id
                org, project, domain, name = run.org, run.project, run.domain, run.name
            case "project_id":
                where = request.project_id
                org, project, domain = where.organization, where.name, where.domain
                name = f"r{secrets.token_hex(8)}"
            case _:
                raise invalid("set run_id or project_id")
        caller = await self._desk.project(ctx, "run", org, project, domain)
        check_names(name)
        return RunKey(caller.org, project, domain, name)

    async def _task(
        self, request: wire.CreateRunRequest, ctx: Context
    ) -> tuple[str, str, task_definition_pb2.TaskSpec]:
        """Return name, version and specification of what is to be run."""
        match request.WhichOneof("task"):
            case "task_spec":
                name = request.task_spec.task_template.id.name
                version = request.task_spec.task_template.id.version or EPHEMERAL_VERSION
                check_names(name, version)
                return name, version, request.task_spec
            case "task_id":
                return await self._deployed(request.task_id, ctx)
            case _:
                raise ConnectError(Code.UNIMPLEMENTED, "set task_spec or task_id")

    async def _deployed(
        self, name: task_definition_pb2.TaskIdentifier, ctx: Context
    ) -> tuple[str, str, task_definition_pb2.TaskSpec]:
        caller = self._desk.access.require(
            ctx, "view", name.org, name.project, name.domain, what="task"
        )
        key = TaskKey(caller.org, name.project, name.domain, name.name, name.version)
        task = await self._desk.store.call(tasks.get, key)
        if task is None:
            raise not_found("task")
        spec = await self._desk.store.call(tasks.get_spec, task.digest)
        return name.name, name.version, spec

    def _inputs_uri(self, request: wire.CreateRunRequest, key: RunKey) -> str:
        bucket = self._desk.settings.objects.metadata_bucket
        uri: str = request.offloaded_input_data.uri
        if uri and not addresses.belongs(bucket, uri, key):
            raise invalid(
                "offloaded_input_data.uri must name an object of the same org, project and domain"
                f" in s3://{bucket}/"
            )
        return uri

    def _attempts(self, spec: task_definition_pb2.TaskSpec) -> int:
        attempts = spec.task_template.metadata.retries.retries + 1
        limit, parts = self._desk.settings.limits.attempts, self._desk.parts
        limit = parts.attempts(limit) if parts else limit
        if attempts > limit:
            raise invalid(f"a task may have at most {limit - 1} retries")
        return int(attempts)

    async def _cluster(self, org: str, wanted: str) -> str:
        """Choose where a run goes: the named cluster, else as everything that names none."""
        known = await self._desk.store.call(directory.clusters, org)
        return choose([c for c in known if wanted in ("", c.cluster)]).cluster

    async def _abort(self, caller: Caller, key: RunKey, reason: str) -> None:
        now_ns = self._desk.now_ns()
        reason = reason[:MAX_REASON_CHARS]
        await self._desk.store.call(runs.request_abort, key, caller.subject, reason, now_ns)
        self._desk.journal.event("run_abort_requested", org=key.org, run=key.run)
        self._desk.notices.touch(OPEN_RUNS)
        self._desk.notices.touch(key)

    async def _details(self, run: Run) -> definition.ActionDetails:
        reports = await self._desk.store.call(runs.reports, run.key)
        spec = await self._desk.store.call(tasks.get_spec, run.digest)
        return views.action_details(run, reports, spec)

    async def _watch(self, caller: Caller, key: RunKey) -> AsyncIterator[definition.ActionDetails]:
        """Yield a run's action at every change, until it ends or the token does."""
        bound_s = min(self._desk.settings.limits.watch_s, self._desk.access.remaining_s(caller))
        deadline = trio.current_time() + bound_s
        seen = None
        while True:
            changed = self._desk.notices.event(key)  # taken before reading, so nothing is missed
            run = await self._desk.store.call(runs.get, key)
            if run is None:
                return
            if run != seen:
                seen = run
                yield await self._details(run)
            if run.done:
                return
            with trio.move_on_at(deadline) as waiting:
                await changed.wait()
            if waiting.cancelled_caught:
                return
