"""Credit: how much a sender may send and how much a receiver has promised to hold.

Bytes are integers; time only judges growth. A receiver's promise for one stream is `outstanding +
queued` and never exceeds its window; the sum of all growth above the reserved windows never exceeds
the tunnel's pool.
"""

from __future__ import annotations

import math

from tunnel.errors import RemoteError
from tunnel.hello import MAX_WINDOW_BYTES
from tunnel.settings import TunnelSettings

FULL_SHARE = 2 / 3  # of a window used in one round trip: it is what limits the stream
LONG_S = 0.005  # a shorter round trip needs no more than 512 KiB, which running dry brings
GRANT_SHARE = 8  # grant at W/8: at W/2 up to half of window/RTT is lost (measured)
GRANT_BYTES = 131_072  # as much is worth a CREDIT of any window: 1/16 of 4 MiB would be idle


class SendWindow:
    """Credit left for sending on one stream."""

    __slots__ = ("credit",)

    def __init__(self, credit: int) -> None:
        self.credit = credit

    def grant(self, count: int) -> None:
        """Add credit that the peer granted.

        Raises:
            RemoteError: zero, or more than 2**31 - 1 in all.
        """
        if count == 0 or self.credit + count > MAX_WINDOW_BYTES:
            raise RemoteError("CREDIT of zero or beyond 2**31 - 1")
        self.credit += count

    def take(self, wanted: int) -> int:
        """Use up to `wanted` bytes of credit and return how many."""
        count = min(wanted, self.credit)
        self.credit -= count
        return count


class GrowthPool:
    """Credit of one tunnel above its streams' reserved windows, and the time its link takes.

    Args:
        size: how much there is, in bytes.
    """

    __slots__ = ("free", "rtt_s", "size")

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self.rtt_s = math.inf  # unknown

    def take(self, wanted: int) -> int:
        """Take up to `wanted` bytes and return how many."""
        count = min(wanted, self.free)
        self.free -= count
        return count

    def give(self, count: int) -> None:
        """Return what was taken."""
        self.free += count
        assert self.free <= self.size


class ReceiveWindow:
    """What one stream's receiver has promised.

    Args:
        pool: where growth comes from.
        settings: window sizes, in bytes.
        now: current time, seconds.
    """

    __slots__ = (
        "_limited", "_pool", "_settings", "_since", "_used",
        "drained_at", "grown", "outstanding", "queued", "window",
    )  # fmt: skip

    def __init__(self, pool: GrowthPool, settings: TunnelSettings, now: float) -> None:
        self._pool, self._settings = pool, settings
        self.window = settings.window_bytes
        self.outstanding = 0
        self.queued = 0
        self.grown = 0
        self.drained_at = now
        self._limited = False
        self._since, self._used = now, 0  # bytes consumed since then: about a round trip's

    def received(self, count: int) -> int:
        """Book received DATA; return by how many bytes it exceeds the credit (0 if it is fine)."""
        if count > self.outstanding:
            return count - self.outstanding
        self.outstanding -= count
        self.queued += count
        if self.outstanding < self.window // GRANT_SHARE:
            self._limited = True
        return 0

    def consumed(self, count: int, now: float) -> None:
        """Book bytes that the consumer has disposed of."""
        assert 0 <= count <= self.queued
        self.queued -= count
        self.drained_at = now
        self._return_growth()
        self._used += count
        if (self._fills(now) or self._limited) and self.queued <= self.window // 2:
            self._grow()

    def due(self) -> int:
        """Return the credit to grant now, 0 if it is not worth a frame yet, and book it."""
        missing = self.window - self.outstanding - self.queued
        if missing < min(self.window // GRANT_SHARE, GRANT_BYTES):
            return 0
        self.outstanding += missing
        return missing

    def stalled(self, now: float) -> bool:
        """Whether the consumer sits on data for too long to deserve a grown window."""
        return self.queued > 0 and now - self.drained_at >= self._settings.stall_s

    def shrink(self) -> None:
        """Fall back to the reserved window; growth returns to the pool as bytes drain."""
        self.window = self._settings.window_bytes
        self._limited = False
        self._return_growth()

    def close(self) -> None:
        """Promise nothing more; what is queued stays booked until it is consumed."""
        self.outstanding = 0
        self._since = math.inf  # nor grow
        self.shrink()

    def _fills(self, now: float) -> bool:
        """Whether a round trip is over in which the consumer used most of the window.

        On a long link the sender waits for credit that is under way, which is not seen from here.
        """
        rtt_s, elapsed_s = self._pool.rtt_s, now - self._since
        if rtt_s < LONG_S or elapsed_s < rtt_s:
            return False
        used, self._since, self._used = self._used, now, 0
        return used * rtt_s > FULL_SHARE * self.window * elapsed_s

    def _grow(self) -> None:
        """The consumer keeps up and the sender could do more: the window is the bottleneck."""
        if self.outstanding + self.queued > self.window:
            return  # after a stall: growth that was promised is still out
        settings = self._settings
        target = min(max(settings.window_default_bytes, 2 * self.window), settings.window_max_bytes)
        extra = self._pool.take(max(0, target - self.window))
        self.window += extra
        self.grown += extra
        self._limited = False

    def _return_growth(self) -> None:
        """Give back what is neither promised nor within the window."""
        promised = max(self.window, self.outstanding + self.queued)
        held = promised - self._settings.window_bytes
        if held < self.grown:
            self._pool.give(self.grown - held)
            self.grown = held
