"""The metrics service behind a tunnel in memory, with an engine that plays a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from connectrpc.code import Code

from compute_agent.asgi_host import serve
from compute_agent.metrics.engine import QueryFailed, Statement
from compute_agent.metrics.service import MetricsService
from compute_agent.metrics.settings import MetricsLimits
from compute_agent.services import own
from tunnel.capabilities import QUERY
from tunnel.events import Data, End, Head, Reset
from tunnel.exchange import RequestHead, Scope
from tunnel.hello import Hello
from tunnel.memory import memory_transport_pair
from tunnel.messages import planesplit_v1_pb2 as wire
from tunnel.messages.rpc import connect_app
from tunnel.payload import Payload
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream

SCOPE = Scope("acme", "proj", "dev", "c1")
IN_SCOPE = wire.RunScope(org="acme", project="proj", domain="dev", run="run1")

Step = bytes | float | QueryFailed  # a piece, a pause in seconds, the end


class ScriptedEngine:
    """Each query plays the script; `endless` repeats it."""

    def __init__(self, *script: Step, endless: bool = False, slots: int = 8) -> None:
        self.script, self.endless, self.slots = script, endless, slots
        self.statements: list[Statement] = []
        self.running: list[ScriptedResult] = []
        self.closed: list[ScriptedResult] = []

    def start(self, statement: Statement) -> ScriptedResult:
        if len(self.running) >= self.slots:
            raise QueryFailed(Code.RESOURCE_EXHAUSTED, "busy")
        self.statements.append(statement)
        result = ScriptedResult(self)
        self.running.append(result)
        return result


class ScriptedResult:
    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine
        self._steps = list(engine.script)
        self.taken = 0  # bytes that the service has read
        self._due = trio.current_time()

    async def read(self) -> bytes:
        while self._steps:
            step = self._steps[0]
            if isinstance(step, float):
                self._due = max(self._due, trio.current_time()) + step
                self._steps[0] = b""
            await trio.sleep_until(self._due)  # may be cancelled and called again
            self._steps.pop(0)
            if not self._steps and self._engine.endless:
                self._steps = list(self._engine.script)
            if isinstance(step, QueryFailed):
                raise step
            if step and isinstance(step, bytes):
                self.taken += len(step)
                return step
        return b""

    def close(self) -> None:
        if self in self._engine.running:
            self._engine.running.remove(self)
            self._engine.closed.append(self)


class Answer:
    """A viewer's exchange as the relay sees it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.status = 0
        self.body = bytearray()
        self.at: list[float] = []
        self.over = False

    async def step(self) -> None:
        await self.stream.ready()
        for event in self.stream.take():
            match event:
                case Head(head=head):
                    self.status = head.status
                case Data(view=view):
                    self.body += view
                    self.at.append(trio.current_time())
                    self.stream.release(len(view))
                case End() | Reset():
                    self.over = True

    async def finish(self) -> Answer:
        while not self.over:
            await self.step()
        return self

    def messages(self) -> list[tuple[int, bytes]]:
        found, at = [], 0
        while at + 5 <= len(self.body):
            size = int.from_bytes(self.body[at + 1 : at + 5], "big")
            found.append((self.body[at], bytes(self.body[at + 5 : at + 5 + size])))
            at += 5 + size
        return found

    def chunks(self) -> list[bytes]:
        return [wire.QueryResponse.FromString(m).chunk for flags, m in self.messages() if not flags]

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks())

    @property
    def end(self) -> bytes:
        """The end-stream message: `{}` is success."""
        return b"".join(message for flags, message in self.messages() if flags & 2)


class MetricsStage:
    def __init__(self, session: Session) -> None:
        self.session = session

    async def ask(
        self,
        name: str = "cpu_usage",
        *,
        scope: wire.RunScope = IN_SCOPE,
        result_format: int = wire.RESULT_FORMAT_JSON_EACH_ROW,
        **parameters: str,
    ) -> Answer:
        request = wire.QueryRequest(
            name=name, scope=scope, parameters=parameters, format=result_format
        )
        body = request.SerializeToString()
        headers = (("content-type", "application/connect+proto"),)
        stream = self.session.open(RequestHead("POST", QUERY, SCOPE, "alice", headers))
        await stream.send(bytes([0]) + len(body).to_bytes(4, "big") + body)
        stream.end()
        return Answer(stream)

    async def call(self, path: str, request: bytes) -> Answer:
        headers = (("content-type", "application/proto"),)
        stream = self.session.open(RequestHead("POST", path, SCOPE, "alice", headers))
        await stream.send(request)
        stream.end()
        return await Answer(stream).finish()


def not_counted(direction: str, count_bytes: int) -> None:
    """Rows are counted elsewhere."""


@asynccontextmanager
async def metrics_stage(
    engine: ScriptedEngine | None,
    limits: MetricsLimits | None = None,
    errors: Sequence[str] | None = None,
) -> AsyncIterator[MetricsStage]:
    service = MetricsService(engine, limits or MetricsLimits())
    app = connect_app((own("MetricsService"), service))
    ours, theirs, _ = memory_transport_pair()
    relay = Session(
        ours,
        hello=Hello("-", "-", "relay-1"),
        settings=TunnelSettings(),
        authenticate=lambda hello, token: 3600.0,
    )
    agent = Session(
        theirs,
        hello=Hello("acme", "c1", "agent-1"),
        settings=TunnelSettings(),
        token=Payload(b"token"),
    )

    async def refuse(stream: Stream) -> None:
        raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.serve, lambda stream: serve(app, stream, not_counted))
        await nursery.start(lambda task_status: relay.serve(refuse, task_status=task_status))
        yield MetricsStage(relay)
        nursery.cancel_scope.cancel()
