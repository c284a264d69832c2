"""When to dial again: exponential backoff with full jitter, slower when we are refused.

Full jitter (a delay drawn uniformly from zero to the bound) spreads many agents evenly over a
relay that comes back: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from collections.abc import Callable

from compute_agent.settings import BackoffLimits
from tunnel.errors import Code

REFUSALS = frozenset({Code.AUTH_REFUSED, Code.AUTH_EXPIRED, Code.REVOKED, Code.VERSION})
MAX_DOUBLINGS = 30


class Backoff:
    """Delays before the next dial.

    Args:
        limits: bounds.
        random: returns a number in [0, 1).
        now_s: monotonic clock, seconds.
    """

    def __init__(
        self, limits: BackoffLimits, *, random: Callable[[], float], now_s: Callable[[], float]
    ) -> None:
        self._limits, self._random, self._now_s = limits, random, now_s
        self._last_open_s = now_s()
        self._failures = self._refusals = 0

    def opened(self) -> None:
        """A tunnel is up."""
        self._last_open_s = self._now_s()
        self._refusals = 0

    def lost(self) -> None:
        """A tunnel that was up is gone; if it lived for a while, delays start small again."""
        now_s = self._now_s()
        if now_s - self._last_open_s >= self._limits.stable_s:
            self._failures = 0
        self._last_open_s = now_s

    def delay_s(self, code: Code) -> float:
        """Return for how many seconds to wait after an end with `code`."""
        limits = self._limits
        if code in REFUSALS:
            bound = _doubled(limits.refused_base_s, self._refusals, limits.refused_cap_s)
            self._refusals += 1
        else:
            recent = self._now_s() - self._last_open_s <= limits.recent_s
            cap = limits.recent_cap_s if recent else limits.cap_s
            bound = _doubled(limits.base_s, self._failures, cap)
            self._failures += 1
        return self._random() * bound


def _doubled(base_s: float, times: int, cap_s: float) -> float:
    return min(cap_s, base_s * 2.0 ** min(times, MAX_DOUBLINGS))
