"""The driver: runs one Connection over one Transport with trio.

One task reads, one writes, one watches the clock; each stream of the peer's runs a handler task.
The read loop never waits for a consumer: credit bounds what can be queued. The nursery is hidden,
so a caller gets one `Closed`, never an exception group, for whatever the peer or the network did.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

import trio

from tunnel.connection import Connection, Phase, Role
from tunnel.errors import AuthRefused, Code, StreamReset, TransportClosed, TunnelError
from tunnel.events import Closed, Data, Established, Events, Going, Opened, TokenReceived
from tunnel.exchange import RequestHead
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.streams import Frame
from tunnel.transport import Transport
from tunnel.wipe import wipe, wipe_owned

Handler = Callable[[Stream], Awaitable[None]]
Authenticate = Callable[[Hello, Payload], float]


@dataclass(slots=True)
class SessionStats:
    """Counters of one tunnel."""

    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Session:
    """One end of a live tunnel.

    Args:
        transport: a connected transport; the session closes it.
        hello: what this end says of itself.
        settings: this end's limits.
        token: the dialer's token.
        authenticate: the acceptor's judge: returns for how many seconds a token is good, or raises
            AuthRefused.
        wipes: whether payload is zeroed when it has been consumed or sent; for an end that must not
            keep any. What is sent has to be Owned, then.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        hello: Hello,
        settings: TunnelSettings,
        token: Payload | None = None,
        authenticate: Authenticate | None = None,
        wipes: bool = False,
    ) -> None:
        role = Role.DIALER if authenticate is None else Role.ACCEPTOR
        self._transport = transport
        self.settings, self.wipes = settings, wipes
        self._connection = Connection(role, hello, settings, now=trio.current_time(), token=token)
        self._authenticate = authenticate
        self._streams: dict[int, Stream] = {}
        self._wake = trio.Event()
        self._write_scope = trio.CancelScope()
        self._close_until = math.inf
        self._closed: Closed | None = None
        self._started: trio.TaskStatus[Session] | None = None
        self._nursery: trio.Nursery | None = None
        self._handler: Handler | None = None
        self._dispatching = False  # whether what a read brought is being delivered
        self._sending = False  # whether the writer waits for the transport
        self._unwiped: list[Frame] = []  # frames that the transport may still hold
        self.stats = SessionStats()
        self.valid_s = 0.0
        self.goaway_received = trio.Event()
        self.goaway_code = Code.NO_ERROR

    @property
    def peer(self) -> Hello:
        """What the other end said of itself; known once the session has started."""
        assert self._connection.peer is not None
        return self._connection.peer

    @property
    def rtt_s(self) -> float | None:
        """Latest round-trip time in seconds, None before the first PONG."""
        return self._connection.rtt_s

    @property
    def carried_bytes(self) -> int:
        """Bytes of frames so far, both ways."""
        return self.stats.bytes_in + self.stats.bytes_out

    @property
    def streams_open(self) -> int:
        """Streams that have not ended."""
        return self._connection.streams_open

    @property
    def granted_bytes(self) -> int:
        """Credit outstanding plus bytes queued; at most `settings.granted_cap_bytes`."""
        return self._connection.granted_bytes

    @property
    def is_open(self) -> bool:
        """Whether streams can be opened now."""
        connection = self._connection
        return connection.phase is Phase.OPEN and not (connection.going or connection.peer_going)

    async def serve(
        self,
        handler: Handler,
        *,
        task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
    ) -> Closed:
        """Run the tunnel until it ends, whatever ends it.

        Args:
            handler: runs in a task of its own for each stream that the peer opens; it is cancelled
                when that stream is reset or the tunnel ends.
            task_status: `started(session)` is called once the peer is authenticated.

        Returns:
            Why the tunnel ended. Faults of the peer or the network are never raised.

        Raises:
            ExceptionGroup: what a handler or `authenticate` let escape: a bug on this side.
        """
        self._started, self._handler = task_status, handler
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._read)
                nursery.start_soon(self._watch_clock)
                with self._write_scope:
                    await self._write()
                nursery.cancel_scope.cancel()
        finally:
            self._dispatch(self._connection.lost())
            with trio.CancelScope(shield=True, deadline=self._close_until):
                await self._transport.aclose()
            wipe_owned(frame[-1] for frame in self._unwiped)
        assert self._closed is not None
        return self._closed

    def open(self, head: RequestHead, cursor: bytes = b"") -> Stream:
        """Open a stream.

        Raises:
            LocalError: the tunnel is closed or draining, or the peer's stream limit is reached.
        """
        stream_id = self._connection.open(head, trio.current_time(), cursor)
        stream = Stream(self, self._connection, stream_id, head, cursor)
        self._streams[stream_id] = stream
        self.flush()
        return stream

    def reauthenticate(self, token: Payload) -> None:
        """Dialer: present a fresh token in-band, before the old one expires."""
        self._connection.authenticate(token)
        self.flush()

    def goaway(self, code: Code = Code.DRAINING) -> None:
        """Take no new streams; open ones finish, then the tunnel ends."""
        self._connection.goaway(code)
        self.flush()

    def close(self, code: Code = Code.NO_ERROR) -> None:
        """End the tunnel now, telling the peer why."""
        self._dispatch(self._connection.close(code))
        self.flush()

    # For Stream and the tasks below.

    def flush(self) -> None:
        """Wake the writer if there is something to send, or what we did has ended the tunnel."""
        if self._dispatching:
            return  # what a read brings about is flushed once, after it
        connection = self._connection
        if connection.phase is Phase.CLOSED and self._closed is None:
            self._dispatch(connection.lost())
        if self._wake.is_set():
            return
        if connection.wants_write or connection.over or self._transport.pending:
            self._wake.set()

    def flush_now(self, stream_id: int = 0) -> None:
        """Send from the calling task, if nothing waits but control frames and this stream's.

        Waking the writer costs as much as forwarding 64 KiB (measured): too much for a CREDIT.
        """
        if self._connection.only(stream_id):
            self.send_now()
        self.flush()

    def send_now(self) -> None:
        """Send what waits, of all streams, from the calling task, unless that has to wait."""
        if self._connection.wants_write and not (self._sending or self._transport.pending):
            frames = self._frames_to_send()
            with suppress(TransportClosed):  # the reading task gets to know it too
                self._transport.send_now(frames)
            self._sent(frames)

    def forget(self, stream: Stream) -> None:
        """The stream delivers nothing more."""
        self._streams.pop(stream.id, None)

    # Private.

    async def _read(self) -> None:
        try:
            while True:
                frames = await self._transport.receive()
                stats = self.stats
                stats.frames_in += len(frames)
                stats.bytes_in += sum(map(len, frames))
                self._dispatching = True
                try:
                    events = self._connection.receive(frames, trio.current_time())
                    self._dispatch(events)
                finally:
                    self._dispatching = False
                if self.wipes:
                    _wipe_rest(frames, events)
                self.flush_now()
        except TunnelError:
            self._dispatch(self._connection.lost())
            self.flush()

    async def _write(self) -> None:
        connection = self._connection
        try:
            while True:
                if connection.wants_write or self._transport.pending:
                    await self._send_batch()
                elif connection.phase is Phase.CLOSED:
                    return
                elif connection.idle:
                    self._dispatch(connection.close(Code.NO_ERROR))
                else:
                    await self._wake.wait()
                    self._wake = trio.Event()
        except TunnelError:
            self._dispatch(connection.lost())

    async def _send_batch(self) -> None:
        frames = self._frames_to_send()
        self._sending = True
        try:
            await self._transport.send(frames)
        finally:
            self._sending = False
            self._sent(frames)

    def _sent(self, frames: list[Frame]) -> None:
        """Wipe what the transport has taken and relieve those who wait for that."""
        if self.wipes:
            self._unwiped += frames
            if not self._transport.pending:  # else it holds on to some
                wipe_owned(frame[-1] for frame in self._unwiped)
                self._unwiped = []
        for stream_id in self._connection.touched:
            stream = self._streams.get(stream_id)
            if stream is not None and stream.has_room:
                stream.relieve()

    def _frames_to_send(self) -> list[Frame]:
        frames = self._connection.frames_to_send()
        self.stats.frames_out += len(frames)
        self.stats.bytes_out += sum(map(len, chain.from_iterable(frames)))
        return frames

    async def _watch_clock(self) -> None:
        connection = self._connection
        while connection.phase is not Phase.CLOSED:
            latest = trio.current_time() + self.settings.ping_interval_s
            await trio.sleep_until(min(connection.deadline(), latest))
            self._dispatch(connection.tick(trio.current_time()))
            self.flush()

    def _dispatch(self, events: Events) -> None:
        touched: dict[int, Stream] = {}
        known = 0
        stream: Stream | None = None
        for stream_id, event in events:
            if stream_id != known or stream is None:  # mostly the stream of the event before
                known, stream = stream_id, self._streams.get(stream_id)
                if stream is not None:
                    touched[stream_id] = stream
            if stream is not None:
                stream.deliver(event)
            elif stream_id == 0:
                self._on_tunnel_event(event)
            elif isinstance(event, Opened):
                self._on_opened(stream_id, event)
        for each in touched.values():
            each.arrived()

    def _on_tunnel_event(self, event: object) -> None:
        match event:
            case TokenReceived():
                self._judge(event)
            case Established():
                self.valid_s = event.valid_s
                if self._started is not None:
                    self._started.started(self)
                    self._started = None
            case Going():
                self.goaway_code = event.code
                self.goaway_received.set()
            case Closed():
                self._closed = event
                grace_s = 0.0 if event.code is Code.TIMEOUT else self.settings.close_s
                self._close_until = self._write_scope.deadline = trio.current_time() + grace_s

    def _judge(self, event: TokenReceived) -> None:
        assert self._authenticate is not None
        try:
            valid_s = self._authenticate(event.hello, event.token)
        except AuthRefused as error:
            self._dispatch(self._connection.refuse(error.code))
        else:
            self._dispatch(self._connection.accept(valid_s, trio.current_time()))
        finally:
            wipe(event.token.view)

    def _on_opened(self, stream_id: int, event: Opened) -> None:
        assert self._nursery is not None
        stream = Stream(self, self._connection, stream_id, event.head, event.cursor)
        stream.cancelled_by_reset = trio.CancelScope()
        self._streams[stream_id] = stream
        self._nursery.start_soon(self._handle, stream)

    async def _handle(self, stream: Stream) -> None:
        assert self._handler is not None
        assert stream.cancelled_by_reset is not None
        with stream.cancelled_by_reset, suppress(StreamReset):
            await self._handler(stream)
        stream.finish()


def _wipe_rest(frames: list[memoryview], events: Events) -> None:
    """Wipe the frames that became no payload of a stream: tokens, and what nobody waits for."""
    if len(frames) == len(events) and all(map(itemgetter(0), events)):
        return
    kept = {id(event.view.obj) for _, event in events if isinstance(event, Data)}
    for frame in frames:
        if id(frame.obj) not in kept:
            wipe(frame)
