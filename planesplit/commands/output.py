"""Results on stdout, progress on stderr. A slow reader of stdout blocks a thread, not the loop."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from planesplit.commands.tables import as_json, as_table

__all__ = ["Output", "as_json", "as_table", "for_terminal", "progress", "stdout"]

MAX_QUEUED_BYTES = 1_048_576  # a reader that stalls holds so much of us, then we stop reading too
STDOUT = 1

# On a terminal, what a log prints may set colours and nothing else: no cursor, title or clipboard.
_CONTROL = re.compile(
    r"\x1b\[[0-9;]*m"  # colours: kept
    r"|(\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links, clipboard
    r"|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f])"
)


def progress(text: str) -> None:
    """Tell what is going on, on stderr."""
    sys.stderr.write(f"planesplit: {text}\n")
    sys.stderr.flush()


def for_terminal(text: str, *, colour: bool = True) -> str:
    """Take control sequences out of a log's text, except tabs, newlines and, if wanted, colours."""
    return _CONTROL.sub(lambda found: "" if found[1] or not colour else found[0], text)


class Output:
    """Writes to stdout from a thread, in order, as much at once as has come together."""

    def __init__(self) -> None:
        self._queued: list[bytes] = []
        self._size = 0
        self._more, self._room = trio.Event(), trio.Event()
        self._closed = False
        self.terminal = os.isatty(STDOUT)

    async def write(self, what: str | bytes) -> None:
        """Queue text or bytes; waits while more than 1 MiB is unwritten."""
        while self._size > MAX_QUEUED_BYTES:
            self._room = trio.Event()
            await self._room.wait()
        data = what.encode() if isinstance(what, str) else what
        self._queued.append(data)
        self._size += len(data)
        self._more.set()

    async def run(self) -> None:
        """Write until closed.

        Raises:
            BrokenPipeError: the reader is gone.
        """
        while not self._closed or self._queued:
            if not self._queued:
                self._more = trio.Event()
                await self._more.wait()
            data = b"".join(self._queued)
            self._queued.clear()
            self._size = 0
            self._room.set()
            await trio.to_thread.run_sync(_write_all, data, abandon_on_cancel=True)

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._more.set()


@asynccontextmanager
async def stdout() -> AsyncIterator[Output]:
    """Open stdout; leaving the context writes what is queued."""
    output = Output()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        yield output
        output.close()


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(STDOUT, view) :]
