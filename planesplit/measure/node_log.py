"""A node's container logs: CRI records appended to files when their lines are due.

`python -m planesplit.measure.node_log CONTROL_SOCKET`
"""

from __future__ import annotations

import os
import select
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from planesplit.measure.histogram import Histogram
from planesplit.measure.lines import Batch, LinePlan, LineSource
from planesplit.measure.pace import Pacer, handed_over, paced
from planesplit.measure.reactor import Commands, Reactor
from planesplit.measure.tally import SendTally
from planesplit.measure.timer import Timer

HOLD_OFF_S = 0.0002  # a container runtime writes lines as they come; this bounds its writes
GREETING = "ready"  # so that a tail has something to answer with
DIGITS = 10
MARK_BYTES = 6  # "#", the stream in four digits, "#"
CALIBRATE_S = 0.4
TIMER_TRIALS, TIMER_STEP_S = 200, 0.001


class NodeLog:
    """The files and what is asked of them.

    Args:
        control: where commands come from.
    """

    def __init__(self, control: Path) -> None:
        self._reactor = Reactor()
        self._files: list[int] = []
        self._tally: SendTally | None = None
        self._commands = Commands(
            self._reactor,
            control,
            {
                "open": self.open,
                "lines": self.lines,
                "pace": self.pace,
                "sent": self.sent,
                "calibrate": self.calibrate,
            },
        )

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
        write = partial(self._write, schedule)
        Pacer(self._reactor, sources, write, lambda: self._commands.reply(**handed_over(sources)))

    def pace(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Begin to write lines as planned; `sent` tells how far it is."""
        schedule = LinePlan(**plan)
        self._tally = paced(self._reactor, schedule, partial(self._write, schedule))
        return {}

    def sent(self) -> dict[str, Any]:
        """Answer with what was written since `pace`."""
        return self._tally.as_json() if self._tally else {}

    def calibrate(self, plan: dict[str, Any], path: str) -> dict[str, Any]:
        """Find out what this generator could do, writing to a file of its own.

        Args:
            plan: the schedule; batches are as large as its rate makes them.
            path: a file that does not exist yet.

        Returns:
            `ceiling_per_s`: lines a second, one batch after the other without a pause.
            `timer_p99_ms`: how late the timer is.
        """
        schedule = LinePlan(**plan)
        each = round(schedule.rate_per_s / schedule.streams * schedule.hold_off_s)
        size = min(max(each, 1), schedule.batch_lines)
        tally, written = SendTally(schedule), 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        began_s = time.monotonic()
        while (now_s := time.monotonic()) < began_s + CALIBRATE_S:
            batch = Batch(0, written, size, now_s)
            tally.add(batch, 0.0)
            os.write(descriptor, _text(schedule, batch))
            written += size
        os.close(descriptor)
        os.unlink(path)
        return {
            "ceiling_per_s": written / (time.monotonic() - began_s),
            "timer_p99_ms": _timer_error().percentile_ms(99),
        }

    def _write(self, plan: LinePlan, batch: Batch) -> None:
        os.write(self._files[batch.stream], _text(plan, batch))


def _text(plan: LinePlan, batch: Batch) -> bytes:
    """Return the records of a batch; a line that is followed says so, and of which stream it is."""
    filler = "." * (plan.line_bytes - DIGITS)
    marked = f"#{batch.stream:04d}#" + filler[MARK_BYTES:]
    followed = plan.sampled(batch)
    numbers = range(batch.first, batch.first + batch.lines)
    return records([f"{n:0{DIGITS}d}{marked if n in followed else filler}" for n in numbers])


def _timer_error() -> Histogram:
    found, timer = Histogram(), Timer()
    for _ in range(TIMER_TRIALS):
        at_s = time.monotonic() + TIMER_STEP_S
        timer.set(at_s)
        select.select([timer.fileno()], [], [])
        found.record(time.monotonic() - at_s)
    timer.close()
    return found


def records(lines: list[str]) -> bytes:
    """Return lines as CRI records of this moment."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    at = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
    return "".join(f"{at} stdout F {line}\n" for line in lines).encode()


if __name__ == "__main__":
    NodeLog(Path(sys.argv[1])).run()
