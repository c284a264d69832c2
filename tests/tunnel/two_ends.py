"""A small world: two connected cores, a wire each way, a model of what was said, and invariants.

The world is driven by anybody (a random walk, Hypothesis) through its verbs; each verb does nothing
when it does not apply. What it checks is written against the protocol, never against a defect.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field, replace

from cast import REQUEST, acceptor, data, dialer

from tunnel.connection import Connection, Events, Phase
from tunnel.errors import Code
from tunnel.events import Closed, Data, End, Going, Head, Mark, Opened, Reset, TokenReceived
from tunnel.exchange import ResponseHead
from tunnel.frames import HEADER, HEADER_BYTES, MAX_DATA_BYTES, U32, FrameType
from tunnel.scheduler import joined
from tunnel.settings import TunnelSettings
from tunnel.stream_state import Half
from tunnel.streams import StreamRecord

SETTINGS = replace(
    TunnelSettings(), max_streams=3, growth_bytes=400_000, window_max_bytes=300_000, stall_s=1.0
)
ANSWER = ResponseHead(200)
PERIOD = 1 << 18
TEXT = random.Random(7).randbytes(PERIOD) * 2


def text(stream_id: int, start: int, count: int) -> memoryview:
    """What a stream carries at a position: any loss, doubling or mixing up shows."""
    begin = (start + stream_id * 7919) % PERIOD
    return memoryview(TEXT)[begin : begin + count]


@dataclass
class Said:
    """One direction of one stream, as the model has it."""

    cursor: bytes = b""
    bytes: int = 0
    marks: list[tuple[int, bytes]] = field(default_factory=list)
    over: bool = False
    reset: bool = False


class Side:
    """One end: its core, the wire that leaves it, and the model of what it said and heard."""

    def __init__(self, core: Connection) -> None:
        self.core = core
        self.wire: deque[bytes] = deque()
        self.said: dict[int, Said] = {}
        self.heard: dict[int, Said] = {}
        self.held: Counter[int] = Counter()
        self.silent: set[int] = set()  # streams that this end has reset or seen reset
        self.data_in_flight: Counter[int] = Counter()
        self.credit_in_flight: Counter[int] = Counter()

    def records(self, *states: Half) -> list[StreamRecord]:
        """Open streams whose own half is in one of the states."""
        return [r for r in self.core._streams if r.sending in states]

    def send(self, budget_bytes: int) -> int:
        """Put frames on the wire; return how many."""
        frames = [bytes(joined(f)) for f in self.core.frames_to_send(budget_bytes)]
        for frame in frames:
            self.wire.append(frame)
            self._book(frame, 1)
            kind, _, _, stream_id = HEADER.unpack_from(frame)
            assert stream_id not in self.silent, "spoke on a stream that was reset"
            if kind == FrameType.RESET:
                self.silent.add(stream_id)
        return len(frames)

    def pop(self) -> bytes:
        """Take the next frame off the wire."""
        frame = self.wire.popleft()
        self._book(frame, -1)
        return frame

    def _book(self, frame: bytes, sign: int) -> None:
        kind, _, _, stream_id = HEADER.unpack_from(frame)
        if kind == FrameType.DATA:
            self.data_in_flight[stream_id] += sign * (len(frame) - HEADER_BYTES)
        elif kind == FrameType.CREDIT:
            self.credit_in_flight[stream_id] += sign * U32.unpack_from(frame, HEADER_BYTES)[0]


class World:
    """Two sides and the verbs that move them. `which` is 0 or 1, `pick` chooses a stream."""

    def __init__(self, settings: TunnelSettings = SETTINGS) -> None:
        self.settings = settings
        self.now = 0.0
        self._connect()

    # Verbs.

    def open(self, which: int) -> None:
        """Open a stream if the limits allow it."""
        side = self.sides[which]
        core = side.core
        if core.going or core.peer_going or core._streams.own >= self.settings.max_streams:
            return
        cursor = b"from %d" % len(side.said)
        stream_id = core.open(REQUEST, self.now, cursor)
        side.said[stream_id] = Said(cursor)
        side.heard[stream_id] = Said()

    def answer(self, which: int, pick: int) -> None:
        """Answer a stream of the peer's with its head."""
        if record := self._pick(which, pick, Half.HEAD):
            if record.id in self.sides[which].said:
                return
            self.sides[which].core.head(record.id, ANSWER)
            self.sides[which].said[record.id] = Said()

    def write(self, which: int, pick: int, count: int) -> None:
        """Send `count` bytes."""
        if record := self._pick(which, pick, Half.BODY):
            said = self.sides[which].said[record.id]
            self.sides[which].core.data(record.id, text(record.id, said.bytes, count))
            said.bytes += count

    def mark(self, which: int, pick: int) -> None:
        """End a unit."""
        if record := self._pick(which, pick, Half.BODY):
            said = self.sides[which].said[record.id]
            cursor = b"mark %d" % len(said.marks)
            self.sides[which].core.mark(record.id, cursor)
            said.marks.append((said.bytes, cursor))

    def end(self, which: int, pick: int) -> None:
        """End our half of a stream."""
        if record := self._pick(which, pick, Half.BODY):
            self.sides[which].core.end(record.id)
            self.sides[which].said[record.id].over = True

    def reset(self, which: int, pick: int) -> None:
        """Abort a stream."""
        if record := self._pick(which, pick, *Half):
            self.sides[which].core.reset(record.id, Code.CANCELLED)
            self._over(which, record.id)

    def drain(self, which: int) -> None:
        """Take no new streams."""
        self.sides[which].core.goaway(Code.DRAINING)

    def send(self, which: int, budget_bytes: int) -> None:
        """Let an end send."""
        self.sides[which].send(budget_bytes)

    def deliver(self, which: int, count: int) -> None:
        """Let up to `count` frames of an end arrive at the other one, in one read."""
        side = self.sides[which]
        frames = [side.pop() for _ in range(min(count, len(side.wire)))]
        views = [memoryview(frame) for frame in frames]
        self._hear(1 - which, self.sides[1 - which].core.receive(views, self.now))

    def consume(self, which: int, pick: int, count: int) -> None:
        """Let a consumer take up to `count` of the bytes that it holds."""
        side = self.sides[which]
        holding = sorted(i for i, held in side.held.items() if held)
        if holding:
            stream_id = holding[pick % len(holding)]
            count = min(count, side.held[stream_id])
            side.held[stream_id] -= count
            side.core.consumed(stream_id, count, self.now)

    def tick(self, seconds: float) -> None:
        """Let time pass; pings are answered, so nobody dies."""
        self.now += seconds
        for which, side in enumerate(self.sides):
            side.core.receive([], self.now)
            self._hear(which, side.core.tick(self.now))

    def cut(self) -> None:
        """Lose the connection with all in flight, check what is left, and connect anew."""
        for which, side in enumerate(self.sides):
            self._tunnel_over(which, side.core.lost(), Code.TUNNEL_LOST)
        self._connect()

    def overrun(self, which: int, pick: int) -> None:
        """Forge one byte more than was granted: that stream is reset, nothing else happens."""
        record = self._pick_receiving(which, pick, Half.BODY)
        if record is None or record.receive.outstanding >= MAX_DATA_BYTES:
            return
        forged = data(record.id, bytes(record.receive.outstanding + 1))
        events = self.sides[which].core.receive([memoryview(forged)], self.now)
        assert events == [(record.id, Reset(Code.FLOW_CONTROL))]
        self._over(which, record.id)

    def speak_late(self, which: int, pick: int) -> None:
        """Forge DATA after END: the tunnel ends."""
        record = self._pick_receiving(which, pick, Half.ENDED)
        if record is not None:
            events = self.sides[which].core.receive([memoryview(data(record.id, b"x"))], self.now)
            self._tunnel_over(which, events, Code.PROTOCOL)
            self.cut()

    # Checks.

    def check(self) -> None:
        """Everything that holds at any time."""
        for which, side in enumerate(self.sides):
            self._check_bounds(side)
            self._check_credit(side, self.sides[1 - which])

    def settle(self) -> None:
        """Everything is delivered, taken and ended in order; then both ends have forgotten it."""
        for _ in range(60):
            for which, side in enumerate(self.sides):
                while side.send(1 << 20) or side.wire:
                    self.deliver(which, 1 << 20)
                for _ in range(len(side.held)):
                    self.consume(which, 0, 1 << 30)
                for record in side.records(Half.HEAD, Half.BODY):
                    self._finish(which, record)
            self.check()
        for which, side in enumerate(self.sides):
            assert len(side.core._streams) == 0, "a stream never ended"
            self._check_forgotten(side)
            for stream_id, heard in side.heard.items():
                assert heard.over, f"end {which} still waits on stream {stream_id}"

    def _check_bounds(self, side: Side) -> None:
        table, settings = side.core._streams, self.settings
        assert side.core.granted_bytes <= settings.granted_cap_bytes
        assert 0 <= table._pool.free <= table._pool.size
        windows = {**{r.id: r.receive for r in table}, **table._lingering}
        for stream_id, window in windows.items():
            assert min(window.outstanding, window.queued, window.grown) >= 0
            promised = window.outstanding + window.queued
            assert promised <= settings.window_bytes + window.grown
            assert window.grown <= max(window.window, promised) - settings.window_bytes
            assert window.queued == side.held[stream_id] <= settings.window_max_bytes
        grown = sum(w.grown for w in windows.values())
        assert grown == table._pool.size - table._pool.free, "growth is not booked right"
        parities = Counter(stream_id % 2 for stream_id in windows)
        assert max(parities.values(), default=0) <= settings.max_streams
        assert sum(side.held.values()) == sum(w.queued for w in windows.values())

    def _check_credit(self, sender: Side, receiver: Side) -> None:
        """No credit appears or vanishes: it is with the sender, under way, or used."""
        for record in sender.core._streams:
            assert record.credit.credit >= 0
            far = receiver.core._streams.get(record.id)
            if far is not None:
                under_way = receiver.core._scheduler._credit.get(record.id, 0)
                under_way += receiver.credit_in_flight[record.id]
                under_way += sender.data_in_flight[record.id]
                assert record.credit.credit + under_way == far.receive.outstanding

    def _check_forgotten(self, side: Side) -> None:
        table = side.core._streams
        assert side.core.granted_bytes == 0
        assert (table.own, table.peers, table._lingering, table._grown) == (0, 0, {}, set())
        assert table._pool.free == table._pool.size
        assert not side.core.wants_write

    # Private.

    def _connect(self) -> None:
        ends = dialer(self.settings, now=self.now), acceptor(self.settings, now=self.now)
        self.sides = (Side(ends[0]), Side(ends[1]))
        self.reset_ids: set[int] = set()
        one, two = self.sides
        one.send(1 << 20)
        frames = [one.pop() for _ in range(len(one.wire))]
        (event,) = two.core.receive([memoryview(f) for f in frames], self.now)
        assert isinstance(event[1], TokenReceived)
        two.core.accept(1e9, self.now)
        two.send(1 << 20)
        frames = [two.pop() for _ in range(len(two.wire))]
        one.core.receive([memoryview(f) for f in frames], self.now)
        assert one.core.phase is two.core.phase is Phase.OPEN

    def _pick(self, which: int, pick: int, *states: Half) -> StreamRecord | None:
        records = self.sides[which].records(*states)
        return records[pick % len(records)] if records else None

    def _pick_receiving(self, which: int, pick: int, state: Half) -> StreamRecord | None:
        records = [r for r in self.sides[which].core._streams if r.receiving is state]
        return records[pick % len(records)] if records else None

    def _finish(self, which: int, record: StreamRecord) -> None:
        side = self.sides[which]
        if record.sending is Half.HEAD:
            side.core.head(record.id, ANSWER)
            side.said[record.id] = Said()
        side.core.end(record.id)
        side.said[record.id].over = True

    def _over(self, which: int, stream_id: int) -> None:
        """A stream was reset: what is heard of it no longer matters at this end."""
        heard = self.sides[which].heard[stream_id]
        heard.over = heard.reset = True
        self.reset_ids.add(stream_id)

    def _tunnel_over(self, which: int, events: Events, code: Code) -> None:
        side = self.sides[which]
        if not events:
            return  # it was over before
        assert events[-1] == (0, Closed(code, by_peer=code is Code.TUNNEL_LOST))
        told = {i for i, event in events[:-1] if event == Reset(Code.TUNNEL_LOST)}
        waiting = {i for i, heard in side.heard.items() if not heard.over}
        assert waiting <= told, "a stream was not told that the tunnel is gone"
        for stream_id, held in side.held.items():
            side.core.consumed(stream_id, held, self.now) if held else None
        side.held.clear()
        side.core.frames_to_send(1 << 30)
        self._check_forgotten(side)

    def _hear(self, which: int, events: Events) -> None:
        for stream_id, event in events:
            if stream_id == 0:
                assert isinstance(event, Going), f"end {which} had no reason for {event}"
                assert self.sides[1 - which].core.going
            else:
                self._hear_stream(which, stream_id, event)

    def _hear_stream(self, which: int, stream_id: int, event: object) -> None:
        side, far = self.sides[which], self.sides[1 - which]
        if isinstance(event, Opened):
            assert not side.core.going
            assert stream_id not in side.heard
            assert (event.head, event.cursor) == (REQUEST, far.said[stream_id].cursor)
            side.heard[stream_id] = Said()
            return
        heard = side.heard[stream_id]
        assert not heard.reset, f"{event} after a reset"
        assert not heard.over or isinstance(event, Reset), f"{event} after the end"
        said = far.said.get(stream_id, Said())
        match event:
            case Head():
                assert event.head == ANSWER
            case Data(view):
                assert bytes(view) == text(stream_id, heard.bytes, len(view))
                heard.bytes += len(view)
                side.held[stream_id] += len(view)
            case Mark(cursor):
                assert said.marks[len(heard.marks)] == (heard.bytes, cursor)
                heard.marks.append((heard.bytes, cursor))
            case End():
                assert said.over
                assert (said.bytes, said.marks) == (heard.bytes, heard.marks)
                heard.over = True
            case Reset(code):
                side.silent.add(stream_id)
                refused = code in (Code.DRAINING, Code.REFUSED) and stream_id not in far.heard
                assert refused or stream_id in self.reset_ids, f"stream reset with {code}"
                self._over(which, stream_id)
