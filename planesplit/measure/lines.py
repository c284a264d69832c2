"""The open-loop schedule of lines: when each is due, how they are batched, what a batch says.

Every line has an intended time that does not move when something is slow; its latency counts from
there (otherwise a stall would hide the very lines it delayed: "coordinated omission").
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from planesplit.measure.unit import ENVELOPE, UNIT_BYTES

HEAD = struct.Struct(">III")  # stream, first line, lines
OVERHEAD_BYTES = ENVELOPE.size + HEAD.size


class Batch(NamedTuple):
    """Lines `first` to `first + lines - 1` of one stream, seen at `at_s`."""

    stream: int
    first: int
    lines: int
    at_s: float


@dataclass(frozen=True, slots=True)
class LinePlan:
    """Lines at a constant rate over several streams.

    Args:
        rate_per_s: lines a second, all streams together.
        duration_s: for how long.
        streams: the lines go round them in turn.
        line_bytes: size of one.
        start_s: monotonic time of the first line.
        hold_off_s, full_bytes: the agent's batching: the first line goes at once, then a batch no
            sooner than `hold_off_s` later unless `full_bytes` have come together.
        sample_every: every so many lines of a stream, one is followed from hop to hop; 0 for none.
    """

    rate_per_s: float
    duration_s: float
    streams: int = 1
    line_bytes: int = 200
    start_s: float = 0.0
    hold_off_s: float = 0.001
    full_bytes: int = 16_384
    sample_every: int = 0

    @property
    def lines(self) -> int:
        """Lines of each stream."""
        return max(1, round(self.rate_per_s * self.duration_s / self.streams))

    @property
    def end_s(self) -> float:
        """When the last line is due."""
        return self.start_s + self.duration_s

    @property
    def batch_lines(self) -> int:
        """Most lines of a batch: what fits a unit."""
        return (UNIT_BYTES - OVERHEAD_BYTES) // self.line_bytes

    def intended_s(self, stream: int, line: int) -> float:
        """When a line is due."""
        return self.start_s + (line * self.streams + stream) / self.rate_per_s

    def due(self, stream: int, now_s: float) -> int:
        """How many lines of a stream are due by now."""
        passed = (now_s - self.start_s) * self.rate_per_s
        return min(self.lines, max(0, math.floor((passed - stream) / self.streams) + 1))

    def latencies_s(self, batches: Iterable[Batch]) -> list[float]:
        """Return each line's time since it was intended, in seconds, ascending."""
        step = self.streams / self.rate_per_s
        found: list[float] = []
        for stream, first, count, at_s in batches:
            waited = at_s - self.intended_s(stream, first)
            found += [waited - i * step for i in range(count)]
        found.sort()
        return found

    def sampled(self, batch: Batch) -> range:
        """Return those lines of a batch that are followed."""
        every = self.sample_every
        if not every:
            return range(0)
        return range(-(-batch.first // every) * every, batch.first + batch.lines, every)

    def complete(self, batches: Iterable[Batch]) -> bool:
        """Whether every line is in these batches once, and each stream's are in order."""
        nexts = [0] * self.streams
        for stream, first, count, _ in batches:
            if first != nexts[stream]:
                return False
            nexts[stream] += count
        return all(number == self.lines for number in nexts)

    def message(self, batch: Batch) -> bytes:
        """Return a batch as a Connect message: which lines it has, and as many bytes as they."""
        size = batch.lines * self.line_bytes
        head = HEAD.pack(batch.stream, batch.first, batch.lines)
        return ENVELOPE.pack(0, HEAD.size + size) + head + bytes(size)

    def as_json(self) -> dict[str, Any]:
        """Return its fields."""
        return asdict(self)


class LineSource:
    """Makes one stream's batches, as the agent batches lines.

    Args:
        plan: the schedule.
        stream: which stream.
        keep: told of each batch and how late it is; kept in lists by default.
    """

    def __init__(
        self,
        plan: LinePlan,
        stream: int,
        keep: Callable[[Batch, float], None] | None = None,
    ) -> None:
        self.plan, self._stream = plan, stream
        self._keep = keep or self._keep_all
        self._next = 0
        self._last_s = -math.inf
        self.handed_over: list[Batch] = []
        self.late_s: list[float] = []

    @property
    def done(self) -> bool:
        """Whether every line was taken."""
        return self._next >= self.plan.lines

    def wake_s(self) -> float:
        """When the next batch is to be taken."""
        plan = self.plan
        last = min(self._next + plan.full_bytes // plan.line_bytes, plan.lines) - 1
        full_s = plan.intended_s(self._stream, last)
        held_s = min(self._last_s + plan.hold_off_s, full_s)
        return max(plan.intended_s(self._stream, self._next), held_s)

    def take(self) -> Batch:
        """Return the batch of lines that are due, at least one."""
        now_s, plan = time.monotonic(), self.plan
        late_s = now_s - self.wake_s()
        count = max(1, min(plan.due(self._stream, now_s) - self._next, plan.batch_lines))
        batch = Batch(self._stream, self._next, count, now_s)
        self._keep(batch, late_s)
        self._next += count
        self._last_s = now_s
        return batch

    def _keep_all(self, batch: Batch, late_s: float) -> None:
        self.handed_over.append(batch)
        self.late_s.append(late_s)


class LineReader:
    """Reads batches out of the bytes of a stream, split anywhere; empty messages are keepalives."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self.messages = 0  # that were not empty

    def read(self, message: bytes, at_s: float) -> list[Batch]:
        """Return the batches of one message."""
        stream, first, lines = HEAD.unpack_from(message)
        return [Batch(stream, first, lines, at_s)]

    def feed(self, data: memoryview, at_s: float) -> list[Batch]:
        """Return the batches that `data`, received at `at_s`, completes."""
        self._pending += data
        found = []
        while len(self._pending) >= ENVELOPE.size:
            _, size = ENVELOPE.unpack_from(self._pending)
            if len(self._pending) < ENVELOPE.size + size:
                break
            message = bytes(self._pending[ENVELOPE.size : ENVELOPE.size + size])
            del self._pending[: ENVELOPE.size + size]
            if message:
                self.messages += 1
                found += self.read(message, at_s)
        return found
