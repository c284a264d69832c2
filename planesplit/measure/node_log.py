"""A node's container logs: CRI records appended to files when their lines are due.

`python -m planesplit.measure.node_log CONTROL_SOCKET`
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from planesplit.measure.lines import Batch, LinePlan, LineSource
from planesplit.measure.pace import Pacer, handed_over
from planesplit.measure.reactor import Commands, Reactor

HOLD_OFF_S = 0.0002  # a container runtime writes lines as they come; this bounds its writes
GREETING = "ready"  # so that a tail has something to answer with
DIGITS = 10


class NodeLog:
    """The files and what is asked of them.

    Args:
        control: where commands come from.
    """

    def __init__(self, control: Path) -> None:
        self._reactor = Reactor()
        self._files: list[int] = []
        self._commands = Commands(self._reactor, control, {"open": self.open, "lines": self.lines})

    def run(self) -> None:
        """Serve until the connection for commands ends."""
        self._reactor.run()

    def open(self, path: str) -> dict[str, Any]:
        """Open a log file for appending and write a greeting; files count as streams, in order."""
        self._files.append(os.open(path, os.O_WRONLY | os.O_APPEND))
        os.write(self._files[-1], records([GREETING]))
        return {"files": len(self._files)}

    def lines(self, plan: dict[str, Any]) -> None:
        """Write lines as planned, to all files; answers when the last one was written."""
        schedule = replace(LinePlan(**plan), hold_off_s=HOLD_OFF_S)
        sources = [LineSource(schedule, stream) for stream in range(len(self._files))]
        filler = "." * (schedule.line_bytes - DIGITS)

        def hand_over(batch: Batch) -> None:
            numbers = range(batch.first, batch.first + batch.lines)
            text = records([f"{number:0{DIGITS}d}{filler}" for number in numbers])
            os.write(self._files[batch.stream], text)

        Pacer(
            self._reactor, sources, hand_over, lambda: self._commands.reply(**handed_over(sources))
        )


def records(lines: list[str]) -> bytes:
    """Return lines as CRI records of this moment."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
    return "".join(f"{at} stdout F {line}\n" for line in lines).encode()


if __name__ == "__main__":
    NodeLog(Path(sys.argv[1])).run()
