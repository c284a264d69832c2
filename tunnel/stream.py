"""One exchange's stream, as handlers and the relay's viewers use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from tunnel.connection import Connection
from tunnel.errors import Code, StreamReset
from tunnel.events import Data, End, Event, Reset
from tunnel.exchange import RequestHead, ResponseHead
from tunnel.payload import Buffer
from tunnel.wipe import Held, wipe, wipe_owned

if TYPE_CHECKING:
    from tunnel.session import Session

ALONE_BYTES = 16_384  # more is better sent together with other streams' (measured: decision 8)


class Stream:
    """Sends and receives on one stream of a session; made by the session.

    Args:
        session, connection: where it belongs.
        stream_id: its number.
        request: head of the exchange.
        cursor: where the opener wants to resume; empty for the beginning.
    """

    __slots__ = (
        "_connection", "_discards", "_ended", "_held", "_inbox", "_peer_ended", "_receiver",
        "_room", "_session", "_tap", "_tap_left_some", "_views", "cancelled_by_reset", "cursor",
        "id", "request", "reset_code",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        connection: Connection,
        stream_id: int,
        request: RequestHead,
        cursor: bytes,
    ) -> None:
        self._session, self._connection = session, connection
        self.id, self.request, self.cursor = stream_id, request, cursor
        self.cancelled_by_reset: trio.CancelScope | None = None  # a handler's
        self.reset_code: Code | None = None
        self._ended = self._peer_ended = self._discards = False
        self._held = 0  # bytes of Data delivered and not released yet
        self._views = Held() if session.wipes else None
        self._inbox: list[Event] = []
        self._receiver: trio.lowlevel.Task | None = None  # waits in `ready`
        self._tap: Callable[[Stream], bool] | None = None
        self._tap_left_some = False
        self._room: trio.Event | None = None  # somebody waits for it: most never have to

    # Receiving.

    async def ready(self) -> None:
        """Wait until `take` returns something, or the tap asks for its consumer.

        Raises:
            StreamReset: the stream was reset and all that arrived before has been taken.
        """
        while not self._inbox and not self._tap_left_some:
            self._check()
            if self._receiver is not None:
                raise trio.BusyResourceError("another task waits for this stream")
            self._receiver = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
        self._tap_left_some = False

    def take(self) -> list[Event]:
        """Return all that has arrived: Head, Data, Mark, End, Reset; nothing after End or Reset."""
        inbox, self._inbox = self._inbox, []
        return inbox

    def tap(self, tap: Callable[[Stream], bool] | None) -> None:
        """Have what arrives consumed at once, in the task that reads the tunnel.

        A task that is woken for every read costs as much as the bytes it forwards (measured).

        Args:
            tap: called with the stream after each read that brought something; takes what it can
                without waiting, never raises, and returns whether it is done with that. If not,
                `ready` returns.
        """
        self._tap = tap

    def nudge(self) -> None:
        """Have `ready` return once although nothing has arrived."""
        self._tap_left_some = True
        self._wake_receiver()

    @property
    def held(self) -> int:
        """Bytes of Data that have arrived and were not released yet."""
        return self._held

    def release(self, count: int) -> None:
        """The consumer has disposed of `count` bytes of Data: their credit goes back.

        After `reset` everything counts as released already. If the session wipes, the bytes are
        zero afterwards.

        Raises:
            LocalError: less was delivered.
        """
        if count and not self._discards:
            self._held -= count
            if self._views is not None:
                self._views.release(count)
            self._give_back(count)

    # Sending.

    @property
    def has_room(self) -> bool:
        """Whether less than a queue's worth of DATA is unsent."""
        return self._connection.unsent(self.id) <= self._session.settings.send_queue_bytes

    def head(self, head: ResponseHead) -> None:
        """Answer with status and headers."""
        self._check()
        self._connection.head(self.id, head)
        self._session.flush()

    async def send(self, data: Buffer, *, alone: bool = False) -> None:
        """Queue payload and wait while too much of it is unsent. `data` is borrowed until sent.

        Args:
            data: some payload.
            alone: whether nothing follows for now, not even a mark: little data is then sent from
                this task, which spares the time that waking the session's writer takes.

        Raises:
            StreamReset: the stream was reset, or the tunnel lost.
        """
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check()
            self._connection.data(self.id, data)
        except BaseException:
            wipe_owned((data,))  # it was not queued, so nobody else would
            raise
        if alone and self._connection.unsent(self.id) <= ALONE_BYTES:
            self._session.flush_now(self.id)
        else:
            self._session.flush()
        while not self.has_room:
            await self._wait_for_room()
            self._check()

    async def flushed(self) -> None:
        """Wait until everything queued was handed to the transport.

        Raises:
            StreamReset: the stream was reset, or the tunnel lost.
        """
        self._check()
        while self._connection.unsent(self.id):
            await self._wait_for_room()
            self._check()

    def mark(self, cursor: bytes) -> None:
        """End a unit; a resume may continue from `cursor` (at most 1 KiB)."""
        self._check()
        self._connection.mark(self.id, cursor)
        self._session.flush()

    def post(self, data: Buffer, cursor: bytes) -> bool:
        """Queue a unit and its mark without waiting, for `push` to send together with others.

        Returns:
            Whether it was queued: not if the stream was reset or too much of it is unsent.
        """
        if self.reset_code is not None or not self.has_room:
            return False
        self._connection.data(self.id, data)
        self._connection.mark(self.id, cursor)
        return True

    def push(self) -> None:
        """Send what was posted, on this and on the session's other streams."""
        self._session.send_now()
        self._session.flush()

    def end(self) -> None:
        """End this half in order."""
        self._check()
        self._connection.end(self.id)
        self._ended = True
        self._session.flush()
        self._forget_when_over()

    def reset(self, code: Code) -> None:
        """Abort the exchange, or just let go of it when it is over already."""
        if self.reset_code is None:
            self.reset_code = code
            self._connection.reset(self.id, code)
            self._wake()
            self._session.forget(self)
        self._drop()
        self._session.flush()

    # For the session.

    def deliver(self, event: Event) -> None:
        """Queue an event for the consumer."""
        if isinstance(event, Data):
            if self._discards:
                self._give_back(len(event.view))
                if self._views is not None:
                    wipe(event.view)
                return
            self._held += len(event.view)
            if self._views is not None:
                self._views.add(event.view)
        elif isinstance(event, Reset):
            self._on_reset(event.code)
            if self._peer_ended:
                return  # it concerns our own half only
        self._inbox.append(event)
        if isinstance(event, End):
            self._peer_ended = True
            self._forget_when_over()

    def arrived(self) -> None:
        """All events of a read are delivered: have them consumed."""
        if self._tap is not None:
            if self._tap(self):
                return
            self._tap_left_some = True
        self._wake_receiver()

    def relieve(self) -> None:
        """Frames have left: let a waiting sender look again."""
        if self._room is not None:
            self._room.set()
            self._room = None

    def finish(self) -> None:
        """The handler is done: what it left open is aborted, what it left unread discarded."""
        if not self._ended:
            self.reset(Code.INTERNAL)
        self._drop()

    def _on_reset(self, code: Code) -> None:
        self.reset_code = code
        self._wake()
        self._session.forget(self)
        if self.cancelled_by_reset is not None:
            self.cancelled_by_reset.cancel()

    def _forget_when_over(self) -> None:
        if self._ended and self._peer_ended:
            self._session.forget(self)

    def _drop(self) -> None:
        """Discard what was not released, and whatever still comes."""
        self._discards = True
        self._inbox = []
        if self._views is not None:
            self._views.clear()
        held, self._held = self._held, 0
        self._give_back(held)

    def _give_back(self, count: int) -> None:
        if count:
            self._connection.consumed(self.id, count, trio.current_time())
            self._session.flush()

    def _wake(self) -> None:
        self._wake_receiver()
        self.relieve()

    def _wake_receiver(self) -> None:
        # A trio.Event for each wait would cost an idle stream 0.4 KiB (measured).
        if self._receiver is not None:
            trio.lowlevel.reschedule(self._receiver)
            self._receiver = None

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._receiver = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _check(self) -> None:
        if self.reset_code is not None:
            raise StreamReset(code=self.reset_code)

    async def _wait_for_room(self) -> None:
        if self._room is None:
            self._room = trio.Event()
        await self._room.wait()
