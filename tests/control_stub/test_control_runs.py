"""RunService, TaskService, ProjectService: what callers see of runs, tasks and projects."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from control_cast import (
    RUNS,
    URL,
    Caller,
    RpcError,
    create_request,
    run_id,
    running,
    task_spec,
    until,
)
from flyteidl2.auth import auth_service_pb2, identity_pb2
from flyteidl2.cluster import payload_pb2 as cluster_wire
from flyteidl2.common import identifier_pb2, list_pb2, phase_pb2
from flyteidl2.core import literals_pb2
from flyteidl2.project import project_service_pb2 as project_wire
from flyteidl2.task import common_pb2, task_service_pb2
from flyteidl2.workflow import run_service_pb2 as wire

from control_stub.runs import RunKey
from tunnel.messages import planesplit_v1_pb2 as v1

TASKS = "flyteidl2.task.TaskService"
PROJECTS = "flyteidl2.project.ProjectService"
CLUSTERS = "flyteidl2.cluster.ClusterService"


def _action(key: RunKey) -> identifier_pb2.ActionIdentifier:
    return identifier_pb2.ActionIdentifier(run=run_id(key), name="a0")


def _project(domain: str = "development") -> identifier_pb2.ProjectIdentifier:
    return identifier_pb2.ProjectIdentifier(name="p1", domain=domain)


async def _names(caller: Caller, **fields: Any) -> list[str]:
    """Return the names of a listing of runs, over all its pages."""
    request = wire.ListRunsRequest(project_id=_project(), request=list_pb2.ListRequest(**fields))
    names: list[str] = []
    while True:
        page = await caller.call(RUNS, "ListRuns", request)
        names += [run.action.id.run.name for run in page.runs]
        if not page.token:
            return names
        request.request.token = page.token


async def test_a_run_is_created_assigned_and_described(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("train-1")
        assert key == ("acme", "p1", "development", "train-1")
        await until(lambda: bool(cast.events("run_assigned")))
        path, body = cast.relay.calls[0]
        assert path == "/r/acme/p1/development/c1/planesplit.v1.ExecutorService/Assign"
        request = v1.AssignRequest.FromString(body)
        assert (request.action.run, request.action.action, request.action.attempt) == (
            "train-1",
            "a0",
            1,
        )
        assert list(request.container.command) == ["python3", "train.py"]
        details = await alice.details(key)
        assert details.status.phase == phase_pb2.ACTION_PHASE_QUEUED
        assert details.status.attempts == 1
        assert details.task.task_template.container.image == "planesplit/exec"
        assert details.metadata.executed_by.application.id.subject == "alice"
        assert details.metadata.task.id.name == "ml.train"
        assert details.attempts[0].cluster == "c1"


async def test_the_server_names_runs_and_names_are_taken_once(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        first, second = await alice.create(), await alice.create()
        assert first.run != second.run
        with pytest.raises(RpcError) as caught:
            await alice.create(first.run)
        assert caught.value.code == "already_exists"


async def test_environment_of_a_run_is_added_to_its_task(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        request = create_request("e")
        container = request.task_spec.task_template.container
        container.env.add(key="A", value="1")
        container.env.add(key="B", value="1")
        request.run_spec.envs.values.add(key="B", value="2")
        await alice.call(RUNS, "CreateRun", request)
        await until(lambda: bool(cast.relay.calls))
        env = v1.AssignRequest.FromString(cast.relay.calls[0][1]).container.env
        assert dict(env) == {"A": "1", "B": "2"}


def _no_image(request: wire.CreateRunRequest) -> None:
    request.task_spec.task_template.container.image = ""


def _no_container(request: wire.CreateRunRequest) -> None:
    request.task_spec.task_template.ClearField("container")


def _inline_inputs(request: wire.CreateRunRequest) -> None:
    value = literals_pb2.Literal(scalar=literals_pb2.Scalar())
    request.inputs.literals.append(common_pb2.NamedLiteral(name="x", value=value))


def _huge_spec(request: wire.CreateRunRequest) -> None:
    request.task_spec.task_template.container.args.append("x" * 300_000)


def _bad_name(request: wire.CreateRunRequest) -> None:
    request.run_id.name = "../../etc"


def _bad_task_name(request: wire.CreateRunRequest) -> None:
    request.task_spec.task_template.id.name = "a b\n"


def _bad_project(request: wire.CreateRunRequest) -> None:
    request.run_id.project = "*"


def _no_id(request: wire.CreateRunRequest) -> None:
    request.ClearField("run_id")


@pytest.mark.parametrize(
    "spoil",
    [
        _no_image,
        _no_container,
        _inline_inputs,
        _huge_spec,
        _bad_name,
        _bad_task_name,
        _bad_project,
        _no_id,
    ],
)
async def test_malformed_runs_are_refused(autojump_clock: Any, spoil: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        request = create_request("bad")
        spoil(request)
        with pytest.raises(RpcError) as caught:
            await alice.call(RUNS, "CreateRun", request)
        assert caught.value.code == "invalid_argument"
        assert await _names(alice) == []


async def test_a_run_needs_a_cluster(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        request = create_request("r")
        request.run_spec.cluster_pool = "elsewhere"
        with pytest.raises(RpcError) as caught:
            await alice.call(RUNS, "CreateRun", request)
        assert caught.value.code == "failed_precondition"
        request.run_spec.cluster_pool = "c2"
        cast.relay.set_tunnels(("acme", "c2", "ONLINE"))
        await alice.call(RUNS, "CreateRun", request)
        await until(lambda: bool(cast.relay.calls))
        assert cast.relay.calls[0][0].startswith("/r/acme/p1/development/c2/")


async def test_a_connected_cluster_is_preferred(autojump_clock: Any) -> None:
    async with running() as cast:
        cast.relay.set_tunnels(("acme", "c2", "ONLINE"))
        await until(lambda: any(e["cluster"] == "c2" for e in cast.events("cluster_state")))
        await (await cast.caller("alice")).create()
        assert cast.events("run_created")[0]["cluster"] == "c2"


async def test_runs_are_listed_in_order_in_pages_and_by_filter(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        carol = await cast.caller("carol")
        for number in range(5):
            await (carol if number == 3 else alice).create(f"r{number}")
            await trio.sleep(1)
        await alice.create("elsewhere", domain="production")
        names = [f"r{number}" for number in range(5)]
        up = list_pb2.Sort(key="created_at", direction=list_pb2.Sort.ASCENDING)
        assert await _names(alice) == names[::-1]  # newest first, as the default of Sort says
        assert await _names(alice, limit=2) == names[::-1]
        assert await _names(alice, limit=2, sort_by=up) == names
        by = list_pb2.Filter
        mine = by(function=by.EQUAL, field="created_by", values=["carol"])
        assert await _names(alice, filters=[mine]) == ["r3"]
        queued = by(function=by.VALUE_IN, field="phase", values=["1", "4"])
        assert await _names(alice, filters=[queued, mine]) == ["r3"]
        late = by(
            function=by.GREATER_THAN_OR_EQUAL,
            field="created_at",
            values=["2027-01-15T08:00:02+00:00"],  # the third run's second
        )
        assert await _names(alice, filters=[late]) == ["r4", "r3", "r2"]
        running_ones = by(function=by.EQUAL, field="phase", values=["4"])
        assert await _names(alice, filters=[running_ones]) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"filters": [list_pb2.Filter(field="spec", values=["x"])]},
        {"filters": [list_pb2.Filter(field="phase; DROP TABLE runs", values=["1"])]},
        {"filters": [list_pb2.Filter(field="phase", values=["x"])]},
        {"filters": [list_pb2.Filter(field="phase", values=[])]},
        {"filters": [list_pb2.Filter(field="created_at", values=["yesterday"])]},
        {"filters": [list_pb2.Filter(function=15, field="phase", values=["1"])]},
        {"sort_by": list_pb2.Sort(key="phase")},
        {"token": "x"},
        {"filters": [list_pb2.Filter(field="phase", values=["1"])] * 17},
    ],
)
async def test_malformed_listings_are_refused(autojump_clock: Any, fields: Any) -> None:
    async with running() as cast:
        with pytest.raises(RpcError) as caught:
            await _names(await cast.caller("alice"), **fields)
        assert caught.value.code == "invalid_argument"


async def test_a_runs_action_is_listed(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        request = wire.ListActionsRequest(run_id=run_id(key))
        [action] = (await alice.call(RUNS, "ListActions", request)).actions
        assert action.id == _action(key)
        details_request = wire.GetActionDetailsRequest(action_id=_action(key))
        details = (await alice.call(RUNS, "GetActionDetails", details_request)).details
        assert details.id == _action(key)
        details_request.action_id.name = "a1"
        with pytest.raises(RpcError) as caught:
            await alice.call(RUNS, "GetActionDetails", details_request)
        assert caught.value.code == "not_found"


async def test_the_tail_of_a_run_is_routed_to_the_relay(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        operation = cluster_wire.SelectClusterRequest.OPERATION_TAIL_LOGS
        request = cluster_wire.SelectClusterRequest(operation=operation, action_id=_action(key))
        answer = await alice.call(CLUSTERS, "SelectCluster", request)
        assert answer.cluster_endpoint == ("https://relay.example:444/r/acme/p1/development/c1")
        assert answer.cluster == "c1"
        with pytest.raises(RpcError) as caught:
            await (await cast.caller()).call(CLUSTERS, "SelectCluster", request)
        assert caught.value.code == "unauthenticated"


async def test_tasks_are_deployed_listed_and_run(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        deploy = task_service_pb2.DeployTaskRequest(spec=task_spec())
        name = deploy.task_id
        name.project, name.domain, name.name, name.version = "p1", "development", "ml.eval", "v7"
        await alice.call(TASKS, "DeployTask", deploy)
        await alice.call(TASKS, "DeployTask", deploy)  # the same again changes nothing
        deploy.spec.task_template.container.image = "other"
        with pytest.raises(RpcError) as caught:
            await alice.call(TASKS, "DeployTask", deploy)
        assert caught.value.code == "already_exists"
        listing = task_service_pb2.ListTasksRequest(project_id=_project())
        [task] = (await alice.call(TASKS, "ListTasks", listing)).tasks
        assert (task.task_id.name, task.metadata.short_name) == ("ml.eval", "eval")
        details = task_service_pb2.GetTaskDetailsRequest(task_id=task.task_id)
        found = (await alice.call(TASKS, "GetTaskDetails", details)).details
        assert found.spec == task_spec()
        request = create_request("by-name")
        request.task_id.CopyFrom(task.task_id)
        answer = await alice.call(RUNS, "CreateRun", request)
        assert answer.run.action.metadata.task.id.version == "v7"


async def test_projects_are_those_that_the_caller_may_view(autojump_clock: Any) -> None:
    async with running() as cast:
        seen = {}
        for name in ("alice", "carol", "bob"):
            listing = project_wire.ListProjectsRequest(filters="eq(state, 0)")
            answer = await (await cast.caller(name)).call(PROJECTS, "ListProjects", listing)
            seen[name] = [(p.org, p.id) for p in answer.projects.projects]
        assert seen == {
            "alice": [("acme", "p1"), ("acme", "p2")],
            "carol": [("acme", "p1")],
            "bob": [("globex", "p1")],
        }
        alice = await cast.caller("alice")
        archived = project_wire.ListProjectsRequest(filters="eq(state, 1)")
        assert not (await alice.call(PROJECTS, "ListProjects", archived)).projects.projects
        one = project_wire.GetProjectRequest(id="p2")
        project = (await alice.call(PROJECTS, "GetProject", one)).project
        assert [domain.id for domain in project.domains] == ["development", "production"]


async def test_unknown_projects_and_filters_are_refused(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        for method, request, code in (
            ("GetProject", project_wire.GetProjectRequest(id="p9"), "not_found"),
            (
                "ListProjects",
                project_wire.ListProjectsRequest(filters="eq(name, x)"),
                "invalid_argument",
            ),
        ):
            with pytest.raises(RpcError) as caught:
                await alice.call(PROJECTS, method, request)
            assert caught.value.code == code


async def test_how_to_log_in_is_told_to_everybody(autojump_clock: Any) -> None:
    async with running() as cast:
        nobody, service = await cast.caller(), "flyteidl2.auth.AuthMetadataService"
        metadata = await nobody.call(
            service, "GetOAuth2Metadata", auth_service_pb2.GetOAuth2MetadataRequest()
        )
        assert metadata.token_endpoint == f"{URL}/oauth2/token"
        client = await nobody.call(
            service, "GetPublicClientConfig", auth_service_pb2.GetPublicClientConfigRequest()
        )
        assert list(client.scopes) == ["all"]
        assert client.authorization_metadata_key == "authorization"


async def test_identity_is_the_tokens(autojump_clock: Any) -> None:
    async with running() as cast:
        service = "flyteidl2.auth.IdentityService"
        info = await (await cast.caller("vic")).call(
            service, "UserInfo", identity_pb2.UserInfoRequest()
        )
        assert (info.subject, info.additional_claims["org"]) == ("vic", "acme")


async def test_what_is_not_implemented_says_so(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        with pytest.raises(RpcError) as caught:
            await alice.call(RUNS, "GetActionData", wire.GetActionDataRequest())
        assert caught.value.code == "unimplemented"


async def test_triggers_are_refused_clearly(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        request = task_service_pb2.DeployTaskRequest(spec=task_spec())
        name = request.task_id
        name.project, name.domain, name.name, name.version = "p1", "development", "t", "v"
        request.triggers.add()
        with pytest.raises(RpcError, match="unimplemented: triggers are not supported"):
            await alice.call("flyteidl2.task.TaskService", "DeployTask", request)
