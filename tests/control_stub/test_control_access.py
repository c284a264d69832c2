"""Who may do what: every role on every call; another org's things look like nobody's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from control_cast import (
    EPOCH_S,
    RUNS,
    URL,
    Caller,
    RpcError,
    create_request,
    now,
    run_id,
    running,
    settings,
    task_spec,
)
from flyteidl2.cluster import payload_pb2 as cluster_wire
from flyteidl2.common import identifier_pb2
from flyteidl2.project import project_service_pb2 as project_wire
from flyteidl2.task import task_definition_pb2, task_service_pb2
from flyteidl2.workflow import run_service_pb2 as wire
from google.protobuf.message import Message

from control_stub.issuer import Issuer
from control_stub.runs import RunKey
from control_stub.settings import Limits

TASKS = "flyteidl2.task.TaskService"
PROJECTS = "flyteidl2.project.ProjectService"
CLUSTERS = "flyteidl2.cluster.ClusterService"

Call = tuple[str, str, Message]


def _action(key: RunKey) -> identifier_pb2.ActionIdentifier:
    return identifier_pb2.ActionIdentifier(run=run_id(key), name="a0")


def _where(key: RunKey) -> identifier_pb2.ProjectIdentifier:
    return identifier_pb2.ProjectIdentifier(
        organization=key.org, name=key.project, domain=key.domain
    )


def _task(key: RunKey) -> task_definition_pb2.TaskIdentifier:
    return task_definition_pb2.TaskIdentifier(
        org=key.org, project=key.project, domain=key.domain, name="ml.train", version="v1"
    )


def _tail(key: RunKey) -> Message:
    operation = cluster_wire.SelectClusterRequest.OPERATION_TAIL_LOGS
    return cluster_wire.SelectClusterRequest(operation=operation, action_id=_action(key))


READS: dict[str, Callable[[RunKey], Call]] = {
    "run": lambda k: (RUNS, "GetRunDetails", wire.GetRunDetailsRequest(run_id=run_id(k))),
    "action": lambda k: (
        RUNS,
        "GetActionDetails",
        wire.GetActionDetailsRequest(action_id=_action(k)),
    ),
    "runs": lambda k: (RUNS, "ListRuns", wire.ListRunsRequest(project_id=_where(k))),
    "actions": lambda k: (RUNS, "ListActions", wire.ListActionsRequest(run_id=run_id(k))),
    "tail": lambda k: (CLUSTERS, "SelectCluster", _tail(k)),
    "tasks": lambda k: (
        TASKS,
        "ListTasks",
        task_service_pb2.ListTasksRequest(project_id=_where(k)),
    ),
    "task": lambda k: (
        TASKS,
        "GetTaskDetails",
        task_service_pb2.GetTaskDetailsRequest(task_id=_task(k)),
    ),
    "project": lambda k: (
        PROJECTS,
        "GetProject",
        project_wire.GetProjectRequest(org=k.org, id=k.project),
    ),
}
WRITES: dict[str, Callable[[RunKey], Call]] = {
    "create": lambda k: (
        RUNS,
        "CreateRun",
        create_request("new", org=k.org, project=k.project, domain=k.domain),
    ),
    "abort run": lambda k: (RUNS, "AbortRun", wire.AbortRunRequest(run_id=run_id(k))),
    "abort action": lambda k: (RUNS, "AbortAction", wire.AbortActionRequest(action_id=_action(k))),
    "deploy": lambda k: (
        TASKS,
        "DeployTask",
        task_service_pb2.DeployTaskRequest(task_id=_task(k), spec=task_spec()),
    ),
}
CALLS = {**READS, **WRITES}
WATCHES = {
    "WatchRunDetails": lambda k: wire.WatchRunDetailsRequest(run_id=run_id(k)),
    "WatchActionDetails": lambda k: wire.WatchActionDetailsRequest(action_id=_action(k)),
    "WatchActions": lambda k: wire.WatchActionsRequest(run_id=run_id(k)),
}


async def _outcome(caller: Caller, call: Call) -> tuple[str, str]:
    try:
        await caller.call(*call)
    except RpcError as error:
        return error.code, error.message
    return "ok", ""


async def _prepared(cast: Any, key: RunKey) -> None:
    """Make the run and the task that the calls name."""
    alice = await cast.caller("alice")
    await alice.call(RUNS, "CreateRun", create_request(key.run, **_scope(key)))
    await alice.call(*WRITES["deploy"](key))


def _scope(key: RunKey) -> dict[str, str]:
    return {"org": key.org, "project": key.project, "domain": key.domain}


P1_DEV = RunKey("acme", "p1", "development", "r")
P1_PROD = RunKey("acme", "p1", "production", "r")
P2_DEV = RunKey("acme", "p2", "development", "r")

# caller, where -> what reads and writes answer
ROLE_MATRIX = {
    ("alice", P1_DEV): ("ok", "ok"),
    ("alice", P2_DEV): ("ok", "ok"),
    ("carol", P1_DEV): ("ok", "ok"),
    ("carol", P1_PROD): ("ok", "ok"),
    ("carol", P2_DEV): ("not_found", "not_found"),
    ("vic", P1_DEV): ("ok", "permission_denied"),
    ("vic", P1_PROD): ("not_found", "not_found"),
    ("vic", P2_DEV): ("not_found", "not_found"),
    ("bob", P1_DEV): ("not_found", "not_found"),
    ("", P1_DEV): ("unauthenticated", "unauthenticated"),
}


@pytest.mark.parametrize(
    ("name", "key"), ROLE_MATRIX, ids=lambda v: v if isinstance(v, str) else v[1]
)
async def test_roles(autojump_clock: Any, name: str, key: RunKey) -> None:
    reads, writes = ROLE_MATRIX[name, key]
    async with running() as cast:
        await _prepared(cast, key)
        caller = await cast.caller(name)
        for call, make in CALLS.items():
            expected = reads if call in READS else writes
            if call == "project" and expected == "not_found" and (name, key) == ("vic", P1_PROD):
                expected = "ok"  # a project is visible to whoever may view one of its domains
            assert (call, (await _outcome(caller, make(key)))[0]) == (call, expected)


@pytest.mark.parametrize("call", CALLS)
async def test_another_orgs_things_look_like_nobodys(autojump_clock: Any, call: str) -> None:
    async with running() as cast:
        await _prepared(cast, P1_DEV)
        bob = await cast.caller("bob")
        nowhere = [
            P1_DEV,  # is there, in another org
            P1_DEV._replace(run="absent"),
            P1_DEV._replace(project="absent"),
            P1_DEV._replace(org="absent"),
        ]
        answers = {await _outcome(bob, CALLS[call](key)) for key in nowhere}
        assert len(answers) == 1
        assert answers.pop()[0] == "not_found"


@pytest.mark.parametrize("method", WATCHES)
async def test_watches_of_another_org_are_refused_alike(autojump_clock: Any, method: str) -> None:
    async with running() as cast:
        await _prepared(cast, P1_DEV)
        bob, answers = await cast.caller("bob"), set()
        for key in (P1_DEV, P1_DEV._replace(run="absent"), P1_DEV._replace(org="absent")):
            message = WATCHES[method](key).SerializeToString()
            response = await cast.http.post(
                f"/{RUNS}/{method}",
                content=b"\0" + len(message).to_bytes(4, "big") + message,
                headers={"content-type": "application/connect+proto", **bob.headers},
            )
            answers.add(response.content)
        assert len(answers) == 1
        assert b'"not_found"' in answers.pop()


async def test_a_caller_without_any_role_sees_nothing(autojump_clock: Any) -> None:
    async with running() as cast:
        await _prepared(cast, P1_DEV)
        await cast.plane._store.call(_unbind, "vic")
        await cast.plane._policy.reload()
        vic = await cast.caller("vic")
        for make in CALLS.values():
            assert (await _outcome(vic, make(P1_DEV)))[0] == "not_found"


def _unbind(db: Any, subject: str) -> None:
    db.execute("DELETE FROM bindings WHERE subject = ?", (subject,))


async def test_insecure_is_one_fixed_identity_in_the_first_org(autojump_clock: Any) -> None:
    async with running(settings(insecure=True)) as cast:
        nobody = await cast.caller()
        for name in ("create", "deploy"):
            assert (await _outcome(nobody, WRITES[name](P1_DEV)))[0] == "ok"
        run = P1_DEV._replace(run="new")
        for make in READS.values():
            assert (await _outcome(nobody, make(run)))[0] == "ok"
        for make in CALLS.values():
            elsewhere = make(run._replace(org="globex"))
            assert (await _outcome(nobody, elsewhere))[0] == "not_found"


def _forged() -> str:
    """Return a token of a key of ours that the control plane does not know."""
    _, key = Issuer.new_key()
    return Issuer(URL, [key], token_s=60, clock=now).viewer_token("alice", "acme")


async def test_wrong_tokens_are_refused_alike(autojump_clock: Any) -> None:
    async with running() as cast:
        good = (await cast.caller("alice")).token
        head, body, signature = good.split(".")
        agent = await cast.token("agent-c1", "tunnel")
        wrong = [
            _forged(),
            agent,  # for another audience
            f"{head}.{body}.{signature[:-4]}AAAA",
            f"{head}.{body}.",
            "eyJhbGciOiJub25lIn0.e30.",
            "x",
            "x" * 5000,
            "",
        ]
        call = READS["runs"](P1_DEV)
        answers = {await _outcome(Caller(cast.http, token), call) for token in wrong}
        assert {code for code, _ in answers} == {"unauthenticated"}
        assert len(answers) == 1
        assert (await _outcome(Caller(cast.http, good), call))[0] == "ok"


async def test_tokens_expire(autojump_clock: Any) -> None:
    async with running(settings(limits=Limits(token_s=60))) as cast:
        alice = await cast.caller("alice")
        assert (await _outcome(alice, READS["runs"](P1_DEV)))[0] == "ok"
        await trio.sleep(60 + 10)
        assert (await _outcome(alice, READS["runs"](P1_DEV)))[0] == "unauthenticated"


async def test_revoked_subjects_are_out_and_may_come_back(autojump_clock: Any) -> None:
    async with running() as cast:
        alice, vic = await cast.caller("alice"), await cast.caller("vic")
        await trio.sleep(2)
        await cast.plane.revoke("alice", int(EPOCH_S) + 1)
        assert (await _outcome(alice, READS["runs"](P1_DEV)))[0] == "unauthenticated"
        assert (await _outcome(vic, READS["runs"](P1_DEV)))[0] == "ok"
        again = await cast.caller("alice")
        assert (await _outcome(again, READS["runs"](P1_DEV)))[0] == "ok"
