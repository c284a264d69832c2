"""Every identity on every RPC of the control plane, everywhere: nobody gets in by any hole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from control_cast import EPOCH_S, URL, Cast, create_request, event, now, report, running, task_spec
from flyteidl2.auth import identity_pb2
from flyteidl2.cluster import payload_pb2 as routes
from flyteidl2.common import identifier_pb2
from flyteidl2.project import project_service_pb2 as projects
from flyteidl2.task import task_definition_pb2, task_service_pb2
from flyteidl2.workflow import run_service_pb2 as runs
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from matrix import DENIED, IDENTITIES, PLACES_ASKED, SHARED_PLACES, Identity, Place, at_control

from control_stub import directory
from control_stub.directory import Binding
from control_stub.issuer import Issuer
from control_stub.phases import SUCCEEDED
from control_stub.public import public_services
from control_stub.runs import RunKey
from control_stub.services.clusters import ROUTES
from tunnel.messages import planesplit_v1_pb2 as v1

RUNS, TASKS = "flyteidl2.workflow.RunService", "flyteidl2.task.TaskService"
PROJECTS, CLUSTERS = "flyteidl2.project.ProjectService", "flyteidl2.cluster.ClusterService"
ADMIN, IDENTITY = "planesplit.v1.ClusterAdminService", "planesplit.v1.IdentityAdminService"

Build = Callable[[Place], Message]


def _run(place: Place, name: str = "r") -> identifier_pb2.RunIdentifier:
    return identifier_pb2.RunIdentifier(
        org=place.org, project=place.project, domain=place.domain, name=name
    )


def _action(place: Place) -> identifier_pb2.ActionIdentifier:
    return identifier_pb2.ActionIdentifier(run=_run(place), name="a0")


def _where(place: Place) -> identifier_pb2.ProjectIdentifier:
    return identifier_pb2.ProjectIdentifier(
        organization=place.org, name=place.project, domain=place.domain
    )


def _task(place: Place) -> task_definition_pb2.TaskIdentifier:
    return task_definition_pb2.TaskIdentifier(
        org=place.org, project=place.project, domain=place.domain, name="ml.train", version="v1"
    )


def _bind(place: Place) -> v1.BindRequest:
    levels = ["*" if level == "-" else level for level in (place.project, place.domain)]
    binding = v1.Binding(subject="zoe", role="Viewer", org=place.org)
    binding.project, binding.domain = levels
    return v1.BindRequest(binding=binding)


# (service, method) -> permission, request, levels that stay open, whether it also concerns what
# belongs to no single project
Rule = tuple[str, Build, str, bool]
RULES: dict[tuple[str, str], Rule] = {
    (RUNS, "CreateRun"): (
        "run",
        lambda p: create_request("new", org=p.org, project=p.project, domain=p.domain),
        "",
        False,
    ),
    (RUNS, "AbortRun"): ("run", lambda p: runs.AbortRunRequest(run_id=_run(p)), "", False),
    (RUNS, "AbortAction"): (
        "run",
        lambda p: runs.AbortActionRequest(action_id=_action(p)),
        "",
        False,
    ),
    (TASKS, "DeployTask"): (
        "run",
        lambda p: task_service_pb2.DeployTaskRequest(task_id=_task(p), spec=task_spec()),
        "",
        False,
    ),
    (TASKS, "GetTaskDetails"): (
        "view",
        lambda p: task_service_pb2.GetTaskDetailsRequest(task_id=_task(p)),
        "",
        False,
    ),
    (TASKS, "ListTasks"): (
        "view",
        lambda p: task_service_pb2.ListTasksRequest(project_id=_where(p)),
        "",
        False,
    ),
    (RUNS, "ListRuns"): ("view", lambda p: runs.ListRunsRequest(project_id=_where(p)), "", False),
    **{
        (RUNS, name): ("view", lambda p, r=request: r(run_id=_run(p)), "", False)
        for name, request in (
            ("GetRunDetails", runs.GetRunDetailsRequest),
            ("WatchRunDetails", runs.WatchRunDetailsRequest),
            ("ListActions", runs.ListActionsRequest),
            ("WatchActions", runs.WatchActionsRequest),
        )
    },
    **{
        (RUNS, name): ("view", lambda p, r=request: r(action_id=_action(p)), "", False)
        for name, request in (
            ("GetActionDetails", runs.GetActionDetailsRequest),
            ("WatchActionDetails", runs.WatchActionDetailsRequest),
            ("GetActionDataURIs", runs.GetActionDataURIsRequest),
        )
    },
    (PROJECTS, "GetProject"): (
        "view",
        lambda p: projects.GetProjectRequest(org=p.org, id=p.project),
        "d",
        False,
    ),
    (PROJECTS, "ListProjects"): (
        "view",
        lambda p: projects.ListProjectsRequest(org=p.org),
        "pd",
        False,
    ),
    (ADMIN, "ListClusters"): ("view", lambda p: v1.ListClustersRequest(org=p.org), "pd", False),
    (ADMIN, "SetCluster"): (
        "manage",
        lambda p: v1.SetClusterRequest(org=p.org, cluster="c1", enabled=True),
        "org",
        False,
    ),
    (IDENTITY, "ListPrincipals"): (
        "manage",
        lambda p: v1.ListPrincipalsRequest(org=p.org),
        "pd",
        False,
    ),
    (IDENTITY, "Bind"): ("manage", _bind, "", True),
    (IDENTITY, "Unbind"): ("manage", _bind, "", True),
    (IDENTITY, "Revoke"): (
        "manage",
        lambda p: v1.RevokeRequest(org=p.org, subject="carol"),
        "org",
        False,
    ),
}
OPERATIONS = routes.SelectClusterRequest.Operation
WRITES = {OPERATIONS.OPERATION_CREATE_UPLOAD_LOCATION, OPERATIONS.OPERATION_UPLOAD_INPUTS}
ANYBODY = {"/flyteidl2.auth.AuthMetadataService/"}  # it precedes a login
WHOEVER_IS_KNOWN = ("flyteidl2.auth.IdentityService", "UserInfo")


async def _prepared(cast: Cast) -> dict[Identity, str]:
    """Give everybody their roles, make things to look at; return everybody's token."""
    store, issuer = cast.plane._store, cast.plane.issuer
    for who in IDENTITIES:
        if who.role:
            binding = Binding(who.subject, who.role, who.org, who.project, who.domain)
            await store.call(directory.bind, binding)
    tokens = {who: await _token(who, cast, issuer) for who in IDENTITIES}
    await cast.plane.revoke("gone", int(EPOCH_S) + 1)
    alice = await cast.caller("alice")
    for place in PLACES_ASKED:
        await alice.create("r", org=place.org, project=place.project, domain=place.domain)
        key = RunKey(*place, "r")
        details = await alice.details(key)
        await report(cast, event(key, SUCCEEDED, 5), cluster=details.attempts[0].cluster)
        await alice.call(TASKS, "DeployTask", RULES[TASKS, "DeployTask"][1](place))
    return tokens


async def _token(who: Identity, cast: Cast, issuer: Issuer) -> str:
    keys = [key.jwk for key in await cast.plane._store.call(directory.signing_keys)]
    match who.token:
        case "none":
            return ""
        case "expired":
            old = Issuer(URL, keys, token_s=60, clock=lambda: now() - 3600)
            return old.viewer_token(who.subject, who.org)
        case "agent":
            return issuer.agent_token("acme", "c1")
        case "forged":
            forger = Issuer(URL, [Issuer.new_key()[1]], token_s=600, clock=now)
            return forger.viewer_token(who.subject, who.org)
    return issuer.viewer_token(who.subject, who.org)


async def _answer(cast: Cast, rpc: tuple[str, str], request: Message, token: str) -> Any:
    """Return code and text of an error, or ("ok", "")."""
    method = Default().FindServiceByName(rpc[0]).methods_by_name[rpc[1]]
    body, kind = request.SerializeToString(), "application/proto"
    if method.server_streaming:
        body, kind = b"\0" + len(body).to_bytes(4, "big") + body, "application/connect+proto"
    headers = {"content-type": kind, "accept-encoding": "identity"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    response = await cast.http.post("/" + "/".join(rpc), content=body, headers=headers)
    error = {}
    if method.server_streaming:
        error = json.loads(_end_of_stream(response.content)).get("error", {})
    elif response.status_code != 200:
        error = response.json()
    return error.get("code", "ok"), error.get("message", "")


def _end_of_stream(body: bytes) -> bytes:
    while body:
        size = int.from_bytes(body[1:5], "big")
        if body[0] & 2:
            return body[5 : 5 + size]
        body = body[5 + size :]
    raise AssertionError("the stream has no end")


def _expected(who: Identity, rule: Rule, place: Place) -> str:
    permission, _, levels, _ = rule
    if levels == "org":
        return at_control(who, permission, Place(place.org, "-", "-"))
    return at_control(who, permission, place, open_levels=levels)


@pytest.mark.parametrize("rpc", RULES, ids=lambda rpc: rpc[1])
async def test_everybody_everywhere(autojump_clock: Any, rpc: tuple[str, str]) -> None:
    rule = RULES[rpc]
    holes = []
    async with running() as cast:
        tokens = await _prepared(cast)
        for place in (*PLACES_ASKED, *(SHARED_PLACES if rule[3] else ())):
            for who, token in tokens.items():
                code, _ = await _answer(cast, rpc, rule[1](place), token)
                got = code if code in DENIED else "in"
                if rpc[1] == "Unbind" and code == "not_found" and token:
                    got = _expected(who, rule, place)  # there is no such binding to take away
                if got != _expected(who, rule, place):
                    holes.append((who, place, code))
    assert holes == []


@pytest.mark.parametrize("operation", ROUTES, ids=OPERATIONS.Name)
async def test_everybody_is_routed_only_where_they_may(autojump_clock: Any, operation: int) -> None:
    permission = "run" if operation in WRITES else "view"
    rpc, holes = (CLUSTERS, "SelectCluster"), []
    async with running() as cast:
        tokens = await _prepared(cast)
        for place in PLACES_ASKED:
            for resource in ({"action_id": _action(place)}, {"project_id": _where(place)}):
                request = routes.SelectClusterRequest(operation=operation, **resource)
                for who, token in tokens.items():
                    code, _ = await _answer(cast, rpc, request, token)
                    got = code if code in DENIED else "in"
                    if got != at_control(who, permission, place):
                        holes.append((who, place, code))
    assert holes == []


@pytest.mark.parametrize("rpc", RULES, ids=lambda rpc: rpc[1])
async def test_another_org_and_nothing_look_the_same(
    autojump_clock: Any, rpc: tuple[str, str]
) -> None:
    build = RULES[rpc][1]
    there = PLACES_ASKED[0]
    async with running() as cast:
        tokens = await _prepared(cast)
        bob = next(token for who, token in tokens.items() if who.subject == "bob")
        places = (there, there._replace(org="absent"), there._replace(project="absent"))
        answers = {await _answer(cast, rpc, build(place), bob) for place in places}
        assert len(answers) == 1
        assert answers.pop()[0] == "not_found"


async def test_every_rpc_is_in_the_matrix(autojump_clock: Any) -> None:
    unused: Any = None
    asked = {*RULES, (CLUSTERS, "SelectCluster"), WHOEVER_IS_KNOWN}
    async with running() as cast:
        tokens = await _prepared(cast)
        for service, _ in public_services(unused, unused, unused):
            for method in service.methods:
                rpc = (service.full_name, method.name)
                if rpc in asked or f"/{service.full_name}/" in ANYBODY:
                    continue
                request = GetMessageClass(method.input_type)()
                codes = {(await _answer(cast, rpc, request, t))[0] for t in tokens.values()}
                assert (rpc, codes) == (rpc, {"unimplemented"})


async def test_whoever_has_a_good_token_learns_its_own_name_only(autojump_clock: Any) -> None:
    async with running() as cast:
        tokens = await _prepared(cast)
        for who, token in tokens.items():
            request = identity_pb2.UserInfoRequest()
            code, _ = await _answer(cast, WHOEVER_IS_KNOWN, request, token)
            assert (who, code) == (who, "ok" if who.token == "good" else "unauthenticated")
