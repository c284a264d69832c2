"""What a long line does to bytes: delay, jitter, a bandwidth with a queue before it.

Computed, not waited for: a lane says when bytes are through, whoever forwards them waits.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import trio

PIECE_S = 0.001  # bytes are forwarded in pieces that take the line so long
MIN_PIECE_BYTES, MAX_PIECE_BYTES = 1_500, 65_536
MAX_FLIGHT_BYTES = 33_554_432  # one way, one connection: 160 ms at 1.6 Gbit/s
QUEUE_BYTES = 1_048_576  # before a line of limited bandwidth; deeper ones are called bufferbloat


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """A link, the same in both directions.

    Args:
        rtt_s: there and back, half of it each way.
        jitter_s: each way's delay varies by up to this, evenly, to both sides; order is kept, as
            TCP keeps it.
        bandwidth_bytes_per_s: of each direction, all connections together; 0 for no limit.
        queue_bytes: what the line holds before its sender has to wait (nothing is dropped: the
            bytes are those of TCP connections).
        seed: of the jitter.
    """

    rtt_s: float = 0.0
    jitter_s: float = 0.0
    bandwidth_bytes_per_s: float = 0.0
    queue_bytes: int = QUEUE_BYTES
    seed: int = 0


CLEAR = LinkProfile()


class Lane:
    """One direction of a link.

    Args:
        profile: of the link.
        name: makes its jitter differ from the other direction's.
    """

    def __init__(self, profile: LinkProfile, name: str) -> None:
        self._profile = profile
        self._random = random.Random(f"{profile.seed} {name}")  # noqa: S311 - no secret
        self._free_s = 0.0  # when the line has sent all that it was given
        rate = profile.bandwidth_bytes_per_s
        self.piece_bytes = (
            min(max(int(rate * PIECE_S), MIN_PIECE_BYTES), MAX_PIECE_BYTES)
            if rate
            else MAX_PIECE_BYTES
        )

    def room_s(self, now_s: float, size: int) -> float:
        """Return when the queue has room for so many bytes, `now_s` if it has."""
        rate = self._profile.bandwidth_bytes_per_s
        if not rate:
            return now_s
        return max(now_s, self._free_s - max(self._profile.queue_bytes - size, 0) / rate)

    def admit(self, now_s: float, size: int) -> float:
        """Take bytes that come now; return when the last of them is at the other end."""
        profile = self._profile
        if profile.bandwidth_bytes_per_s:
            now_s = max(now_s, self._free_s) + size / profile.bandwidth_bytes_per_s
            self._free_s = now_s
        jitter_s = self._random.uniform(-profile.jitter_s, profile.jitter_s)
        return now_s + max(profile.rtt_s / 2 + jitter_s, 0.0)


class Flight:
    """Bytes of one connection that are on their way in one direction."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._ended = False
        self._changed = trio.Event()

    async def put(self, due_s: float, data: bytes) -> None:
        """Send bytes off, to arrive at `due_s` of trio's clock; waits while too many are out."""
        while self._size > MAX_FLIGHT_BYTES:
            await self._changed.wait()
        self._chunks.append((due_s, data))
        self._size += len(data)
        self._wake()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._wake()

    async def next_s(self) -> float | None:
        """Return when the next bytes are due, None at the end."""
        while not self._chunks:
            if self._ended:
                return None
            await self._changed.wait()
        return self._chunks[0][0]

    def take(self, now_s: float) -> bytes:
        """Return the first bytes, and all behind them that are due by now."""
        found = [self._chunks.popleft()[1]]
        while self._chunks and self._chunks[0][0] <= now_s:
            found.append(self._chunks.popleft()[1])
        data = found[0] if len(found) == 1 else b"".join(found)
        self._size -= len(data)
        self._wake()
        return data

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
