"""The last lines of a plane's journal, kept in memory and awaitable."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import trio

MAX_LINES = 1000  # a few minutes of a busy plane
MAX_LINE_CHARS = 4096  # a journal line is a few hundred characters


class Ring:
    """A bounded ring of journal lines. `count` numbers them since the start of the plane's life."""

    def __init__(self, max_lines: int = MAX_LINES) -> None:
        self._lines: deque[str] = deque(maxlen=max_lines)
        self._more = trio.Event()
        self._closed = False
        self.count = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that are still kept, oldest first."""
        return tuple(self._lines)

    def append(self, line: str) -> None:
        """Add a line, cut to 4,096 characters; the oldest one falls out of a full ring."""
        self._lines.append(line[:MAX_LINE_CHARS])
        self.count += 1
        self._wake()

    def open(self) -> None:
        """The plane lives, maybe again."""
        self._closed = False

    def close(self) -> None:
        """The plane has ended: whoever waits for an event is told."""
        self._closed = True
        self._wake()

    async def event(self, *names: str, since: int = 0) -> dict[str, Any]:
        """Wait for a journal event.

        Args:
            names: events to wait for; the first of any counts.
            since: skip lines before this `count`.

        Returns:
            The event's record.

        Raises:
            EOFError: the plane ended without it.
        """
        seen = since
        while True:
            for line in self._from(seen):
                record = parse(line)
                if record.get("event") in names:
                    return record
            seen = self.count
            if self._closed:
                raise EOFError(f"the plane ended before {' or '.join(names)}")
            await self._more.wait()

    def _from(self, seen: int) -> list[str]:
        kept = list(self._lines)
        return kept[max(0, len(kept) - (self.count - seen)) :] if self.count > seen else []

    def _wake(self) -> None:
        self._more.set()
        self._more = trio.Event()


def parse(line: str) -> dict[str, Any]:
    """Read a journal line; anything that is not a JSON object reads as empty."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
