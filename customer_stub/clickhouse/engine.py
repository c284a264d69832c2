"""chdb as an engine of queries: blocking calls, for worker threads."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from customer_stub.clickhouse import errors
from customer_stub.clickhouse.errors import QueryError
from tunnel.settings import SettingError


@dataclass(frozen=True, slots=True)
class Job:
    """One query as the engine runs it.

    Attributes:
        sql: the statement, without payload in comments.
        format: name of the output format, unless the statement has a FORMAT clause.
        tag: identifies the running query to `Engine.kill`; letters and digits.
        stream: fetch block by block instead of making the answer as a whole.
        writes: an INSERT, whose rows are counted as written.
        parameters: values of {name:Type}, in ClickHouse's escaped text form.
        settings: applied in order before the statement.
        database: current database.
    """

    sql: str
    format: str
    tag: str
    stream: bool
    database: str = "otel"
    parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Sequence[tuple[str, str]] = ()
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer: a complete document of the format, and what it took so far."""

    data: bytes
    rows: int
    read_rows: int
    read_bytes: int
    written_rows: int = 0
    written_bytes: int = 0


class Cursor(Protocol):
    """A running query. Its calls block, one at a time."""

    def fetch(self) -> Chunk | None:
        """Return the next piece, None after the last; raises QueryError."""

    def close(self) -> None:
        """End the query and give its handle back; harmless when repeated."""


class Engine(Protocol):
    """What the front needs of an engine."""

    version: str
    timezone: str

    def open(self, job: Job) -> Cursor:
        """Start a query; raises QueryError."""

    def kill(self, tag: str) -> None:
        """Make the query with this tag fail soon, wherever it is; harmless if there is none."""


class ChdbEngine:
    """An engine over one directory. There can be only one per process.

    Args:
        directory: where tables lie.
        memory_bytes: bound of all queries together.

    Raises:
        SettingError: the directory can't be used.
    """

    def __init__(self, directory: Path, *, memory_bytes: int) -> None:
        _chdb: Any = importlib.import_module("chdb._chdb")  # half a second, and 175 MB mapped
        self._connect = _chdb.connect
        self._source = f"{directory}?max_server_memory_usage={memory_bytes}"
        try:
            self._control = self._connect(self._source)
        except RuntimeError:
            raise SettingError(f"setting 'data_dir': the engine cannot use '{directory}'") from None
        self._lock = threading.Lock()
        self.version, self.timezone = self._words("SELECT version(), timezone()")
        self.table_functions = self._words("SELECT name FROM system.table_functions")

    def execute(self, sql: str) -> None:
        """Run a statement of our own, without any limit.

        Raises:
            QueryError: it failed.
        """
        with self._lock:
            _call(self._control.query, sql, "Null", params={})

    def open(self, job: Job) -> ChdbCursor:
        """See `Engine`."""
        return ChdbCursor(self._connect(self._source), job)

    def kill(self, tag: str) -> None:
        """See `Engine`."""
        self.execute(f"KILL QUERY WHERE startsWith(query, '{_comment(tag)}') ASYNC")

    def close(self) -> None:
        """Give the control handle back."""
        with self._lock:
            self._control.close()

    def _words(self, sql: str) -> list[str]:
        answer: bytes = self._control.query(sql, "TSV", params={}).bytes()
        return answer.decode().split()


class ChdbCursor:
    """A query on a handle of its own.

    Args:
        handle: a connection that nobody else uses.
        job: what to run on it.

    Raises:
        QueryError: settings that the engine doesn't take, or a statement that it refuses at once.
    """

    def __init__(self, handle: Any, job: Job) -> None:
        self._handle, self._job = handle, job
        self._lock = threading.Lock()
        self._stream: Any = None
        self._done = self._closed = False
        try:
            self._prepare()
        except QueryError:
            handle.close()
            raise

    def fetch(self) -> Chunk | None:
        """See `Cursor`."""
        with self._lock:
            if self._done:
                return None
            return self._fetch_block() if self._job.stream else self._fetch_whole()

    def close(self) -> None:
        """See `Cursor`. Waits for a `fetch` of another thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._stream is not None and not self._done:
                self._handle.streaming_cancel_query(self._stream)
            self._done, self._stream = True, None
            self._handle.close()

    def _prepare(self) -> None:
        _call(self._handle.query, f"USE {_quoted_name(self._job.database)}", "Null", params={})
        if self._job.settings:
            pairs = ", ".join(f"{name} = {_quoted(value)}" for name, value in self._job.settings)
            _call(self._handle.query, f"SET {pairs}", "Null", params={})
        self._sql = f"{_comment(self._job.tag)}{self._job.sql}"
        self._parameters = dict(self._job.parameters)

    def _fetch_block(self) -> Chunk | None:
        first = self._stream is None
        try:
            if self._stream is None:
                self._stream = _call(
                    self._handle.send_query,
                    self._sql,
                    self._job.format,
                    params=self._parameters,
                )
            block = _call(self._handle.streaming_fetch_result, self._stream)
        except QueryError:
            self._done = True
            raise
        if block is None or not block.rows_read():
            self._done = True  # an empty answer still has its header
            return _chunk(block) if first and block is not None and block.size() else None
        return _chunk(block)

    def _fetch_whole(self) -> Chunk:
        self._done = True
        whole = _chunk(
            _call(self._handle.query, self._sql, self._job.format, params=self._parameters)
        )
        if not self._job.writes:
            return whole
        rows = max(whole.rows, whole.read_rows)  # of data, or of the SELECT that feeds the INSERT
        return replace(whole, rows=0, written_rows=rows, written_bytes=whole.read_bytes)


def _chunk(block: Any) -> Chunk:
    return Chunk(
        block.bytes() or b"",
        block.rows_read(),
        block.storage_rows_read(),
        block.storage_bytes_read(),
    )


def _call(method: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return method(*arguments, **named)
    except RuntimeError as error:
        raise errors.from_engine(str(error)) from None
    except UnicodeDecodeError:  # the engine's message quotes data that is no text
        raise QueryError(117, "INCORRECT_DATA", "The data cannot be parsed.") from None


def _comment(tag: str) -> str:
    return f"/*planesplit:{tag}*/ "


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _quoted_name(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
