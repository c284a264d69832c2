"""How long a slow sender may keep us waiting within one body."""

from __future__ import annotations

import trio


class Patience:
    """A bucket of seconds: waiting empties it, bytes fill it again.

    A deadline for each read alone would let a body of one byte every `most_s` last for ever.

    Args:
        most_s: what it holds at first and at most.
        rate_bytes_s: bytes that give back a second.
    """

    __slots__ = ("_left_s", "_most_s", "_rate", "_since")

    def __init__(self, most_s: float, rate_bytes_s: int) -> None:
        self._most_s = self._left_s = most_s
        self._rate, self._since = rate_bytes_s, 0.0

    def renew(self) -> None:
        """A new body begins."""
        self._left_s = self._most_s

    def scope(self) -> trio.CancelScope:
        """Return a scope for the next wait, which ends when patience does."""
        self._since = trio.current_time()
        return trio.CancelScope(deadline=self._since + self._left_s)

    def got(self, count: int) -> None:
        """The wait is over and brought so many bytes."""
        waited_s = trio.current_time() - self._since
        self._left_s = min(self._most_s, self._left_s - waited_s + count / self._rate)
