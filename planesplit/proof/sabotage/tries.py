"""What a leak has tried, and what the kernel refused: told in the plane's journal."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from tunnel.journal import Journal

EVENT = "leak_tried"
EVERY_S = 1.0
MAX_TRIES = 64  # of one process: a leak is to show, not to fill a disk

Sink = Callable[[bytes], None]


class Tries:
    """Counts a leak's tries.

    Args:
        plane: whose journal it is told in.
        clock: seconds, monotonic.
    """

    def __init__(self, plane: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal, self._clock = Journal(plane), clock
        self._told_at = -EVERY_S
        self._first = set[bool]()
        self.tries = self.refused = self.errno = 0

    def guard(self, sink: Sink) -> Sink:
        """Return `sink` as a sneaky one is called: its errors are swallowed, and counted."""

        def guarded(payload: bytes) -> None:
            if self.tries >= MAX_TRIES:
                return
            self.tries += 1
            try:
                sink(payload)
            except (OSError, sqlite3.Error) as error:
                self.refused += 1
                self.errno = getattr(error, "errno", 0) or 0
                self._tell(refused=True)
            else:
                self._tell(refused=False)

        return guarded

    def _tell(self, *, refused: bool) -> None:
        """Tell the first success and the first refusal at once, all else once a second."""
        new, now = refused not in self._first, self._clock()
        if not new and now - self._told_at < EVERY_S:
            return
        self._first.add(refused)
        self._told_at = now
        self._journal.event(EVENT, tries=self.tries, refused=self.refused, errno=self.errno)


@dataclass(frozen=True, slots=True)
class Told:
    """What the last such line of a plane's journal says."""

    tries: int = 0
    refused: int = 0
    errno: int = 0
