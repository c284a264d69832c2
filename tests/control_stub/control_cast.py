"""The cast of the control plane's tests: a relay, callers of every role, a simulated clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import trio
from fake_relay import FakeRelay, RelayTransport
from flyteidl2.common import identifier_pb2
from flyteidl2.core import tasks_pb2
from flyteidl2.task import task_definition_pb2
from flyteidl2.workflow import run_service_pb2
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from control_stub.app import ControlPlane, control_plane
from control_stub.runs import RunKey
from control_stub.settings import (
    AppSettings,
    ControlSettings,
    OrgSettings,
    RelaySettings,
    RoleSettings,
)
from tunnel.journal import Journal
from tunnel.messages import planesplit_v1_pb2 as v1

EPOCH_S = 1_800_000_000.0
URL = "https://control.example"
REPORT = "/planesplit.v1.ReportService/Report"
HEALTH = "/planesplit.v1.ReportService/ReportHealth"
RUNS = "flyteidl2.workflow.RunService"

ACME = OrgSettings("acme", ("p1", "p2"), ("development", "production"), ("c1", "c2"))
GLOBEX = OrgSettings("globex", ("p1",), ("development",), ("c1",))
ROLES: dict[str, tuple[str, tuple[RoleSettings, ...]]] = {
    "alice": ("acme", (RoleSettings("Admin"),)),
    "carol": ("acme", (RoleSettings("Contributor", "p1"),)),
    "vic": ("acme", (RoleSettings("Viewer", "p1", "development"),)),
    "bob": ("globex", (RoleSettings("Admin"),)),
}
THUMBPRINT = "t" * 43
SECRETS = {name: f"secret of {name}" for name in (*ROLES, "agent-c1")}


def settings(**changes: Any) -> ControlSettings:
    """Return settings of two orgs with callers of every role, and an agent."""
    apps = [AppSettings(name, "", org, roles=roles) for name, (org, roles) in ROLES.items()]
    apps.append(AppSettings("agent-c1", "", "acme", cluster="c1"))
    relay = RelaySettings("http://relay.example", "https://relay.example:444")
    return replace(ControlSettings(relay, (ACME, GLOBEX), tuple(apps)), **changes)


class RpcError(Exception):
    """A Connect error, as a caller sees it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(f"{code}: {message}")


def answer_class(service: str, method: str) -> Any:
    """Return the class of an RPC's answers."""
    descriptor = Default().FindServiceByName(service).methods_by_name[method]
    return GetMessageClass(descriptor.output_type)


class Caller:
    """Calls the public API as one client does.

    Args:
        token: bearer token; empty for none.
    """

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http, self.token = http, token

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates this caller."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    async def call(self, service: str, method: str, request: Message) -> Any:
        """Make a unary call; raises RpcError."""
        response = await self._http.post(
            f"/{service}/{method}",
            content=request.SerializeToString(),
            headers={"content-type": "application/proto", **self.headers},
        )
        if response.status_code != 200:
            error = response.json()
            raise RpcError(response.status_code, error["code"], error.get("message", ""))
        return answer_class(service, method).FromString(response.content)

    async def create(self, name: str = "", **scope: str) -> RunKey:
        """Start a run of `train`; in acme, p1, development unless told otherwise."""
        answer = await self.call(RUNS, "CreateRun", create_request(name, **scope))
        found = answer.run.action.id.run
        return RunKey(found.org, found.project, found.domain, found.name)

    async def details(self, key: RunKey) -> Any:
        """Return a run's action."""
        request = run_service_pb2.GetRunDetailsRequest(run_id=run_id(key))
        return (await self.call(RUNS, "GetRunDetails", request)).details.action


class Cast:
    """A running control plane and everybody around it."""

    def __init__(
        self, plane: ControlPlane, relay: FakeRelay, journal: list[dict[str, Any]]
    ) -> None:
        self.plane, self.relay, self.journal = plane, relay, journal
        transport = httpx.ASGITransport(app=plane.asgi)
        self.http = httpx.AsyncClient(transport=transport, base_url=URL)

    async def token(self, name: str, scope: str = "all") -> str:
        """Fetch a token as the app of that name."""
        form = {"grant_type": "client_credentials", "scope": scope, "x5t#S256": THUMBPRINT}
        auth = httpx.BasicAuth(name, SECRETS[name])
        response = await self.http.post("/oauth2/token", data=form, auth=auth)
        token: str = response.raise_for_status().json()["access_token"]
        return token

    async def caller(self, name: str = "") -> Caller:
        """Return a caller; one without a token if it has no name."""
        return Caller(self.http, await self.token(name) if name else "")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the journal's events of a name."""
        return [event for event in self.journal if event["event"] == name]


@asynccontextmanager
async def running(
    config: ControlSettings | None = None, relay: FakeRelay | None = None
) -> AsyncIterator[Cast]:
    """Run a control plane in one process and simulated time."""
    journal: list[dict[str, Any]] = []
    relay = relay or FakeRelay()
    clock = now
    async with control_plane(
        config or settings(),
        SECRETS,
        URL,
        journal=Journal("control_stub", write=lambda line: journal.append(json.loads(line))),
        clock=clock,
        threaded=False,
        relay_transport=RelayTransport(relay),
    ) as plane:
        yield Cast(plane, relay, journal)


def now() -> float:
    """Return the simulated wall clock, seconds since the epoch."""
    return EPOCH_S + trio.current_time()


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait, in simulated time, until a condition holds."""
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.01)


def run_id(key: RunKey) -> identifier_pb2.RunIdentifier:
    """Return a run's name as a message."""
    return identifier_pb2.RunIdentifier(
        org=key.org, project=key.project, domain=key.domain, name=key.run
    )


def task_spec(command: tuple[str, ...] = ("python3", "train.py")) -> Any:
    """Return a task that runs a command."""
    container = tasks_pb2.Container(image="planesplit/exec", command=command)
    template = tasks_pb2.TaskTemplate(type="container", container=container)
    template.id.name, template.id.version = "ml.train", "v1"
    return task_definition_pb2.TaskSpec(task_template=template, short_name="train")


def create_request(
    name: str = "", *, org: str = "", project: str = "p1", domain: str = "development"
) -> run_service_pb2.CreateRunRequest:
    """Return a request for a run; the server names it if `name` is empty."""
    request = run_service_pb2.CreateRunRequest(task_spec=task_spec())
    if name:
        request.run_id.CopyFrom(run_id(RunKey(org, project, domain, name)))
    else:
        where = identifier_pb2.ProjectIdentifier(organization=org, name=project, domain=domain)
        request.project_id.CopyFrom(where)
    return request


def event(key: RunKey, phase: int, sequence: int, **fields: Any) -> v1.PhaseEvent:
    """Return what an agent says of a run's phase, now."""
    action = v1.Action(
        org=key.org,
        project=key.project,
        domain=key.domain,
        run=key.run,
        action=fields.pop("action", "a0"),
        attempt=fields.pop("attempt", 1),
    )
    made = v1.PhaseEvent(action=action, phase=phase, sequence=sequence, **fields)
    made.at.FromNanoseconds(int(now() * 1e9))
    return made


async def report(
    cast: Cast, *events: v1.PhaseEvent, org: str = "acme", cluster: str = "c1", **fields: Any
) -> tuple[str, Any]:
    """Report as c1's agent; return the status and the answer."""
    request = v1.ReportRequest(org=org, cluster=cluster, phases=events, healthy=True, **fields)
    headers, body = await cast.relay.exchange("acme", "c1", REPORT, request.SerializeToString())
    status = headers["planesplit-status"]
    if status != "200":
        return status, json.loads(body)
    assert headers["content-type"] == "application/proto"
    return status, v1.ReportResponse.FromString(body)


async def report_health(
    cast: Cast, *, org: str = "acme", cluster: str = "c1", by: str = "c1", **fields: Any
) -> str:
    """Report a cluster's health through the tunnel of acme's cluster `by`; return the status."""
    request = v1.HealthRequest(org=org, cluster=cluster, **{"healthy": True, **fields})
    headers, _ = await cast.relay.exchange("acme", by, HEALTH, request.SerializeToString())
    return headers["planesplit-status"]


async def phase_of(caller: Caller, key: RunKey) -> int:
    """Return the phase that a caller sees."""
    phase: int = (await caller.details(key)).status.phase
    return phase
