"""One stream's record inside a connection: its two halves, its windows, what waits to be sent."""

from __future__ import annotations

from collections import deque

from tunnel.errors import LocalError, RemoteError
from tunnel.frames import MAX_DATA_BYTES, FrameType, header
from tunnel.payload import Buffer
from tunnel.stream_state import TRANSITIONS, Half
from tunnel.windows import ReceiveWindow, SendWindow
from tunnel.wipe import wipe_owned

Frame = list[Buffer]


class StreamRecord:
    """State of one stream at one end.

    Args:
        stream_id: its number.
        opener: whether this end opened it.
        credit: initial credit for sending.
        receive: the receiver's promise.
    """

    __slots__ = ("_offset", "_queue", "credit", "id", "receive", "receiving", "sending", "unsent")

    def __init__(
        self, stream_id: int, *, opener: bool, credit: int, receive: ReceiveWindow
    ) -> None:
        self.id = stream_id
        self.sending = Half.IDLE if opener else Half.HEAD
        self.receiving = Half.HEAD if opener else Half.IDLE
        self.credit = SendWindow(credit)
        self.receive = receive
        self.unsent = 0
        self._queue: deque[tuple[FrameType, Buffer]] | None = None  # an empty one: 760 bytes
        self._offset = 0  # how much of the first DATA in the queue is gone already

    @property
    def done(self) -> bool:
        """Whether both directions have ended and nothing waits."""
        return self.sending is self.receiving is Half.ENDED and not self._queue

    @property
    def sendable(self) -> bool:
        """Whether the queue's first item may go now."""
        queue = self._queue
        if not queue:
            return False
        return queue[0][0] is not FrameType.DATA or self.credit.credit > 0

    def put(self, kind: FrameType, body: Buffer) -> None:
        """Queue something of our own half.

        Raises:
            LocalError: the state does not allow it.
        """
        self.step(kind)
        if self._queue is None:
            self._queue = deque()
        self._queue.append((kind, body))
        if kind is FrameType.DATA:
            self.unsent += len(body)

    def step(self, kind: FrameType) -> None:
        """Step our own half.

        Raises:
            LocalError: the state does not allow it.
        """
        state = TRANSITIONS.get((self.sending, kind))
        if state is None:
            raise LocalError(f"cannot send {kind.name} on a stream in state {self.sending.value}")
        self.sending = state

    def got(self, kind: int) -> None:
        """Step the peer's half.

        Raises:
            RemoteError: the state does not allow it.
        """
        state = TRANSITIONS.get((self.receiving, kind))
        if state is None:
            raise RemoteError(f"frame type {kind} on a stream in state {self.receiving.value}")
        self.receiving = state

    def drop(self) -> None:
        """Forget what waits: the stream was reset. Of Owned data nothing stays."""
        wipe_owned(body for _, body in self._queue or ())
        self._queue = None
        self.unsent = self._offset = 0
        self.sending = self.receiving = Half.ENDED

    def pull(self, quantum: int, limit_bytes: int) -> tuple[list[Frame], int]:
        """Take frames of up to about `quantum` bytes off the queue, as far as credit allows.

        A DATA that does not fit any more is left for the next turn, not cut: else the turns would
        drift against the units, and nearly every unit take two frames.

        Returns:
            The frames, each a list of buffers, and their size in bytes.
        """
        frames: list[Frame] = []
        size = 0
        queue = self._queue
        while queue and size < quantum:
            kind, body = queue[0]
            if kind is FrameType.DATA:
                fits = size + min(len(body) - self._offset, limit_bytes) <= quantum or not size
                if not (fits and self.credit.credit):
                    break
                body = self._piece(body, limit_bytes)
            else:
                queue.popleft()
            frames.append([header(kind, self.id), body] if body else [header(kind, self.id)])
            size += len(body)
        if not queue:
            self._queue = None
        return frames, size

    def _piece(self, body: Buffer, limit_bytes: int) -> Buffer:
        """Cut the next DATA piece off the queue's first item."""
        start = self._offset
        count = self.credit.take(min(len(body) - start, limit_bytes, MAX_DATA_BYTES))
        end = start + count
        self.unsent -= count
        if end == len(body):
            assert self._queue is not None
            self._queue.popleft()
            self._offset = 0
        else:
            self._offset = end
        return body if count == len(body) else memoryview(body)[start:end]
