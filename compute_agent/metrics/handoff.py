"""Bytes from a thread to a task: a few pieces at most, then the thread waits."""

from __future__ import annotations

import threading
from collections import deque

import trio

MAX_PIECES = 2  # one is being sent while the next is read


class HandoffClosed(Exception):
    """Nobody takes any more."""


class Handoff:
    """One producer thread, one consumer task. Made in the task."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._room = threading.Semaphore(MAX_PIECES)
        self._pieces: deque[bytes] = deque()
        self._failure: Exception | None = None
        self._arrived = trio.Event()
        self.ended = False  # the thread has said so
        self._closed = False

    # In the thread.

    def put(self, piece: bytes, within_s: float) -> None:
        """Hand over a piece; waits for room.

        Raises:
            HandoffClosed: nobody takes it.
            TimeoutError: there was no room in time.
        """
        if not self._room.acquire(timeout=max(0.0, within_s)):
            raise TimeoutError
        if self._closed:
            raise HandoffClosed
        self._pieces.append(piece)
        self._wake()

    def end(self, failure: Exception | None = None) -> None:
        """Nothing more comes. What was not taken before a failure is dropped: it is no result."""
        if failure is not None:
            self._pieces.clear()
        self._failure = failure
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        try:
            self._token.run_sync_soon(self._signal, idempotent=True)
        except trio.RunFinishedError:
            raise HandoffClosed from None

    def _signal(self) -> None:
        self._arrived.set()

    # In the task.

    async def get(self) -> bytes:
        """Return the next piece, b"" at the end; may be cancelled and called again.

        Raises:
            Exception: what the thread ended with.
        """
        while True:
            ended = self.ended  # looked at first: what was put before the end is seen below
            if self._pieces:
                piece = self._pieces.popleft()
                self._room.release()
                return piece
            if ended:
                if self._failure is not None:
                    raise self._failure
                return b""
            await self._arrived.wait()
            self._arrived = trio.Event()

    def close(self) -> None:
        """Take no more; a thread that waits for room is told."""
        self._closed = True
        self._pieces.clear()
        self._room.release()
