"""Every byte that the control plane serves has a row; what has none does not exist."""

from __future__ import annotations

from typing import Any

import pytest
from control_cast import RUNS, Caller, create_request, event, report, report_health, running, until
from flyteidl2.project import project_service_pb2
from flyteidl2.workflow import run_service_pb2

from control_stub.counting import OPERATIONAL, counted
from control_stub.public import public_services
from tunnel.row_counts import RowCounts
from tunnel.rows import APPENDIX_A, control_row

PLAIN = (
    "/oauth2/token",
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
)


def _rpcs() -> list[str]:
    unused: Any = None
    return [
        f"/{service.full_name}/{method.name}"
        for service, _ in public_services(unused, unused, unused)
        for method in service.methods
    ]


def test_every_route_has_a_row_of_the_white_paper() -> None:
    rows = {path: control_row(path) for path in (*_rpcs(), *PLAIN)}
    assert len(rows) > 30
    assert {path for path, row in rows.items() if row not in APPENDIX_A} == set()
    assert set(rows.values()) == {"A1", "A2", "A3", "A11", "A12"}  # what the white paper lets in


async def test_a_route_without_a_row_does_not_exist(autojump_clock: Any) -> None:
    async with running() as cast:
        await until(lambda: bool(cast.events("policy_pushed")))
        before = (await cast.http.get("/metrics")).text
        for path in ("/", "/a.v1.Unknown/Call", "/debug", "/oauth2/authorize", "/metrics/x"):
            for method in ("GET", "POST"):
                assert (await cast.http.request(method, path)).status_code == 404
        assert (await cast.http.get("/metrics")).text == before


async def test_an_application_that_serves_more_is_cut(autojump_clock: Any) -> None:
    """Planted mutant: a route that somebody adds and forgets to give a row."""
    served = []

    async def careless(scope: Any, receive: Any, send: Any) -> None:
        served.append(scope["path"])

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app = counted(careless, RowCounts())
    for path in ("/new.Service/Call", "/livez", RUNS):
        await app({"type": "http", "path": path}, None, send)  # type: ignore[arg-type]
    assert served == ["/livez"]
    assert {message.get("status", 404) for message in sent} == {404}
    assert "/livez" in OPERATIONAL


async def _counts(cast: Any) -> dict[tuple[str, str], int]:
    found = {}
    for line in (await cast.http.get("/metrics")).text.splitlines():
        if line.startswith("control_row_bytes_total{"):
            labels, value = line.removeprefix("control_row_bytes_total{").split("} ")
            row, direction = (label.split('"')[1] for label in labels.split(","))
            found[row, direction] = int(value)
    return found


async def test_bodies_are_counted_exactly(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = Caller(cast.http, cast.plane.issuer.viewer_token("alice", "acme"))
        await until(lambda: bool(cast.events("policy_pushed")))
        before = await _counts(cast)
        request = project_service_pb2.ListProjectsRequest()
        request.limit = 7
        answer = await cast.http.post(
            "/flyteidl2.project.ProjectService/ListProjects",
            content=request.SerializeToString(),
            headers={
                "content-type": "application/proto",
                "accept-encoding": "identity",
                **alice.headers,
            },
        )
        after = await _counts(cast)
        assert after["A11", "up"] - before["A11", "up"] == request.ByteSize()
        assert after["A11", "down"] - before["A11", "down"] == len(answer.content) > 0
        assert after["A8", "up"] == after["A9", "up"] == after["A10", "down"] == 0


@pytest.mark.parametrize("row", ["A1", "A2", "A3", "A11", "A12"])
async def test_each_row_rises_with_what_belongs_to_it(autojump_clock: Any, row: str) -> None:
    async with running() as cast:
        alice = Caller(cast.http, cast.plane.issuer.viewer_token("alice", "acme"))
        await until(lambda: bool(cast.relay.policies))
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: bool(cast.relay.accesses))
        before = await _counts(cast)
        key = None
        match row:
            case "A1":  # the assignment tells what to run
                await alice.create("r")
                await until(lambda: bool(cast.relay.calls))
            case "A2":
                await alice.call(RUNS, "CreateRun", create_request("r"))
            case "A3":
                key = await alice.create("r")
                await report(cast, event(key, 4, 4))
            case "A11":
                await cast.plane.revoke("vic", 1)
                await until(lambda: len(cast.relay.accesses) == 2)
            case "A12":
                await report_health(cast)
        assert (await _counts(cast))[row, "up"] > before[row, "up"]


async def test_streams_are_counted(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = Caller(cast.http, cast.plane.issuer.viewer_token("alice", "acme"))
        key = await alice.create("r")
        await report(cast, event(key, 5, 5))
        before = await _counts(cast)
        message = run_service_pb2.WatchActionDetailsRequest()
        message.action_id.run.name, message.action_id.run.project = "r", "p1"
        message.action_id.run.domain, message.action_id.name = "development", "a0"
        body = message.SerializeToString()
        response = await cast.http.post(
            f"/{RUNS}/WatchActionDetails",
            content=b"\0" + len(body).to_bytes(4, "big") + body,
            headers={"content-type": "application/connect+proto", **alice.headers},
        )
        after = await _counts(cast)
        assert after["A3", "down"] - before["A3", "down"] == len(response.content)
