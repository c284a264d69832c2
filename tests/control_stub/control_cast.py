"""The cast of the control plane's tests: a relay, callers of every role, a simulated clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import trio
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

EPOCH_S = 1_800_000_000.0
URL = "https://control.example"
RUNS = "flyteidl2.workflow.RunService"

ACME = OrgSettings("acme", ("p1", "p2"), ("development", "production"), ("c1", "c2"))
GLOBEX = OrgSettings("globex", ("p1",), ("development",), ("c1",))
ROLES: dict[str, tuple[str, tuple[RoleSettings, ...]]] = {
    "alice": ("acme", (RoleSettings("Admin"),)),
    "carol": ("acme", (RoleSettings("Contributor", "p1"),)),
    "vic": ("acme", (RoleSettings("Viewer", "p1", "development"),)),
    "bob": ("globex", (RoleSettings("Admin"),)),
}
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
        form = {"grant_type": "client_credentials", "scope": scope}
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


Agent = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]


async def willing_agent(path: str, body: bytes) -> tuple[int, bytes]:
    """Acknowledge everything."""
    return 200, b""


class FakeRelay:
    """The private listener of a relay, as an ASGI application; and what it was told.

    Args:
        agent: answers what is sent to a cluster: (path with scope, body) -> (status, body).
    """

    def __init__(self, agent: Agent = willing_agent) -> None:
        self.agent = agent
        self.away = False
        self.boots = 1
        self.policies: list[dict[str, Any]] = []
        self.calls: list[tuple[str, bytes]] = []
        self._version, self._tunnels = 1, list[dict[str, Any]]()
        self._changed = trio.Event()
        self._put, self._get = trio.open_memory_channel[tuple[str, dict[str, str], bytes]](100)
        self._answers: dict[str, Any] = {}
        self._requests: set[trio.CancelScope] = set()

    def restart(self) -> None:
        """Come back as another process: connections break, nothing is known."""
        self.boots += 1
        self._version, self._tunnels = 1, []
        for scope in self._requests:
            scope.cancel()

    def leave(self) -> None:
        """Break every connection and accept none."""
        self.away = True
        for scope in self._requests:
            scope.cancel()

    def set_tunnels(self, *tunnels: tuple[str, str, str]) -> None:
        """Say which tunnels there are: (org, cluster, state)."""
        self._tunnels = [
            {"org": o, "cluster": c, "slot": 0, "state": s, "since_s": now(), "rtt_ms": 1}
            for o, c, s in tunnels
        ]
        self._version += 1
        self._changed.set()
        self._changed = trio.Event()

    async def exchange(
        self, org: str, cluster: str, path: str, body: bytes
    ) -> tuple[dict[str, str], bytes]:
        """Open an exchange as a cluster's agent; return the answer's headers and body."""
        name = f"x{len(self._answers)}"
        answered = self._answers[name] = trio.Event()
        headers = {"planesplit-exchange": name, "planesplit-org": org}
        headers |= {"planesplit-cluster": cluster, "planesplit-path": path}
        headers |= {"content-type": "application/proto"}
        await self._put.send((name, headers, body))
        with trio.fail_after(60):
            await answered.wait()
        result: tuple[dict[str, str], bytes] = self._answers[name]
        return result

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request of the control plane."""
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        status, headers, answer = await self._route(scope, body)
        headers = {"planesplit-relay": f"boot-{self.boots}", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": answer})

    async def _route(self, scope: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        query = httpx.QueryParams(scope["query_string"].decode())
        match scope["method"], scope["path"].split("/")[1:]:
            case "PUT", ["v1", "policy"]:
                self.policies.append(json.loads(body))
                return 204, {}, b""
            case "GET", ["v1", "tunnels"]:
                return await self._poll_tunnels(int(query["since"]), float(query["wait_s"]))
            case "GET", ["v1", "exchanges", "next"]:
                with trio.move_on_after(float(query["wait_s"])):
                    _, headers, request = await self._get.receive()
                    return 200, headers, request
                return 204, {}, b""
            case "POST", ["v1", "exchanges", name]:
                answered = self._answers[name]
                headers = {key.decode(): value.decode() for key, value in scope["headers"]}
                self._answers[name] = (headers, body)
                answered.set()
                return 204, {}, b""
            case "POST", ["r", *_]:
                self.calls.append((scope["path"], body))
                status, answer = await self.agent(scope["path"], body)
                return status, {"content-type": "application/proto"}, answer
        return 404, {}, b""

    async def _poll_tunnels(self, since: int, wait_s: float) -> tuple[int, dict[str, str], bytes]:
        if since >= self._version:
            with trio.move_on_after(wait_s):
                await self._changed.wait()
        answer = {"boot": "b", "version": self._version, "tunnels": self._tunnels}
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Be one connection's request, which breaks when the relay does."""
        with trio.CancelScope() as scope:
            self._requests.add(scope)
            try:
                yield
            finally:
                self._requests.discard(scope)
        if scope.cancelled_caught:
            raise httpx.ReadError("the relay has gone")


class RelayTransport(httpx.AsyncBaseTransport):
    """The way to a fake relay in the same process."""

    def __init__(self, relay: FakeRelay) -> None:
        self._relay = relay
        self._inner = httpx.ASGITransport(app=relay)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand one request over, unless the relay is away."""
        await trio.lowlevel.checkpoint()
        if self._relay.away:
            raise httpx.ConnectError("refused")
        async with self._relay.connection():
            return await self._inner.handle_async_request(request)
        raise AssertionError
