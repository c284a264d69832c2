"""What a log aggregator must do, and the one that is ClickHouse."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, NamedTuple, Protocol

import trio

from customer_stub.clickhouse_writer import ClickHouseWriter, WriteFailed, encode, timestamp
from customer_stub.collector.follower import LogSource
from customer_stub.collector.records import Entry

TABLE = "otel.otel_logs"
CHUNK_ROWS = 200  # encoded at a time: 1.4 ms (measured); then others run


class SinkFailed(Exception):
    """Rows were not taken, or nobody knows. `retryable`: the same rows may be later."""

    def __init__(self, *, retryable: bool) -> None:
        super().__init__("the log aggregator did not take the rows")
        self.retryable = retryable


class Collected(NamedTuple):
    """A record and whose it is."""

    source: LogSource
    entry: Entry


class Sink(Protocol):
    """Takes rows at least once; who reads them drops repeated numbers."""

    async def insert(self, rows: list[Collected]) -> None:
        """Store rows, all or none.

        Raises:
            SinkFailed: it could not, or did not answer.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections; may be called while cancelled."""
        ...


class ClickHouseSink:
    """Rows of OpenTelemetry's table `otel_logs`.

    Args:
        writer: inserts.
    """

    def __init__(self, writer: ClickHouseWriter) -> None:
        self._writer = writer

    async def insert(self, rows: list[Collected]) -> None:
        """See `Sink`."""
        lines: list[str] = []
        for start in range(0, len(rows), CHUNK_ROWS):
            lines += [encode(otel_row(*row)) for row in rows[start : start + CHUNK_ROWS]]
            await trio.lowlevel.checkpoint()
        try:
            await self._writer.insert_lines(TABLE, lines)
        except WriteFailed as error:
            raise SinkFailed(retryable=error.retryable) from None

    async def aclose(self) -> None:
        """See `Sink`."""
        await self._writer.__aexit__(None, None, None)


def otel_row(source: LogSource, entry: Entry) -> dict[str, Any]:
    """Return one row of `otel_logs`.

    Bytes that are no UTF-8 by themselves (a piece may end inside a character) are in `Body` with
    replacement characters, and as they are in the attribute `planesplit.base64`.
    """
    body, attributes = log_attributes(source.restart, entry)
    return {
        "Timestamp": timestamp(entry.at_ns),
        "ServiceName": source.resource["k8s.pod.name"],
        "Body": body,
        "ResourceAttributes": source.resource,
        "LogAttributes": attributes,
    }


def log_attributes(restart: int, entry: Entry) -> tuple[str, dict[str, str]]:
    """Return a record's text and its attributes."""
    attributes = {
        "log.iostream": entry.stream,
        "planesplit.restart": str(restart),
        "planesplit.sequence": str(entry.sequence),
    }
    flags = {"partial": entry.partial, "file_start": entry.file_start, "end": entry.end}
    attributes |= {f"planesplit.{name}": "true" for name, value in flags.items() if value}
    try:
        return entry.content.decode(), attributes
    except UnicodeDecodeError:
        attributes["planesplit.base64"] = b64encode(entry.content).decode()
        return entry.content.decode(errors="replace"), attributes
