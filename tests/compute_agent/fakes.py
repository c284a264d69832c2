"""The agent's surroundings in memory: a relay's end of the tunnel, a cluster, a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import trio
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest, TailLogsResponse

from compute_agent.agent import Agent, Chance, Sources
from compute_agent.attempts import Attempt
from compute_agent.pods import Change, Pod, PodSpec
from compute_agent.settings import AgentSettings
from kube.client import ClusterError, WatchExpired
from tunnel.capabilities import CAPABILITIES, PUT_ACCESS, REPORT_HEALTH, TAIL_LOGS
from tunnel.errors import AuthRefused, Code, TransportClosed
from tunnel.events import Closed, Data, End, Head, Mark, Reset
from tunnel.exchange import RequestHead, ResponseHead, Scope
from tunnel.hello import Hello
from tunnel.journal import Journal
from tunnel.memory import MemoryLink, memory_transport_pair
from tunnel.messages.planesplit_v1_pb2 import (
    AccessRequest,
    Binding,
    HealthRequest,
    ReportRequest,
    ReportResponse,
)
from tunnel.payload import Payload
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream

SCOPE = Scope("acme", "proj", "dev", "c1")
CLUSTER_SCOPE = Scope("acme", "-", "-", "c1")
PROTO = (("content-type", "application/proto"),)
CONTROLS = frozenset(c.path for c in CAPABILITIES.values() if c.opened_by == "control")
ATTEMPT = Attempt("acme", "proj", "dev", "run1", "a0", 1)


def envelope(message: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


class FakeRelay:
    """Accepts the agent's dials while `up`, judges its token, answers its reports."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.up = True
        self.dials: list[float] = []
        self.links: list[MemoryLink] = []
        self.sessions: list[Session] = []
        self.closed: list[Closed] = []
        self.tokens: list[bytes] = []
        self.refuse: Code | None = None
        self.reports: list[ReportRequest] = []
        self.healths: list[HealthRequest] = []
        self.answer_reports = True
        self.roles = {"alice": "Admin"}
        self.version = 0
        self.hello = Hello("-", "-", "relay-1")
        self._changed = trio.Event()

    async def dial(self):
        self.dials.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if not self.up:
            raise TransportClosed
        ours, theirs, link = memory_transport_pair()
        self.links.append(link)
        self.nursery.start_soon(self._serve, ours)
        return theirs

    async def _serve(self, transport) -> None:
        session = Session(
            transport,
            hello=self.hello,
            settings=TunnelSettings(),
            authenticate=self._judge,
        )
        self.closed.append(await session.serve(self._handle, task_status=self))
        self.change()

    def started(self, session: Session) -> None:
        self.nursery.start_soon(self._welcome, session)

    async def _welcome(self, session: Session) -> None:
        """Push the roles, as the control plane does when a tunnel comes up."""
        if self.roles:
            await self.push(session)
        self.sessions.append(session)
        self.change()

    async def push(self, session: Session, **changes) -> Call:
        self.version += 1
        bindings = [
            Binding(subject=subject, role=role, org="acme", project="*", domain="*")
            for subject, role in self.roles.items()
        ]
        made = {"version": self.version, "jwks": '{"keys":[]}', "bindings": bindings, **changes}
        head = RequestHead("POST", PUT_ACCESS, CLUSTER_SCOPE, "control", PROTO)
        stream = session.open(head)
        await stream.send(AccessRequest(**made).SerializeToString())
        stream.end()
        return await Call(stream).finish()

    def _judge(self, hello: Hello, token: Payload) -> float:
        self.tokens.append(token.reveal())
        self.change()
        if self.refuse is not None:
            raise AuthRefused(code=self.refuse)
        return 3600.0

    async def _handle(self, stream: Stream) -> None:
        body = b""
        while True:
            await stream.ready()
            for event in stream.take():
                if isinstance(event, Data):
                    body += bytes(event.view)
                    stream.release(len(event.view))
                elif isinstance(event, End):
                    if stream.request.path == REPORT_HEALTH:
                        self.healths.append(HealthRequest.FromString(body))
                    else:
                        self.reports.append(ReportRequest.FromString(body))
                    self.change()
                    if self.answer_reports:
                        stream.head(ResponseHead(200, (("content-type", "application/proto"),)))
                        await stream.send(ReportResponse(accepted=1).SerializeToString())
                        stream.end()
                    return

    def change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    async def connected(self, times: int = 1) -> Session:
        await self.until(lambda: len(self.sessions) >= times)
        return self.sessions[-1]

    async def open(self, path: str, body: bytes, *, scope=SCOPE, headers=(), cursor=b"") -> Call:
        session = await self.connected()
        headers = (("content-type", "application/proto"), *headers)
        caller = "control" if path in CONTROLS else "alice"
        stream = session.open(RequestHead("POST", path, scope, caller, headers), cursor)
        await stream.send(body)
        stream.end()
        return Call(stream)

    async def tail(
        self, *, attempt=ATTEMPT, scope=SCOPE, headers=(), cursor=b"", subject="alice"
    ) -> Call:
        request = TailLogsRequest(attempt=attempt.attempt)
        run = request.action_id.run
        run.org, run.project, run.domain, run.name = (
            attempt.org,
            attempt.project,
            attempt.domain,
            attempt.run,
        )
        request.action_id.name = attempt.action
        session = await self.connected()
        headers = (("content-type", "application/connect+proto"), *headers)
        stream = session.open(RequestHead("POST", TAIL_LOGS, scope, subject, headers), cursor)
        await stream.send(envelope(request.SerializeToString()))
        stream.end()
        return Call(stream)


class Call:
    """One exchange as the relay sees it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.status = 0
        self.answer: ResponseHead | None = None
        self.body = bytearray()
        self.units: list[bytes] = []
        self.unit_sizes: list[int] = []
        self.marks: list[bytes] = []
        self.arrivals: list[float] = []
        self.code: Code | None = None
        self.ended = False
        self._unit = bytearray()

    async def step(self) -> bool:
        """Take what has arrived; False when the exchange is over."""
        await self.stream.ready()
        for event in self.stream.take():
            match event:
                case Head(head=head):
                    self.status, self.answer = head.status, head
                case Data(view=view):
                    self.body += view
                    self._unit += view
                    self.stream.release(len(view))
                case Mark(cursor=cursor):
                    self.marks.append(cursor)
                    self.units.append(bytes(self._unit))
                    self.arrivals.append(trio.current_time())
                    self._unit.clear()
                case End():
                    self.ended = True
                case Reset(code=code):
                    self.code = code
        return not self.ended and self.code is None

    async def finish(self) -> Call:
        while await self.step():
            pass
        return self

    async def until_text(self, text: str) -> Call:
        while text not in self.text:
            assert await self.step(), "the exchange ended before"
        return self

    def messages(self) -> tuple[list[TailLogsResponse], bytes]:
        """The messages, and the end-stream message if it came."""
        found, end, at = [], b"", 0
        while at < len(self.body):
            size = int.from_bytes(self.body[at + 1 : at + 5], "big")
            payload = bytes(self.body[at + 5 : at + 5 + size])
            if self.body[at] & 2:
                end = payload
            elif at + 5 + size <= len(self.body):
                found.append(TailLogsResponse.FromString(payload))
            at += 5 + size
        return found, end

    @property
    def text(self) -> str:
        """All lines of finished units."""
        whole = Call(self.stream)
        whole.body = bytearray(b"".join(self.units))
        return "".join(
            line.message for m in whole.messages()[0] for logs in m.logs for line in logs.lines
        )

    @property
    def error(self) -> bytes:
        return self.messages()[1]


class FakeCluster:
    """Pods in a dict; watches see changes, and may be made to fail."""

    def __init__(self) -> None:
        self.pods: dict[tuple[str, str], Pod] = {}
        self.specs: list[PodSpec] = []
        self.log: list[Change] = []
        self.lists = 0
        self.fail = False
        self.expire = False
        self._changed = trio.Event()

    def _check(self) -> None:
        if self.fail:
            raise ClusterError("down")

    def change(self, pod: Pod, *, deleted: bool = False) -> None:
        key = pod.namespace, pod.name
        if deleted:
            del self.pods[key]
        else:
            self.pods[key] = pod
        self.log.append(Change(pod, deleted))
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def create(self, spec: PodSpec) -> bool:
        await trio.lowlevel.checkpoint()
        self._check()
        key = spec.attempt.namespace, spec.attempt.pod
        if key in self.pods:
            return False
        self.specs.append(spec)
        self.change(pod_of(spec.attempt))
        return True

    async def get(self, namespace: str, name: str) -> Pod | None:
        await trio.lowlevel.checkpoint()
        self._check()
        return self.pods.get((namespace, name))

    async def delete(self, namespace: str, name: str) -> bool:
        await trio.lowlevel.checkpoint()
        self._check()
        pod = self.pods.get((namespace, name))
        if pod is not None:
            self.change(replace(pod, deleting=True), deleted=True)
        return pod is not None

    async def list(self) -> tuple[list[Pod], str]:
        await trio.lowlevel.checkpoint()
        self._check()
        self.lists += 1
        return list(self.pods.values()), str(len(self.log))

    async def watch(self, version: str, tell) -> str:
        at = int(version)
        while True:
            self._check()
            if self.expire:
                self.expire = False
                raise WatchExpired
            for change in self.log[at:]:
                tell(change)
            at = len(self.log)
            await self._changed.wait()


def pod_of(attempt: Attempt = ATTEMPT, phase: str = "Pending", **fields) -> Pod:
    uid = f"uid-{attempt.pod}"
    return Pod(attempt, attempt.namespace, attempt.pod, uid, phase, **fields)


class Token:
    """A token that tests may change."""

    def __init__(self) -> None:
        self.value = b"one"

    def current(self) -> Payload:
        return Payload(self.value)


class World:
    """An agent in its surroundings; use as an async context manager inside a nursery."""

    history = None  # a log aggregator

    def __init__(self, root: Path, nursery: trio.Nursery, **settings) -> None:
        self.root, self.nursery = root, nursery
        self.relay = FakeRelay(nursery)
        self.cluster, self.token = FakeCluster(), Token()
        self.journal: list[str] = []
        (root / "logs").mkdir(exist_ok=True)
        (root / "state").mkdir(exist_ok=True)
        self.settings = AgentSettings(
            org="acme",
            cluster="c1",
            relay_url="wss://relay/tunnel",
            log_root=str(root / "logs"),
            state_dir=str(root / "state"),
            **settings,
        )
        self.draws = [0.5]
        self.result: Code | None = None
        self.agent = self.start()

    def start(self) -> Agent:
        """Start an agent; a second call is a restart."""
        sources = Sources(self.cluster, self.token, history=self.history)
        chance = Chance(lambda: 1_800_000_000.0 + trio.current_time(), self._draw, "agent-1")
        agent = Agent(
            self.settings,
            dial=self.relay.dial,
            sources=sources,
            journal=Journal("agent", write=self.journal.append, clock=lambda: 0.0),
            chance=chance,
        )
        self.scope = trio.CancelScope()
        self.nursery.start_soon(self._run, agent, self.scope)
        return agent

    def kill(self) -> None:
        """End the agent as a crash does."""
        self.scope.cancel()
        self.relay.links[-1].cut()

    async def _run(self, agent: Agent, scope: trio.CancelScope) -> None:
        with scope:
            self.result = await agent.run()
            self.relay.change()

    def _draw(self) -> float:
        return self.draws[0] if len(self.draws) == 1 else self.draws.pop(0)

    def events(self) -> list[str]:
        import json

        return [json.loads(line)["event"] for line in self.journal]
