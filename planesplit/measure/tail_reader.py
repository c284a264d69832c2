"""Reads lines that a real agent has sent: TailLogs messages (flyteidl2)."""

from __future__ import annotations

from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse

from planesplit.measure.lines import Batch, LineReader
from planesplit.measure.node_log import DIGITS


class TailReader(LineReader):
    """A LineReader for one tail.

    Args:
        stream: which one it is.
    """

    def __init__(self, stream: int) -> None:
        super().__init__()
        self._stream = stream

    def read(self, message: bytes, at_s: float) -> list[Batch]:
        """Return the batches of one message.

        Raises:
            ValueError: lines are missing in the middle of it, or doubled.
        """
        return [
            batch
            for logs in TailLogsResponse.FromString(message).logs
            for batch in self._batch([line.message for line in logs.lines], at_s)
        ]

    def _batch(self, lines: list[str], at_s: float) -> list[Batch]:
        numbers = [int(line[:DIGITS]) for line in lines if line[:DIGITS].isdecimal()]
        if not numbers:
            return []  # the greeting
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise ValueError("a message has a gap or a line twice")
        return [Batch(self._stream, numbers[0], len(numbers), at_s)]
