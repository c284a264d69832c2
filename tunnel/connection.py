"""The tunnel's protocol core: frames in, events and frames out. No I/O, no clock, no task.

The driver's contract is four verbs: `receive` frames, `tick` when `deadline` passes, act (open,
data, end ...), and send what `frames_to_send` returns. Borrowed views in events stay valid until
the driver reuses its buffers.
"""

from __future__ import annotations

import enum
from dataclasses import replace

from tunnel.errors import (
    Code,
    CreditOverrun,
    LocalError,
    RemoteError,
    UnknownStream,
)
from tunnel.events import (
    Closed,
    End,
    Established,
    Event,
    Events,
    Going,
    Head,
    Opened,
    Reset,
    TokenReceived,
)
from tunnel.exchange import RequestHead, ResponseHead
from tunnel.frames import (
    FLAG_AUTH_OK,
    FLAG_AUTH_REFUSED,
    GOAWAY_BODY,
    HEADER_BYTES,
    MAX_CURSOR_BYTES,
    MAX_FRAME_BYTES,
    U16,
    U32,
    FrameType,
    frame,
    parse,
)
from tunnel.hello import Hello
from tunnel.liveness import Liveness
from tunnel.payload import Buffer, Payload
from tunnel.payload_frames import payload_events
from tunnel.scheduler import Scheduler
from tunnel.settings import TunnelSettings
from tunnel.stream_state import Half
from tunnel.stream_table import StreamTable
from tunnel.streams import Frame, StreamRecord

MAX_VALID_S = 2**32 - 1
BATCH_BYTES = 524_288  # two turns: 64 -> 256 KiB a system call halve its share (measured)


class Role(enum.Enum):
    """Which end this is: the dialer opens odd streams, the acceptor even ones."""

    DIALER = 1
    ACCEPTOR = 2


class Phase(enum.Enum):
    """Where a connection is in its life."""

    HELLO = "hello"
    AUTH = "auth"
    OPEN = "open"
    CLOSED = "closed"


class Connection:
    """One end of one tunnel.

    Args:
        role: dialer (presents a token) or acceptor (judges it).
        hello: what this end says of itself; its limits are taken from `settings`.
        settings: this end's limits.
        now: current time in seconds; any monotonic origin, the same in every call.
        token: the dialer's token.
    """

    def __init__(
        self,
        role: Role,
        hello: Hello,
        settings: TunnelSettings,
        *,
        now: float,
        token: Payload | None = None,
    ) -> None:
        if (role is Role.DIALER) != (token is not None):
            raise LocalError("the dialer presents a token, the acceptor does not")
        self.role, self.settings = role, settings
        self.hello = replace(
            hello, window_bytes=settings.window_bytes, max_streams=settings.max_streams
        )
        self.phase = Phase.HELLO
        self.peer: Hello | None = None
        self.version = 0
        self.going = False
        self.peer_going = False
        self._scheduler = Scheduler()
        self._liveness = Liveness(settings, now)
        self._streams = StreamTable(1 if role is Role.DIALER else 2, settings)
        self._frame_limit = MAX_FRAME_BYTES
        self._handshake_until = now + settings.handshake_s
        self._auth_until: float | None = None
        self._events: Events = []
        self.touched: list[int] = []
        self._scheduler.control(frame(FrameType.HELLO, payload=self.hello.encode()))
        if token is not None:
            self._scheduler.control(frame(FrameType.AUTH, payload=token.view))

    # What the driver reads.

    @property
    def rtt_s(self) -> float | None:
        """Latest round-trip time, seconds."""
        return self._liveness.rtt_s

    @property
    def wants_write(self) -> bool:
        """Whether frames_to_send would return anything."""
        return self._scheduler.pending

    @property
    def streams_open(self) -> int:
        """Streams that have not ended."""
        return len(self._streams)

    @property
    def idle(self) -> bool:
        """Whether a GOAWAY was exchanged and every stream has ended: nothing is left to do."""
        return (self.going or self.peer_going) and not self._streams

    @property
    def over(self) -> bool:
        """Whether the tunnel is closed, or has to be because nothing is left to do."""
        return self.phase is Phase.CLOSED or self.idle

    @property
    def granted_bytes(self) -> int:
        """Credit outstanding plus bytes queued, of all streams: never above the documented cap."""
        return self._streams.granted_bytes

    def deadline(self) -> float:
        """When `tick` must be called at the latest."""
        times = [self._liveness.deadline()]
        if self.phase in (Phase.HELLO, Phase.AUTH):
            times.append(self._handshake_until)
        if self._auth_until is not None:
            times.append(self._auth_until)
        return min(times)

    def only(self, stream_id: int = 0) -> bool:
        """Whether there are frames to send, and besides control frames of this stream alone."""
        return self._scheduler.only(stream_id)

    def unsent(self, stream_id: int) -> int:
        """Bytes of DATA that wait on a stream; 0 when it has ended."""
        record = self._streams.get(stream_id)
        return record.unsent if record else 0

    # Input: frames and time.

    def receive(self, frames: list[memoryview], now: float) -> Events:
        """Take complete frames and return what they mean, in order, as (stream id, event).

        Never raises for what a peer sends: a violation ends the tunnel with GOAWAY and Closed.
        """
        self._liveness.heard(now)
        at, count, limit = 0, len(frames), self.hello.max_frame_bytes
        try:
            while at < count and self.phase is not Phase.CLOSED:
                if self.phase is Phase.OPEN:
                    at = payload_events(frames, at, self._streams, limit, self._events)
                if at < count:
                    self._frame(frames[at], now)
                    at += 1
        except RemoteError as error:
            self._fail(error.code)
        return self._flush_events()

    def tick(self, now: float) -> Events:
        """Let time pass: pings, dead peers, expired handshakes and tokens, stalled streams."""
        if self.phase is not Phase.CLOSED:
            self._liveness.tick(now)
            code = self._overdue(now)
            if code is not None:
                self._fail(code)
            else:
                self._ping(now)
                self._streams.take_back(now)
        return self._flush_events()

    def frames_to_send(self, budget_bytes: int = BATCH_BYTES) -> list[Frame]:
        """Return the next frames, each a list of buffers; about `budget_bytes` of data at most.

        `touched` then names the streams that they came from.
        """
        limit = self._frame_limit - HEADER_BYTES
        frames, touched = self._scheduler.take(budget_bytes, limit)
        self.touched = [record.id for record in touched]
        for record in touched:
            if record.done and self._streams.get(record.id) is record:
                self._forget(record)
        return frames

    # Authentication.

    def authenticate(self, token: Payload) -> None:
        """Dialer: present a fresh token in-band."""
        self._control(frame(FrameType.AUTH, payload=token.view))

    def accept(self, valid_s: float, now: float) -> Events:
        """Acceptor: the token is good for `valid_s` seconds. Too late when the tunnel is over."""
        if self.phase is not Phase.CLOSED:
            self._auth_until = now + valid_s
            seconds = U32.pack(int(min(max(valid_s, 0), MAX_VALID_S)))
            self._control(frame(FrameType.AUTH, payload=seconds, flags=FLAG_AUTH_OK))
            self._establish(valid_s, now)
        return self._flush_events()

    def refuse(self, code: Code) -> Events:
        """Acceptor: the token is no good; the tunnel ends."""
        if self.phase is not Phase.CLOSED:
            self._control(frame(FrameType.AUTH, payload=U16.pack(code), flags=FLAG_AUTH_REFUSED))
            self._close(code, by_peer=False)
        return self._flush_events()

    # Streams.

    def open(self, head: RequestHead, now: float, cursor: bytes = b"") -> int:
        """Open a stream and return its id.

        Raises:
            LocalError: the tunnel is not open, is draining, does not get rid of its control
                frames, or has as many streams as either end allows.
        """
        if self.phase is not Phase.OPEN or self.peer is None:
            raise LocalError("the tunnel is not open", code=Code.TUNNEL_LOST)
        if self.going or self.peer_going:
            raise LocalError("the tunnel takes no new streams", code=Code.DRAINING)
        limit = min(self.peer.max_streams, self.settings.max_streams)
        if self._streams.own >= limit or self._scheduler.full:
            raise LocalError(f"{self._streams.own} streams of {limit}", code=Code.REFUSED)
        _check_cursor(cursor)
        record = self._streams.open_own(self.peer.window_bytes, now)
        record.step(FrameType.OPEN)
        encoded = head.encode(self.version)
        self._control(frame(FrameType.OPEN, record.id, U16.pack(len(encoded)) + encoded + cursor))
        self._grant(record)
        return record.id

    def head(self, stream_id: int, head: ResponseHead) -> None:
        """Answer a stream that the peer opened."""
        self._put(stream_id, FrameType.HEAD, head.encode())

    def data(self, stream_id: int, data: Buffer) -> None:
        """Queue payload; the buffer is borrowed until it has been sent."""
        if len(data):
            self._put(stream_id, FrameType.DATA, data)

    def mark(self, stream_id: int, cursor: bytes) -> None:
        """End a unit; a resume may continue from `cursor` (at most 1 KiB)."""
        _check_cursor(cursor)
        self._put(stream_id, FrameType.MARK, cursor)

    def end(self, stream_id: int) -> None:
        """End our half in order."""
        self._put(stream_id, FrameType.END, b"")

    def reset(self, stream_id: int, code: Code) -> None:
        """Abort a stream at once; harmless when it has ended."""
        record = self._streams.get(stream_id)
        if record is not None:
            self._drop(record)
            self._control(frame(FrameType.RESET, stream_id, U16.pack(code)))

    def consumed(self, stream_id: int, count: int, now: float) -> None:
        """The consumer has disposed of `count` bytes; grants credit when it is due.

        Raises:
            LocalError: the stream holds less.
        """
        record = self._streams.consumed(stream_id, count, now)
        if record is not None:
            self._grant(record)

    # Ends.

    def goaway(self, code: Code) -> None:
        """Take no new streams from the peer; open ones finish."""
        if not self.going and self.phase is not Phase.CLOSED:
            self.going = True
            self._control(self._goaway(code))

    def close(self, code: Code) -> Events:
        """End the tunnel now, telling the peer why."""
        if self.phase is not Phase.CLOSED:
            self._fail(code)
        return self._flush_events()

    def lost(self) -> Events:
        """The transport is gone."""
        if self.phase is not Phase.CLOSED:
            self._close(Code.TUNNEL_LOST, by_peer=True)
        return self._flush_events()

    # Private: frames of the tunnel.

    def _frame(self, data: memoryview, now: float) -> None:
        kind, flags, stream_id, body = parse(data, self.hello.max_frame_bytes)
        if self.phase is Phase.HELLO and kind != FrameType.HELLO:
            raise RemoteError(f"frame type {kind} before HELLO")
        if stream_id:
            self._stream_frame(kind, stream_id, body, now)
        elif kind == FrameType.HELLO:
            self._on_hello(body)
        elif kind == FrameType.AUTH:
            self._on_auth(flags, body, now)
        elif kind == FrameType.PING:
            self._scheduler.control(frame(FrameType.PONG, payload=bytes(body)))
        elif kind == FrameType.PONG:
            self._liveness.pong(bytes(body), now)
            self._streams.round_trip(self._liveness.floor_s())
        else:
            self._on_goaway(body)

    def _on_hello(self, body: memoryview) -> None:
        if self.phase is not Phase.HELLO:
            raise RemoteError("a second HELLO")
        peer = Hello.decode(body)
        self.version = self.hello.common_version(peer)
        self._frame_limit = min(MAX_FRAME_BYTES, peer.max_frame_bytes)
        self.peer, self.phase = peer, Phase.AUTH

    def _on_auth(self, flags: int, body: memoryview, now: float) -> None:
        assert self.peer is not None
        if (flags == 0) != (self.role is Role.ACCEPTOR):
            raise RemoteError("AUTH in the wrong direction")
        if flags == 0:
            self._emit(0, TokenReceived(self.peer, Payload(bytes(body))))
        elif flags == FLAG_AUTH_OK:
            if len(body) != U32.size:
                raise RemoteError("AUTH ok without a validity")
            self._establish(float(U32.unpack(body)[0]), now)
        else:
            if len(body) != U16.size:
                raise RemoteError("AUTH refused without a code")
            self._close(Code.from_wire(U16.unpack(body)[0]), by_peer=True)

    def _establish(self, valid_s: float, now: float) -> None:
        assert self.peer is not None
        if self.phase is not Phase.CLOSED:
            self._ping(now, at_once=self.phase is Phase.AUTH)  # windows grow by the RTT
            self.phase = Phase.OPEN
            self._emit(0, Established(self.peer, valid_s))

    def _on_goaway(self, body: memoryview) -> None:
        last_stream, number = GOAWAY_BODY.unpack(body)
        code = Code.from_wire(number)
        self.peer_going = True
        self._emit(0, Going(last_stream, code))
        if code is not Code.DRAINING:
            self._close(code, by_peer=True)

    # Private: frames of streams.

    def _stream_frame(self, kind: int, stream_id: int, body: memoryview, now: float) -> None:
        if self.phase is not Phase.OPEN:
            raise RemoteError(f"frame type {kind} before authentication")
        if kind == FrameType.OPEN:
            self._on_open(stream_id, body, now)
            return
        record = self._streams.get(stream_id)
        if record is None:
            if not self._streams.was_open(stream_id):
                raise UnknownStream(stream_id)
        elif kind == FrameType.DATA:
            self._on_wrong_data(record, body)
        elif kind == FrameType.CREDIT:
            record.credit.grant(U32.unpack(body)[0])
            self._scheduler.ready(record)
        elif kind == FrameType.RESET:
            self._on_reset(record, Code.from_wire(U16.unpack(body)[0]))
        else:
            self._on_rest(kind, record, body)

    def _on_open(self, stream_id: int, body: memoryview, now: float) -> None:
        self._streams.book_peer_id(stream_id)
        size = U16.unpack_from(body)[0]
        if U16.size + size > len(body) or len(body) - U16.size - size > MAX_CURSOR_BYTES:
            raise RemoteError("OPEN: lengths do not add up")
        if self.going or self._streams.peers >= self.settings.max_streams:
            code = Code.DRAINING if self.going else Code.REFUSED
            self._scheduler.control(frame(FrameType.RESET, stream_id, U16.pack(code)))
            return
        head = RequestHead.decode(body[U16.size : U16.size + size])
        self._streams.open_peers(stream_id, now).got(FrameType.OPEN)
        self._emit(stream_id, Opened(head, bytes(body[U16.size + size :])))

    def _on_wrong_data(self, record: StreamRecord, body: memoryview) -> None:
        """DATA that came the long way: in the wrong state, or without credit."""
        record.got(FrameType.DATA)
        error = CreditOverrun(record.id, record.receive.received(len(body)))
        self._scheduler.control(frame(FrameType.RESET, record.id, U16.pack(error.code)))
        self._on_reset(record, error.code)

    def _on_reset(self, record: StreamRecord, code: Code) -> None:
        self._drop(record)
        self._emit(record.id, Reset(code))

    def _on_rest(self, kind: int, record: StreamRecord, body: memoryview) -> None:
        record.got(kind)
        if kind == FrameType.HEAD:
            self._emit(record.id, Head(ResponseHead.decode(body)))
        else:
            self._emit(record.id, End())
            if record.done:
                self._forget(record)

    # Private: helpers.

    def _put(self, stream_id: int, kind: FrameType, body: Buffer) -> None:
        record = self._streams.get(stream_id)
        if record is None:
            raise LocalError(f"stream {stream_id} has ended", code=Code.CANCELLED)
        record.put(kind, body)
        self._scheduler.ready(record)

    def _control(self, data: bytes) -> None:
        try:
            self._scheduler.control(data)
        except RemoteError as error:
            self._close(error.code, by_peer=False)

    def _grant(self, record: StreamRecord) -> None:
        if record.receiving is not Half.ENDED:
            credit = record.receive.due()
            if credit:
                self._scheduler.grant(record.id, credit)

    def _drop(self, record: StreamRecord) -> None:
        record.drop()
        self._forget(record)

    def _forget(self, record: StreamRecord) -> None:
        self._streams.forget(record)
        self._scheduler.forget(record.id)

    def _overdue(self, now: float) -> Code | None:
        if self.phase is not Phase.OPEN and now >= self._handshake_until:
            return Code.TIMEOUT
        if self._auth_until is not None and now >= self._auth_until:
            return Code.AUTH_EXPIRED
        return Code.TIMEOUT if self._liveness.dead(now) else None

    def _ping(self, now: float, *, at_once: bool = False) -> None:
        body = self._liveness.ping(now, at_once=at_once)
        if body is not None:
            self._control(frame(FrameType.PING, payload=body))

    def _goaway(self, code: Code) -> bytes:
        body = GOAWAY_BODY.pack(self._streams.last_peer_id, code)
        return frame(FrameType.GOAWAY, payload=body)

    def _fail(self, code: Code) -> None:
        self._control(self._goaway(code))
        self._close(code, by_peer=False)

    def _close(self, code: Code, *, by_peer: bool) -> None:
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        self._auth_until = None
        for record in self._streams:
            self._drop(record)
            self._emit(record.id, Reset(Code.TUNNEL_LOST))
        self._emit(0, Closed(code, by_peer))

    def _emit(self, stream_id: int, event: Event) -> None:
        self._events.append((stream_id, event))

    def _flush_events(self) -> Events:
        events, self._events = self._events, []
        return events


def _check_cursor(cursor: bytes) -> None:
    if len(cursor) > MAX_CURSOR_BYTES:
        raise LocalError(f"cursor of {len(cursor)} bytes, limit {MAX_CURSOR_BYTES}")


__all__ = ["Connection", "Events", "Phase", "Role"]
