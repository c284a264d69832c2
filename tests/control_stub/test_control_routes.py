"""SelectCluster: what serves which operation on which resource, and for whom."""

from __future__ import annotations

from typing import Any

import pytest
from control_cast import Cast, RpcError, report_health, run_id, running, until
from flyteidl2.cluster import payload_pb2 as wire
from flyteidl2.common import identifier_pb2
from flyteidl2.task import task_definition_pb2

from control_stub.runs import RunKey
from control_stub.services.clusters import ROUTES

CLUSTERS = "flyteidl2.cluster.ClusterService"
RELAY = "https://relay.example:444"
DATA = "https://127.0.0.1:7443"
Operation = wire.SelectClusterRequest.Operation
KEY = RunKey("acme", "p1", "development", "r")
DATA_OPERATIONS = {Operation.OPERATION_UPLOAD_INPUTS, Operation.OPERATION_GET_ACTION_DATA}
REFUSED = set(Operation.values()) - set(ROUTES)

RESOURCES: dict[str, Any] = {
    "org": lambda k: {"org_id": identifier_pb2.OrgIdentifier(name=k.org)},
    "domain": lambda k: {
        "domain_id": identifier_pb2.DomainIdentifier(organization=k.org, name=k.domain)
    },
    "project": lambda k: {
        "project_id": identifier_pb2.ProjectIdentifier(
            organization=k.org, name=k.project, domain=k.domain
        )
    },
    "task": lambda k: {
        "task_id": task_definition_pb2.TaskIdentifier(
            org=k.org, project=k.project, domain=k.domain, name="t", version="v"
        )
    },
    "action": lambda k: {"action_id": _action(k)},
    "attempt": lambda k: {
        "action_attempt_id": identifier_pb2.ActionAttemptIdentifier(action_id=_action(k), attempt=1)
    },
    "cluster": lambda k: {
        "cluster_id": identifier_pb2.ClusterIdentifier(organization=k.org, name="c2")
    },
    "pool": lambda k: {
        "cluster_pool_id": identifier_pb2.ClusterPoolIdentifier(organization=k.org, name="c2")
    },
}

# resource -> prefix that a single cluster's operation gets, and the one that secrets get
PREFIXES = {
    "org": ("", "/r/acme/-/-/-"),
    "domain": ("", "/r/acme/-/development/-"),
    "project": ("/r/acme/p1/development/c1", "/r/acme/p1/development/-"),
    "task": ("/r/acme/p1/development/c1", "/r/acme/p1/development/-"),
    "action": ("/r/acme/p1/development/c1", "/r/acme/p1/development/c1"),
    "attempt": ("/r/acme/p1/development/c1", "/r/acme/p1/development/c1"),
    "cluster": ("/r/acme/-/-/c2", "/r/acme/-/-/c2"),
    "pool": ("/r/acme/-/-/c2", "/r/acme/-/-/c2"),
}


def _action(key: RunKey) -> identifier_pb2.ActionIdentifier:
    return identifier_pb2.ActionIdentifier(run=run_id(key), name="a0")


async def _select(caller: Any, operation: int, resource: str, key: RunKey = KEY) -> str:
    request = wire.SelectClusterRequest(operation=operation, **RESOURCES[resource](key))
    try:
        answer = await caller.call(CLUSTERS, "SelectCluster", request)
    except RpcError as error:
        return error.code
    url: str = answer.cluster_endpoint
    return url


async def _prepared(cast: Cast) -> Any:
    alice = await cast.caller("alice")
    await alice.create("r")
    await report_health(cast, data_url=DATA)
    return alice


@pytest.mark.parametrize("resource", RESOURCES)
async def test_every_operation_on_every_resource(autojump_clock: Any, resource: str) -> None:
    one, secrets = PREFIXES[resource]
    async with running() as cast:
        alice = await _prepared(cast)
        for operation in ROUTES:
            expected = RELAY + one if one else "invalid_argument"
            if operation == Operation.OPERATION_USE_SECRETS:
                expected = RELAY + secrets
            elif operation in DATA_OPERATIONS and one:
                expected = "unavailable" if one.endswith("c2") else DATA
            assert (operation, await _select(alice, operation, resource)) == (operation, expected)
        for operation in REFUSED:
            assert await _select(alice, operation, resource) == "unimplemented"


async def test_what_the_contract_does_not_serve_is_refused() -> None:
    names = {Operation.Name(operation) for operation in REFUSED}
    assert names == {
        "OPERATION_UNSPECIFIED",
        "OPERATION_UPLOAD_TRIGGER",
        "OPERATION_GET_IMAGE",
        "OPERATION_TRACKED_RUN_DATA",
        "OPERATION_GET_CLUSTER_CONFIG",
    }


async def test_unauthenticated_callers_learn_nothing(autojump_clock: Any) -> None:
    async with running() as cast:
        await _prepared(cast)
        nobody = await cast.caller()
        for operation in Operation.values():
            for resource in RESOURCES:
                assert await _select(nobody, operation, resource) == "unauthenticated"


async def test_permissions_are_checked_per_operation(autojump_clock: Any) -> None:
    writes = {Operation.OPERATION_CREATE_UPLOAD_LOCATION, Operation.OPERATION_UPLOAD_INPUTS}
    async with running() as cast:
        await _prepared(cast)
        vic = await cast.caller("vic")  # Viewer of p1, development
        for operation in ROUTES:
            for resource in ("project", "action"):
                got = await _select(vic, operation, resource)
                assert (got == "permission_denied") == (operation in writes)
        for resource in ("org", "domain", "cluster"):
            got = await _select(vic, Operation.OPERATION_USE_SECRETS, resource)
            assert got == "permission_denied"
        elsewhere = KEY._replace(domain="production")
        assert await _select(vic, Operation.OPERATION_USE_SECRETS, "project", elsewhere) == (
            "not_found"
        )


@pytest.mark.parametrize("resource", RESOURCES)
async def test_another_orgs_resources_look_like_nobodys(autojump_clock: Any, resource: str) -> None:
    async with running() as cast:
        await _prepared(cast)
        bob, answers = await cast.caller("bob"), set()
        for key in (KEY, KEY._replace(org="absent"), KEY._replace(org="absent", run="x")):
            request = wire.SelectClusterRequest(
                operation=Operation.OPERATION_USE_SECRETS, **RESOURCES[resource](key)
            )
            with pytest.raises(RpcError) as error:
                await bob.call(CLUSTERS, "SelectCluster", request)
            answers.add((error.value.code, error.value.message))
        assert len(answers) == 1
        assert answers.pop()[0] == "not_found"


async def test_an_online_cluster_serves_what_names_none(autojump_clock: Any) -> None:
    upload = Operation.OPERATION_CREATE_UPLOAD_LOCATION
    async with running() as cast:
        alice = await _prepared(cast)
        cast.relay.set_tunnels(("acme", "c2", "ONLINE"))
        await until(lambda: any(e["cluster"] == "c2" for e in cast.events("cluster_state")))
        assert (await _select(alice, upload, "project")).endswith("/c2")
        key = await alice.create("r2")
        details = await alice.details(key)
        assert details.attempts[0].cluster == "c2"
        assert (await _select(alice, upload, "action")).endswith("/c1")


async def test_an_empty_org_is_the_callers_own(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await _prepared(cast)
        for resource in RESOURCES:
            got = await _select(
                alice, Operation.OPERATION_USE_SECRETS, resource, KEY._replace(org="")
            )
            assert got.startswith(f"{RELAY}/r/acme/")
