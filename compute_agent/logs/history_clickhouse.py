"""Reads logs from the customer's ClickHouse: the table `otel_logs` of OpenTelemetry's exporter.

Every query names the whole of the log that the caller was authorised for, has typed parameters and
bounds of its own, and follows the table's sorting key, so that a page costs what it returns.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import trio

from compute_agent.attempts import Attempt
from compute_agent.clickhouse import ClickHouse
from compute_agent.logs.cri import NO_OFFSET, Record
from compute_agent.logs.history import At, HistoryDown, LogId, Row
from compute_agent.logs.settings import HistoryLimits
from tunnel.token import TokenUnreadable

MAX_MEMORY_BYTES = 1_073_741_824
READ_BYTES = 262_144

_RESTART = "toUInt64OrZero(LogAttributes['planesplit.restart'])"
_SEQUENCE = "toUInt64OrZero(LogAttributes['planesplit.sequence'])"
_ACTION = """ResourceAttributes['planesplit.org'] = {org:String}
  AND ResourceAttributes['planesplit.project'] = {project:String}
  AND ResourceAttributes['planesplit.domain'] = {domain:String}
  AND ResourceAttributes['planesplit.run'] = {run:String}
  AND ResourceAttributes['planesplit.action'] = {action:String}"""
_LOG = f"""{_ACTION}
  AND ResourceAttributes['k8s.pod.uid'] = {{uid:String}}
  AND ResourceAttributes['k8s.container.name'] = {{container:String}}
  AND ResourceAttributes['planesplit.attempt'] = {{attempt:String}}"""
_COLUMNS = f"""{_RESTART} AS restart, {_SEQUENCE} AS sequence,
  toUnixTimestamp64Nano(Timestamp) AS at_ns, Body AS body,
  LogAttributes['log.iostream'] AS stream, LogAttributes['planesplit.partial'] AS partial,
  LogAttributes['planesplit.base64'] AS base64, LogAttributes['planesplit.end'] AS last"""

_FIND = f"""SELECT ResourceAttributes['k8s.pod.uid'] AS uid,
  toUInt32OrZero(ResourceAttributes['planesplit.attempt']) AS attempt
FROM otel_logs WHERE {_ACTION}
  AND ResourceAttributes['k8s.container.name'] = {{container:String}}
  AND ({{attempt:UInt32}} = 0 OR attempt = {{attempt:UInt32}})
GROUP BY uid, attempt ORDER BY attempt DESC, max(Timestamp) DESC LIMIT 1"""  # noqa: S608 - constants of this file
_PAGE = f"""SELECT {_COLUMNS} FROM otel_logs WHERE {_LOG}
  AND ({_RESTART} > {{restart:UInt64}}
    OR ({_RESTART} = {{restart:UInt64}} AND {_SEQUENCE} >= {{sequence:UInt64}}))
ORDER BY restart, sequence LIMIT 1 BY restart, sequence LIMIT {{rows:UInt32}}"""  # noqa: S608 - constants of this file
_PAGE_BEFORE = f"""SELECT {_COLUMNS} FROM otel_logs WHERE {_LOG}
  AND ({_RESTART} < {{restart:UInt64}}
    OR ({_RESTART} = {{restart:UInt64}} AND {_SEQUENCE} < {{sequence:UInt64}}))
ORDER BY restart DESC, sequence DESC LIMIT 1 BY restart, sequence LIMIT {{rows:UInt32}}"""  # noqa: S608 - constants of this file
_SINCE = f"""SELECT {_RESTART} AS restart, {_SEQUENCE} AS sequence
FROM otel_logs WHERE {_LOG}
  AND Timestamp >= fromUnixTimestamp64Nano({{at_ns:Int64}})
ORDER BY restart, sequence LIMIT 1"""  # noqa: S608 - constants of this file
_FILE_START = f"""SELECT DISTINCT {_SEQUENCE} AS sequence FROM otel_logs WHERE {_LOG}
  AND {_RESTART} = {{restart:UInt64}} AND LogAttributes['planesplit.file_start'] = 'true'
  AND Timestamp = fromUnixTimestamp64Nano({{at_ns:Int64}}) LIMIT 2"""  # noqa: S608 - constants of this file

_BEHIND_ALL = At(2**32, 0)

Json = dict[str, Any]
T = TypeVar("T")


class ClickHouseHistory:
    """The aggregator, as `History` describes it.

    Args:
        clickhouse: makes the client; used in threads.
        limits: bounds.
    """

    def __init__(self, clickhouse: ClickHouse, limits: HistoryLimits) -> None:
        self._clickhouse, self._limits = clickhouse, limits
        self._threads = trio.CapacityLimiter(limits.max_queries)

    async def find(self, attempt: Attempt, container: str, *, latest: bool) -> LogId | None:
        """See `History`."""
        parameters = {
            **_action(attempt),
            "container": container,
            "attempt": 0 if latest else attempt.attempt,
        }
        found = await self._query(_FIND, parameters, _found)
        return LogId(attempt.numbered(found[0][0]), found[0][1], container) if found else None

    async def page(self, log: LogId, start: At, hint_ns: int) -> list[Row]:
        """See `History`; the table is sorted by number, so the hint isn't needed."""
        return await self._query(_PAGE, {**self._page(log), **_at(start)}, _row)

    async def page_before(self, log: LogId, stop: At | None) -> list[Row]:
        """See `History`."""
        parameters = {**self._page(log), **_at(stop or _BEHIND_ALL)}
        return (await self._query(_PAGE_BEFORE, parameters, _row))[::-1]

    async def first_since(self, log: LogId, since_ns: int) -> At | None:
        """See `History`."""
        found = await self._query(_SINCE, {**_log(log), "at_ns": since_ns}, _place)
        return found[0] if found else None

    async def file_start(self, log: LogId, restart: int, stamp_ns: int) -> int | None:
        """See `History`."""
        parameters = {**_log(log), "restart": restart, "at_ns": stamp_ns}
        found = await self._query(_FILE_START, parameters, _sequence)
        return found[0] if len(found) == 1 else None

    def _page(self, log: LogId) -> Json:
        return {**_log(log), "rows": self._limits.page_rows}

    async def _query(
        self, sql: str, parameters: Mapping[str, Any], take: Callable[[Json], T]
    ) -> list[T]:
        """Run one query in a thread, which is abandoned when the caller is cancelled.

        Args:
            take: makes of a row what it stands for; rows may be malformed.
        """

        def work() -> list[T]:
            return self._read(sql, parameters, take)

        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    def _read(self, sql: str, parameters: Mapping[str, Any], take: Callable[[Json], T]) -> list[T]:
        from clickhouse_connect.driver.exceptions import Error

        try:
            client = self._clickhouse.client()
            with client.raw_stream(
                sql, parameters=dict(parameters), settings=self._settings(), fmt="JSONEachRow"
            ) as source:
                return [take(row) for row in _rows(source.read, self._limits.page_bytes)]
        except (
            Error,
            OSError,
            TokenUnreadable,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
        ):
            # The password may have been changed; errors quote statements and rows.
            self._clickhouse.forget()
            raise HistoryDown from None

    def _settings(self) -> Json:
        return {
            "max_execution_time": max(int(self._limits.request_s), 1),
            "timeout_overflow_mode": "throw",
            "max_memory_usage": MAX_MEMORY_BYTES,
            "max_threads": 2,
            # Else keys of maps are read as columns, which the sorting key doesn't know: measured
            # 0.65 s instead of 0.05 s for a page of a log of 600,000 records.
            "optimize_functions_to_subcolumns": 0,
            "output_format_json_quote_64bit_integers": 0,
            "cancel_http_readonly_queries_on_client_close": 1,
            "readonly": 1,
        }


def _rows(read: Callable[[int], bytes], limit_bytes: int) -> list[Json]:
    """Read lines of JSON until there are no more or enough."""
    rows: list[Json] = []
    torn, size = b"", 0
    while block := read(READ_BYTES):
        size += len(block)
        *lines, torn = (torn + block).split(b"\n")
        rows += [json.loads(line) for line in lines if line]
        if size >= limit_bytes and rows:
            return rows
    if torn:
        rows.append(json.loads(torn))
    return rows


def _row(row: Json) -> Row:
    content = b64decode(row["base64"]) if row["base64"] else row["body"].encode()
    stream = str(row["stream"]).encode()
    record = Record(
        NO_OFFSET,
        NO_OFFSET,
        stream,
        row["partial"] != "true",
        int(row["at_ns"]) if stream else 0,
        content,
        int(row["sequence"]),
    )
    return Row(int(row["restart"]), record, row["last"] == "true")


def _found(row: Json) -> tuple[int, str]:
    return int(row["attempt"]), str(row["uid"])


def _place(row: Json) -> At:
    return At(int(row["restart"]), _sequence(row))


def _sequence(row: Json) -> int:
    return int(row["sequence"])


def _action(attempt: Attempt) -> Json:
    names = ("org", "project", "domain", "run", "action")
    return {name: getattr(attempt, name) for name in names}


def _log(log: LogId) -> Json:
    number = str(log.attempt.attempt)
    return {**_action(log.attempt), "uid": log.uid, "container": log.container, "attempt": number}


def _at(at: At) -> Json:
    return {"restart": at.restart, "sequence": at.sequence}
