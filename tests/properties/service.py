"""A customer's agent, as far as the relay can tell: it dials, serves exchanges, and comes back."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import trio
from access import CLUSTER, ORGS, VALID_S, agent_token
from evidence import Evidence, Seen

from tunnel.capabilities import CREATE_SECRET, QUERY
from tunnel.errors import Code, StreamReset, TransportClosed, TunnelError
from tunnel.events import Data, End
from tunnel.exchange import ResponseHead
from tunnel.hello import Hello
from tunnel.memory import MemoryLink
from tunnel.payload import Payload
from tunnel.scheduler import joined
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.streams import Frame
from tunnel.transport import Transport

REDIAL_S = 0.2
ANSWER_S = 0.05
STREAMING = "application/connect+proto"
UNARY = "application/proto"

Connect = Callable[[int], Awaitable[tuple[Transport, MemoryLink]]]


@dataclass
class Source:
    """A log or a watch at the customer's.

    Args:
        lines, width: how many, and how many bytes each.
        unit, pieces: lines of a unit, and DATA frames that it is sent in.
        pace_s: pause after each unit.
        seen: by its viewer.
    """

    lines: int
    width: int
    unit: int
    pieces: int
    pace_s: float
    seen: Seen


def message(text: bytes, flags: int = 0) -> bytes:
    """Return a Connect message."""
    return bytes((flags,)) + len(text).to_bytes(4, "big") + text


class Tampering:
    """A transport whose next frames may be sent twice, or in another order."""

    def __init__(self, transport: Transport, tampered: Callable[[str], None]) -> None:
        self._transport, self._tampered = transport, tampered
        self.orders: deque[str] = deque()  # double, swap
        self._kept: bytes | None = None

    @property
    def pending(self) -> bool:
        """See Transport."""
        return self._transport.pending

    async def receive(self) -> list[memoryview]:
        """See Transport."""
        return await self._transport.receive()

    async def send(self, frames: list[Frame]) -> None:
        """See Transport."""
        await self._transport.send(self._mangled(frames))

    def send_now(self, frames: list[Frame]) -> None:
        """See Transport."""
        self._transport.send_now(self._mangled(frames))

    def _mangled(self, frames: list[Frame]) -> list[Frame]:
        out: list[Frame] = []
        for frame in frames:
            data = bytes(joined(frame))
            if self._kept is not None:
                out += [[data], [self._kept]]
                self._kept = None
            elif self.orders and self.orders[0] == "swap":
                self.orders.popleft()
                self._kept = data
                self._tampered("swap")
            else:
                out.append([data])
                if self.orders:
                    self.orders.popleft()
                    out.append([data])
                    self._tampered("double")
        return out

    async def aclose(self) -> None:
        """See Transport."""
        await self._transport.aclose()


class Agent:
    """One tenant's.

    Args:
        tenant: whose.
        connect: dials the relay; OSError while there is none.
        evidence: where it tells what it heard, and how much is under way.
        sources: its logs, by number.
    """

    def __init__(
        self, tenant: int, connect: Connect, evidence: Evidence, sources: dict[int, Source]
    ) -> None:
        self.tenant, self._connect, self._evidence = tenant, connect, evidence
        self._sources = sources
        self.valid_s = VALID_S  # of the next token
        self.link: MemoryLink | None = None
        self.wire: Tampering | None = None

    async def run(self) -> None:
        """Dial, serve, dial again, until told that another one has this place."""
        while True:
            with suppress(OSError, TunnelError, TransportClosed):
                if await self._serve_once() is Code.REPLACED:
                    return
            await trio.sleep(REDIAL_S)

    async def _serve_once(self) -> Code | None:
        transport, self.link = await self._connect(self.tenant)
        self.wire = Tampering(transport, self._tampered)
        token = agent_token(self.tenant, self.valid_s)
        self.valid_s = VALID_S
        session = Session(
            self.wire,
            hello=Hello(ORGS[self.tenant], CLUSTER, "agent"),
            settings=TunnelSettings(),
            token=Payload(token.encode()),
        )
        closed = await session.serve(self._handle)
        return getattr(closed, "code", None)

    def _tampered(self, how: str) -> None:
        for source in self._sources.values():
            if source.seen.tenant == self.tenant and source.seen.ending == "open":
                source.seen.excused = "tampered"

    async def _handle(self, stream: Stream) -> None:
        with suppress(StreamReset):
            request = await _request(stream)
            self._evidence.heard.append((self.tenant, request))
            path = stream.request.path
            if path.endswith((QUERY, CREATE_SECRET)):
                await self._answer(stream, request)
            else:
                await self._stream(stream, self._sources[json.loads(request)["ident"]])

    async def _answer(self, stream: Stream, request: bytes) -> None:
        stream.head(ResponseHead(200, (("content-type", UNARY),)))
        mark = self._evidence.marks[self.tenant]
        asked = json.loads(request)
        if "secret" not in asked:
            for _ in range(asked["rows"]):
                await stream.send(mark * 10)
        await trio.sleep(ANSWER_S)
        await stream.send(b"done")
        stream.end()

    async def _stream(self, stream: Stream, source: Source) -> None:
        stream.head(ResponseHead(200, (("content-type", STREAMING),)))
        at, seen, sent = int(stream.cursor or b"0"), source.seen, 0
        had = len(seen.body)
        while at < source.lines:
            upto = min(at + source.unit, source.lines)
            data = self._unit(source, at, upto)
            step = -(-len(data) // source.pieces) or 1  # nothing, where all is lost
            for start in range(0, len(data), step):
                piece = data[start : start + step]
                await stream.send(piece)
                sent += len(piece)
                unsent = stream._connection.unsent(stream.id)
                ahead = sent - unsent - (len(seen.body) - had)
                self._evidence.ahead = max(self._evidence.ahead, ahead)
            at = upto
            stream.mark(b"%d" % at)
            await trio.sleep(source.pace_s)
        await stream.send(message(b"{}", 2))
        stream.end()

    def _unit(self, source: Source, first: int, upto: int) -> bytes:
        """Return lines as messages; what the source lost is a gap marker that names the next."""
        ident, mark = source.seen.ident, self._evidence.marks[self.tenant]
        holes, data, lost = self._evidence.holes.get(ident, set()), b"", False
        for number in range(first, upto):
            if number in holes:
                lost = True
                continue
            if lost or number - 1 in holes:
                data += message(b"%s|%d|gap %d|\n" % (mark, ident, number))
                lost = False
            line = b"%s|%d|%d|" % (mark, ident, number)
            data += message(line.ljust(source.width, b".") + b"\n")
        if upto == source.lines and upto - 1 in holes:
            data += message(b"%s|%d|gap %d|\n" % (mark, ident, upto))
        return data


async def _request(stream: Stream) -> bytes:
    body = b""
    while True:
        await stream.ready()
        for event in stream.take():
            if isinstance(event, End):
                return body
            if isinstance(event, Data):
                body += bytes(event.view)
                stream.release(len(event.view))
