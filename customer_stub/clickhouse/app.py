"""The HTTP interface of ClickHouse as an ASGI application over an engine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import trio

from customer_stub.clickhouse import errors
from customer_stub.clickhouse.answer import Answer, Broken, Header, Send
from customer_stub.clickhouse.engine import Chunk
from customer_stub.clickhouse.errors import QueryError
from customer_stub.clickhouse.policy import Policy
from customer_stub.clickhouse.queries import Queries
from customer_stub.clickhouse.request import (
    Receive,
    Request,
    Scope,
    fields_of,
    headers_of,
    read,
)
from customer_stub.clickhouse.settings import ClickHouseSettings, UserSettings
from customer_stub.clickhouse.statement import Kill, Prepared, prepared
from customer_stub.clickhouse.users import Users
from tunnel.http.disconnect import until_disconnected
from tunnel.journal import Journal

HEALTH = {"/ping": b"Ok.\n", "/replicas_status": b"Ok.\n"}
NO_QUERY_ID = "-"


class ClickHouseApp:
    """Answers queries.

    Args:
        queries: runs them; its `run` has to be running.
        users: who may connect.
        rules: what they may say.
        settings: limits.
        journal: told of codes, durations and numbers; never of statements, data or messages.
    """

    def __init__(
        self,
        queries: Queries,
        users: Users,
        rules: Policy,
        *,
        settings: ClickHouseSettings,
        journal: Journal,
    ) -> None:
        self._queries, self._users, self._rules = queries, users, rules
        self._settings, self._journal = settings, journal
        self._free = settings.max_requests
        self._common: list[Header] = [
            (b"x-clickhouse-server-display-name", settings.display_name.encode()),
            (b"x-clickhouse-timezone", queries.engine.timezone.encode()),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if (healthy := _health(scope)) is not None:
            await _plain(send, 200, healthy)
        elif scope["path"] != "/":
            await _plain(send, 404, b"There is no handle for this path.\n")
        else:
            self._free -= 1
            try:
                await self._http(scope, receive, send)
            finally:
                self._free += 1

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = trio.current_time()
        call = _Call()
        try:
            try:
                await self._answer(call, scope, receive, send)
            except QueryError as error:  # before there was a query
                call.code = error.code
                await self._new_answer(send, NO_QUERY_ID).fail(error)
        except* Broken:
            raise Broken from None  # the server cuts the connection
        except* Exception as group:
            self._journal.event("internal_error", kind=type(group.exceptions[0]).__name__)
            raise  # the server answers 500, or cuts a running answer
        finally:
            self._journal.event(
                "query",
                user=call.user,
                kind=call.kind,
                code=call.code,
                rows=call.rows,
                bytes=call.bytes,
                seconds=round(trio.current_time() - started, 6),
            )

    async def _answer(self, call: _Call, scope: Scope, receive: Receive, send: Send) -> None:
        if self._free < 0:
            raise errors.too_many_queries()
        headers, fields = headers_of(scope), fields_of(scope, self._settings)
        user = self._users.authenticate(headers, fields)
        call.user = user.name
        if scope["method"] not in ("GET", "POST"):
            raise errors.not_implemented("This method")
        request = await read(scope, receive, headers, fields, self._settings)
        request.check()
        answer = self._new_answer(send, request.query_id, request.coding)
        with request.body:
            await self._until_left(call, request, user, answer, receive)

    async def _until_left(
        self, call: _Call, request: Request, user: UserSettings, answer: Answer, receive: Receive
    ) -> None:
        """Run a query until it ends or its client has gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_disconnected, receive, nursery.cancel_scope)
            try:
                await self._run(call, request, user, answer)
            except QueryError as error:
                call.code = error.code
                await answer.fail(error)
            nursery.cancel_scope.cancel()

    async def _run(self, call: _Call, request: Request, user: UserSettings, answer: Answer) -> None:
        with ExitStack() as stack:
            context = prepared(request, user, self._rules, self._settings)
            found = await trio.to_thread.run_sync(stack.enter_context, context)
            if isinstance(found, Kill):
                call.kind = "kill"
                call.code = 0
                await _answer_kill(self._queries, found, user, answer)
                return
            call.kind = "stream" if found.job.stream else "whole"
            await self._execute(call, request, user, found, answer)

    async def _execute(
        self, call: _Call, request: Request, user: UserSettings, found: Prepared, answer: Answer
    ) -> None:
        hold = self._settings.wait_bytes if request.flag("wait_end_of_query") else 0
        answer.prepare(found.format, hold_bytes=hold)
        query = await self._queries.start(found.job, user, request.query_id, limit_s=found.limit_s)
        try:
            while (chunk := await query.next()) is not None:
                call.rows += chunk.rows
                call.bytes += len(chunk.data)
                await answer.add(chunk)
            query.finish()
            call.code = 0  # with its last byte the client may be gone
            await answer.end()
        finally:
            query.stop(errors.cancelled())

    def _new_answer(self, send: Send, query_id: str, coding: str = "") -> Answer:
        version = self._queries.engine.version
        return Answer(send, query_id=query_id, version=version, common=self._common, coding=coding)


class _Call:
    """What the journal is told of a request."""

    def __init__(self) -> None:
        self.user, self.kind = "-", "-"
        self.code = errors.cancelled().code  # until it has ended otherwise
        self.rows = self.bytes = 0


async def _answer_kill(queries: Queries, kill: Kill, user: UserSettings, answer: Answer) -> None:
    """Answer as KILL QUERY does, without the text of the query: one line, or none."""
    killed = queries.kill(kill.query_id, user.name)
    line = f"waiting\t{kill.query_id}\t{user.name}\t\n".encode() if killed else b""
    answer.prepare("TabSeparated", hold_bytes=0)
    await answer.add(Chunk(line, int(killed), 0, 0))
    await answer.end()


def _health(scope: Mapping[str, Any]) -> bytes | None:
    if scope["method"] not in ("GET", "HEAD"):
        return None
    if scope["path"] == "/" and not scope["query_string"]:
        return b"Ok.\n"
    return HEALTH.get(scope["path"])


async def _plain(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/html; charset=UTF-8")]
    headers.append((b"content-length", str(len(text)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text, "more_body": False})
