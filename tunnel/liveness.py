"""Is the peer still there? PING asks and measures, long silence is the answer."""

from __future__ import annotations

import math
from collections import deque

from tunnel.settings import TunnelSettings

RECENT_PONGS = 4  # 12 s: one of them saw the link without a queue, or the link has changed
FROZEN_FACTOR = 2.0  # ticks that far apart mean that this process was stopped, not the peer


class Liveness:
    """Tracks silence and round-trip time. Time comes in, verdicts go out.

    Args:
        settings: ping_interval_s and dead_after_s.
        now: current time, seconds.
    """

    __slots__ = (
        "_asked", "_asked_at", "_count", "_heard", "_recent", "_settings", "_ticked", "rtt_s",
    )  # fmt: skip

    def __init__(self, settings: TunnelSettings, now: float) -> None:
        self._settings = settings
        self._heard = self._ticked = now
        self._asked: bytes | None = None
        self._asked_at = now
        self._count = 0
        self._recent: deque[float] = deque(maxlen=RECENT_PONGS)
        self.rtt_s: float | None = None

    def heard(self, now: float) -> None:
        """The peer sent something."""
        self._heard = now

    def tick(self, now: float) -> None:
        """Note that this process runs; after a freeze, let the socket be read before judging."""
        settings = self._settings
        if now - self._ticked > FROZEN_FACTOR * settings.ping_interval_s:
            self._heard = max(self._heard, now - settings.ping_interval_s)
            self._asked = None
        self._ticked = now

    def dead(self, now: float) -> bool:
        """Whether the peer was silent for dead_after_s."""
        return now >= self._heard + self._settings.dead_after_s

    def ping(self, now: float, *, at_once: bool = False) -> bytes | None:
        """Return the 8 bytes of a PING if one is due: one an interval, so that RTT stays fresh."""
        next_at = self._asked_at + self._settings.ping_interval_s  # as deadline() adds it up
        if now < next_at and not at_once:
            return None
        self._count += 1
        self._asked, self._asked_at = self._count.to_bytes(8, "big"), now
        return self._asked

    def pong(self, body: bytes, now: float) -> None:
        """Take the RTT from the answer to the latest PING; ignore others."""
        if body == self._asked:
            self.rtt_s = now - self._asked_at
            self._recent.append(self.rtt_s)
            self._asked = None

    def floor_s(self) -> float:
        """Return the least of the latest round-trip times: what queues add is not in it."""
        return min(self._recent, default=math.inf)

    def deadline(self) -> float:
        """When tick() wants to be called at the latest."""
        settings = self._settings
        return min(self._asked_at + settings.ping_interval_s, self._heard + settings.dead_after_s)
