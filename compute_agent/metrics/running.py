"""Statements that run in ClickHouse: each is read by a thread of its own, as fast as it is taken.

`read` of 256 KiB in a thread costs 0.2 to 0.8 CPU s/GB, httpx on trio 0.9 to 1.3 (measured): so it
is clickhouse-connect's stream that is read.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import trio
from connectrpc.code import Code

from compute_agent.clickhouse import ClickHouse, ClickHouseSettings
from compute_agent.metrics.engine import QueryFailed, Statement
from compute_agent.metrics.failures import (
    HELD_BYTES,
    REFUSED_LOGIN,
    cut_exception,
    failure,
    unreachable,
)
from compute_agent.metrics.handoff import Handoff, HandoffClosed
from compute_agent.metrics.settings import MetricsLimits
from tunnel.token import TokenUnreadable

if TYPE_CHECKING:
    from urllib3 import HTTPResponse

TAG_HEADER = "X-ClickHouse-Exception-Tag"
QUERY_ID_BYTES = 12  # 96 random bits: nobody guesses another's
FLUSH_S = 0.05  # what has come is handed over after so long, even if it is little
KILL = "KILL QUERY WHERE query_id = {id:String} ASYNC"


class ClickHouseEngine:
    """Runs statements in ClickHouse, a limited number at once.

    Args:
        settings: where it is.
        limits: bounds of a query.
    """

    def __init__(self, settings: ClickHouseSettings, limits: MetricsLimits) -> None:
        self._limits = limits
        self._access = ClickHouse(settings, limits.max_execution_s + limits.cancel_s)
        self._control = ClickHouse(settings, limits.cancel_s)
        self._slots = threading.BoundedSemaphore(limits.max_queries)

    def start(self, statement: Statement) -> RunningQuery:
        """See Engine."""
        if not self._slots.acquire(blocking=False):
            text = f"{self._limits.max_queries} queries are running already; try again"
            raise QueryFailed(Code.RESOURCE_EXHAUSTED, text)
        query = RunningQuery(self._access, self._control, statement, self._limits)
        trio.lowlevel.start_thread_soon(query.run, lambda _: self._slots.release())
        return query


class RunningQuery:
    """One statement and its result.

    Args:
        access: for the statement.
        control: for its cancellation.
        statement: what to run.
        limits: bounds.
    """

    def __init__(
        self, access: ClickHouse, control: ClickHouse, statement: Statement, limits: MetricsLimits
    ) -> None:
        self._access, self._control = access, control
        self._statement, self._limits = statement, limits
        self._id = f"planesplit-{os.urandom(QUERY_ID_BYTES).hex()}"
        self._until = time.monotonic() + limits.max_execution_s + limits.cancel_s
        self._handoff = Handoff()
        self._abandoned = False

    # In the task.

    async def read(self) -> bytes:
        """See Result."""
        return await self._handoff.get()

    def close(self) -> None:
        """See Result. Another thread tells ClickHouse, which frees the reading one."""
        self._handoff.close()
        if not self._handoff.ended and not self._abandoned:
            self._abandoned = True
            trio.lowlevel.start_thread_soon(self._kill, lambda _: None)

    # In threads.

    def run(self) -> None:
        """Run the statement and hand its result over; never raises."""
        found: QueryFailed | None = None
        try:
            self._run()
        except HandoffClosed:
            pass
        except TimeoutError:
            text = "the result was not read in time; ask for less"
            found = QueryFailed(Code.DEADLINE_EXCEEDED, text)
        except QueryFailed as error:
            found = error
        except Exception as error:
            found = self._explain(error)
        with suppress(HandoffClosed):
            self._handoff.end(found)

    def _run(self) -> None:
        if self._abandoned:
            return
        response = self._open()
        try:
            self._pass_on(response)
        finally:
            response.close()

    def _open(self) -> HTTPResponse:
        limits, statement = self._limits, self._statement
        settings: dict[str, Any] = {
            "query_id": self._id,
            "max_execution_time": limits.max_execution_s,
            "timeout_overflow_mode": "throw",
            "max_result_rows": limits.max_result_rows,
            "max_result_bytes": limits.max_result_bytes,
            "result_overflow_mode": "throw",
            "max_memory_usage": limits.max_memory_bytes,
            "max_threads": limits.max_threads,
            "date_time_output_format": "iso",
            "output_format_json_quote_64bit_integers": 0,
        }
        client = self._access.client()
        fixed = client.server_settings.get("readonly")
        if fixed is None or not fixed.readonly:  # else the user is read-only, and cannot say so
            settings["readonly"] = 1  # the last: nothing can be set after it
        stream = client.raw_stream(
            statement.sql, dict(statement.values), settings, fmt=statement.format
        )
        return cast("HTTPResponse", stream)

    def _pass_on(self, response: HTTPResponse) -> None:
        """Hand a body over, but for its last 16 KiB, which may turn out to be an error.

        Raises:
            QueryFailed: ClickHouse ended it with an error, or not at all.
        """
        tag = response.headers.get(TAG_HEADER)
        tail, broken = bytearray(), False
        enough = HELD_BYTES + self._limits.read_bytes
        handed = time.monotonic()
        pieces = response.stream(self._limits.read_bytes, decode_content=False)
        while True:
            try:
                piece = next(pieces, b"")
            except Exception:  # its text quotes bytes of the body
                piece, broken = b"", True
            if not piece:
                break
            if self._abandoned:
                raise HandoffClosed
            tail += piece
            now = time.monotonic()
            if len(tail) >= enough or (now - handed >= FLUSH_S and len(tail) > HELD_BYTES):
                self._handoff.put(bytes(tail[:-HELD_BYTES]), self._until - now)
                del tail[:-HELD_BYTES]
                handed = now
        data, code = cut_exception(bytes(tail), tag)
        if code is not None:
            raise failure(code)
        if broken:
            raise unreachable()
        if data:
            self._handoff.put(data, self._until - time.monotonic())

    def _explain(self, error: Exception) -> QueryFailed:
        """Say what clickhouse-connect's error means, without its text."""
        from clickhouse_connect.driver import exceptions

        code = getattr(error, "code", None)
        if code == REFUSED_LOGIN:
            self._access.forget()
        if code is not None:
            return failure(code)
        match error:
            case exceptions.ProgrammingError():
                text = "ClickHouse does not let the agent's user limit its queries"
                return QueryFailed(Code.INTERNAL, text)
            case TokenUnreadable():
                text = "the agent cannot read its password for ClickHouse"
                return QueryFailed(Code.UNAVAILABLE, text)
            case exceptions.OperationalError() | OSError():
                return unreachable()
            case _:
                return QueryFailed(Code.INTERNAL, "ClickHouse's answer was not understood")

    def _kill(self) -> None:
        with suppress(Exception):  # its own limits end it
            self._control.client().command(KILL, parameters={"id": self._id})
