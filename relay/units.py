"""Sorts a stream's events into batches for the viewer: whole units, or bytes as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.connect_errors import ConnectCode, ConnectError
from relay.metrics import Reason
from tunnel.events import Data, End, Event, Head, Mark, Reset
from tunnel.exchange import ResponseHead


@dataclass(slots=True)
class Batch:
    """What goes to the viewer in one send.

    Args:
        head: the answer's head, if it comes with this batch.
        parts: buffers of `size` bytes together.
        outcome: End or Reset when nothing follows.
    """

    head: ResponseHead | None = None
    parts: list[memoryview] = field(default_factory=list)
    size: int = 0
    outcome: End | Reset | None = None

    @property
    def plain(self) -> bool:
        """Whether it is payload alone."""
        return self.head is None and self.outcome is None


class Units:
    """Turns events into batches and remembers where a resume may continue.

    Args:
        hold: whether bytes wait for the MARK (or END) that completes their unit.
        max_unit_bytes: most bytes of a unit.
        batch_bytes: about how much goes into one batch.
    """

    def __init__(self, *, hold: bool, max_unit_bytes: int, batch_bytes: int) -> None:
        self._hold, self._max_unit_bytes, self._batch_bytes = hold, max_unit_bytes, batch_bytes
        self._unit: list[memoryview] = []
        self._unit_bytes = 0
        self.cursor = b""
        self.at_boundary = True
        self._progressed = False

    @property
    def held_bytes(self) -> int:
        """Bytes of the unfinished unit."""
        return self._unit_bytes

    def feed(self, events: list[Event]) -> Iterator[Batch]:
        """Yield batches; the last one carries the outcome, if there is one.

        Raises:
            ConnectError: INTERNAL: a unit over the limit.
        """
        batch = Batch()
        for event in events:
            self._take(event, batch)
            if batch.size >= self._batch_bytes:
                yield batch
                batch = Batch()
        if batch.size or batch.head or batch.outcome:
            yield batch

    def discard(self) -> int:
        """Forget the unfinished unit and return its bytes."""
        size = self._unit_bytes
        self._empty()
        return size

    def take_progress(self) -> bool:
        """Whether a head or a whole unit has come since the last call."""
        progressed, self._progressed = self._progressed, False
        return progressed

    def _take(self, event: Event, batch: Batch) -> None:
        if isinstance(event, Data):  # nearly all are Data and Mark
            self._on_data(event.view, batch)
        elif isinstance(event, Mark):
            self._complete(batch)
            self.cursor = event.cursor
            self.at_boundary = self._progressed = True
        else:
            self._take_rest(event, batch)

    def _take_rest(self, event: Event, batch: Batch) -> None:
        match event:
            case Head():
                batch.head = event.head
                self._progressed = True
            case End():
                self._complete(batch)
                batch.outcome = event
            case Reset():
                batch.outcome = event

    def _on_data(self, view: memoryview, batch: Batch) -> None:
        self._unit.append(view)
        self._unit_bytes += len(view)
        if not self._hold:
            self.at_boundary = False
            self._complete(batch)
        elif self._unit_bytes > self._max_unit_bytes:
            text = f"the agent sent a unit of more than {self._max_unit_bytes} bytes"
            raise ConnectError(ConnectCode.INTERNAL, Reason.AGENT_FAULT, text)

    def _complete(self, batch: Batch) -> None:
        batch.parts += self._unit
        batch.size += self._unit_bytes
        self._empty()

    def _empty(self) -> None:
        self._unit, self._unit_bytes = [], 0
