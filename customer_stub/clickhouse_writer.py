"""Inserts rows into a ClickHouse over its HTTP interface; for the feeder and the log collector."""

from __future__ import annotations

import json
import random
import re
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import trio

from customer_stub.settings import ClickHouseTarget
from tunnel.settings import SettingError

NS = 1_000_000_000
MAX_SECRET_BYTES = 4096
MAX_ERROR_BYTES = 4096
FIRST_PAUSE_S = 0.2  # doubles with every failure, with jitter, up to the target's max_pause_s
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_RETRYABLE_CODES = {
    159,  # TIMEOUT_EXCEEDED
    202,  # TOO_MANY_SIMULTANEOUS_QUERIES
    241,  # MEMORY_LIMIT_EXCEEDED
    252,  # TOO_MANY_PARTS
    394,  # QUERY_WAS_CANCELLED
}

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

Row = Mapping[str, Any]


class WriteFailed(Exception):
    """An insert failed. `code` is ClickHouse's error code, 0 when there was no answer.

    `retryable` tells whether the same rows may succeed later.
    """

    def __init__(self, code: int, *, retryable: bool) -> None:
        super().__init__(f"the insert failed with code {code}" if code else "no answer")
        self.code, self.retryable = code, retryable


class ClickHouseWriter:
    """Inserts rows as JSONEachRow; an async context manager.

    Args:
        target: where ClickHouse is and who writes.
        transport: another way to reach it, for tests.

    Raises:
        SettingError: the URL, the password file or the CA file can't be used.
    """

    def __init__(
        self, target: ClickHouseTarget, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._target = target
        self._http = httpx.AsyncClient(
            base_url=_checked(target.url),
            headers={"X-ClickHouse-User": target.user, "X-ClickHouse-Key": _password(target)},
            timeout=httpx.Timeout(target.write_s),
            verify=_context(target),
            limits=httpx.Limits(max_connections=4),
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> ClickHouseWriter:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self._http.aclose()

    async def insert(self, table: str, rows: Iterable[Row]) -> int:
        """Insert rows once, all or none of them; return how many there were.

        The same rows again are one insert to a table that deduplicates (`otel_*` here do), so an
        insert whose answer was lost may be repeated.

        Raises:
            WriteFailed: refused or not answered within the target's `write_s`.
            ValueError: the table's name is none.
        """
        return await self.insert_lines(table, [encode(row) for row in rows])

    async def insert_lines(self, table: str, lines: list[str]) -> int:
        """Insert rows that `encode` has encoded, as `insert` does.

        Raises:
            WriteFailed: refused or not answered within the target's `write_s`.
            ValueError: the table's name is none.
        """
        if not _TABLE.fullmatch(table):
            raise ValueError("a table is named database.table")
        if not lines:
            return 0
        parameters = {
            "query": f"INSERT INTO {table} FORMAT JSONEachRow",
            "date_time_input_format": "best_effort",
        }
        body = "\n".join(lines).encode(errors="replace")
        await self._post(parameters, body)
        return len(lines)

    async def insert_patiently(self, table: str, rows: Iterable[Row]) -> int:
        """Insert rows, again and again with growing pauses while ClickHouse is away.

        Raises:
            WriteFailed: only when the rows themselves are refused.
        """
        batch = list(rows)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self.insert(table, batch)
            except WriteFailed as error:
                if not error.retryable:
                    raise
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, self._target.max_pause_s)

    async def _post(self, parameters: dict[str, str], body: bytes) -> None:
        request = self._http.build_request("POST", "/", params=parameters, content=body)
        try:
            with trio.fail_after(self._target.write_s):
                answer = await self._http.send(request, stream=True)
                try:
                    await _drain(answer)
                finally:
                    with trio.CancelScope(shield=True):
                        await answer.aclose()
        except (httpx.HTTPError, trio.TooSlowError):  # they carry URL and rows
            raise WriteFailed(0, retryable=True) from None
        if answer.status_code == 200 and "x-clickhouse-exception-code" not in answer.headers:
            return
        code = _code(answer)
        later = code in _RETRYABLE_CODES or answer.status_code in (429, 502, 503, 504)
        raise WriteFailed(code, retryable=later)


def encode(row: Row) -> str:
    """Return a row as a line of JSONEachRow, without newline."""
    return _ENCODER.encode(row)


def timestamp(time_ns: int) -> str:
    """Return nanoseconds since the epoch as a DateTime64(9) that JSONEachRow takes, UTC."""
    seconds, fraction = divmod(time_ns, NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{fraction:09d}"


async def _drain(answer: httpx.Response) -> None:
    size = 0
    async for chunk in answer.aiter_bytes():
        size += len(chunk)
        if size > MAX_ERROR_BYTES:
            return


def _code(answer: httpx.Response) -> int:
    text = answer.headers.get("x-clickhouse-exception-code", "")
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError("setting 'clickhouse.url' must be http://host:port or https://host:port")
    return url


def _password(target: ClickHouseTarget) -> str:
    if not target.password_file:
        return ""
    try:
        with Path(target.password_file).open(encoding="utf-8") as file:
            return file.read(MAX_SECRET_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        raise SettingError(
            f"setting 'clickhouse.password_file': cannot read '{target.password_file}'"
        ) from None


def _context(target: ClickHouseTarget) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=target.ca_file or None)
    except OSError:  # ssl.SSLError is one
        raise SettingError(f"setting 'clickhouse.ca_file': cannot use '{target.ca_file}'") from None
