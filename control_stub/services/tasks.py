"""TaskService: deployed versions of tasks."""

from __future__ import annotations

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.task import task_definition_pb2 as definition
from flyteidl2.task import task_service_pb2 as wire

from control_stub import lists, tasks
from control_stub.identity import not_found
from control_stub.lists import Listing, invalid
from control_stub.services import views
from control_stub.services.desk import Desk
from control_stub.services.specs import check_names, checked
from control_stub.tasks import Task, TaskKey
from tunnel.messages.rpc import Context

_LISTING = Listing(
    "tasks",
    time="deployed_at",
    name="name || ':' || version",
    fields={
        "name": ("name", str),
        "version": ("version", str),
        "created_at": ("deployed_at", lists.nanoseconds),
    },
)


class TaskService:
    """Handles `flyteidl2.task.TaskService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def deploy_task(
        self, request: wire.DeployTaskRequest, ctx: Context
    ) -> wire.DeployTaskResponse:
        """Keep a version of a task; the same version with another specification is refused."""
        name = request.task_id
        if request.triggers:
            raise ConnectError(Code.UNIMPLEMENTED, "triggers are not supported")
        caller = await self._desk.project(ctx, "run", name.org, name.project, name.domain)
        check_names(name.name, name.version)
        spec = checked(request.spec, self._desk.settings.limits.spec_bytes)
        key = TaskKey(caller.org, name.project, name.domain, name.name, name.version)
        now_ns = self._desk.now_ns()
        if not await self._desk.store.call(tasks.deploy, key, spec, caller.subject, now_ns):
            raise ConnectError(
                Code.ALREADY_EXISTS, "this version exists with another specification"
            )
        return wire.DeployTaskResponse()

    async def get_task_details(
        self, request: wire.GetTaskDetailsRequest, ctx: Context
    ) -> wire.GetTaskDetailsResponse:
        """Return a version of a task with its specification."""
        name = request.task_id
        caller = self._desk.access.require(
            ctx, "view", name.org, name.project, name.domain, what="task"
        )
        key = TaskKey(caller.org, name.project, name.domain, name.name, name.version)
        task = await self._desk.store.call(tasks.get, key)
        if task is None:
            raise not_found("task")
        spec = await self._desk.store.call(tasks.get_spec, task.digest)
        return wire.GetTaskDetailsResponse(
            details=definition.TaskDetails(
                task_id=_task_id(task.key), metadata=_metadata(task), spec=spec
            )
        )

    async def list_tasks(
        self, request: wire.ListTasksRequest, ctx: Context
    ) -> wire.ListTasksResponse:
        """Return one page of the versions of a project's tasks."""
        name = request.project_id
        if request.known_filters:
            raise invalid(f"can filter by: {', '.join(_LISTING.fields)}")
        caller = await self._desk.project(ctx, "view", name.organization, name.name, name.domain)
        scope = {"org": caller.org, "project": name.name, "domain": name.domain}
        rows = self._desk.settings.limits.page_rows
        page = await self._desk.store.call(lists.page, _LISTING, scope, request.request, rows)
        found = [tasks.from_row(row) for row in page.rows]
        return wire.ListTasksResponse(
            tasks=[
                definition.Task(task_id=_task_id(task.key), metadata=_metadata(task))
                for task in found
            ],
            token=page.token,
        )


def _task_id(key: TaskKey) -> definition.TaskIdentifier:
    return definition.TaskIdentifier(
        org=key.org, project=key.project, domain=key.domain, name=key.name, version=key.version
    )


def _metadata(task: Task) -> definition.TaskMetadata:
    environment, _, short = task.key.name.rpartition(".")
    return definition.TaskMetadata(
        deployed_by=views.identity(task.deployed_by),
        deployed_at=views.timestamp(task.deployed_at),
        short_name=short,
        environment_name=environment,
    )
