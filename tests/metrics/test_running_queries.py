"""A statement in ClickHouse: streamed, held back, cancelled, and every way to fail."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import trio
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError
from clickhouse_connect.driver.models import SettingDef
from connectrpc.code import Code
from fake_clickhouse import QUERY, TAG, Access, BodyServer, Client, Connection, body_server

from compute_agent.clickhouse import ClickHouseSettings
from compute_agent.metrics.engine import Format, QueryFailed, Statement
from compute_agent.metrics.failures import HELD_BYTES, cut_exception
from compute_agent.metrics.handoff import MAX_PIECES
from compute_agent.metrics.running import ClickHouseEngine, RunningQuery
from compute_agent.metrics.settings import MetricsLimits
from tunnel.token import TokenUnreadable

STATEMENT = Statement(QUERY.decode(), {"x": "1"}, Format.NATIVE)
LIMITS = MetricsLimits(read_bytes=65_536)
WITHIN_S = 5.0


def start(client: Client, access: Access | None = None, limits=LIMITS) -> RunningQuery:
    query = RunningQuery(access or Access(client), Access(client), STATEMENT, limits)
    trio.lowlevel.start_thread_soon(query.run, lambda _: None)
    return query


async def read_all(query: RunningQuery) -> bytes:
    found = []
    with trio.fail_after(WITHIN_S):
        while piece := await query.read():
            found.append(piece)
    return b"".join(found)


async def fails(query: RunningQuery) -> tuple[bytes, QueryFailed]:
    found = b""
    with trio.fail_after(WITHIN_S):
        while True:
            try:
                piece = await query.read()
            except QueryFailed as error:
                return found, error
            assert piece, "the query has not failed"
            found += piece


def whole(data: bytes, chunk_bytes: int):
    def body(to: Connection) -> None:
        to.head()
        for at in range(0, len(data), chunk_bytes):
            to.chunk(data[at : at + chunk_bytes])
        to.end()

    return body


@pytest.mark.parametrize("chunk_bytes", [1_000, 65_536, 1_000_000])
@pytest.mark.parametrize("size", [0, 1, HELD_BYTES, HELD_BYTES + 1, 1_234_567])
async def test_a_body_arrives_whole_however_it_was_cut(size: int, chunk_bytes: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))
    with body_server(whole(data, chunk_bytes)) as (_, client):
        assert await read_all(start(client)) == data
    assert client.killed == []


async def test_limits_go_with_the_query_and_readonly_is_the_last() -> None:
    with body_server(whole(b"", 1)) as (_, client):
        await read_all(start(client))
    ((sql, values, settings, result_format),) = client.asked
    assert (sql, values, result_format) == (STATEMENT.sql, STATEMENT.values, "Native")
    assert settings["max_execution_time"] == LIMITS.max_execution_s
    assert settings["max_result_rows"] == LIMITS.max_result_rows
    assert settings["max_result_bytes"] == LIMITS.max_result_bytes
    assert settings["max_memory_usage"] == LIMITS.max_memory_bytes
    assert settings["max_threads"] == LIMITS.max_threads
    assert list(settings)[-1] == "readonly"
    assert settings["readonly"] == 1


async def test_a_user_that_is_read_only_anyway_is_not_told_so() -> None:
    """With readonly = 2 everything may be set but `readonly` itself."""
    with body_server(whole(b"", 1)) as (_, client):
        client.server_settings["readonly"] = SettingDef("readonly", "2", 1)
        await read_all(start(client))
    assert "readonly" not in client.asked[0][2]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (159, Code.DEADLINE_EXCEEDED),
        (396, Code.RESOURCE_EXHAUSTED),
        (241, Code.RESOURCE_EXHAUSTED),
        (60, Code.INTERNAL),
    ],
)
@pytest.mark.parametrize("rows", [0, 500_000])
async def test_an_error_after_the_head_is_no_data(number: int, code: Code, rows: int) -> None:
    def body(to: Connection) -> None:
        to.head()
        if rows:
            to.chunk(bytes(rows))
        to.exception(number)

    with body_server(body) as (_, client):
        found, error = await fails(start(client))
    assert error.code is code
    assert "secret" not in str(error)
    assert b"exception" not in found


async def test_an_old_servers_error_is_text_at_the_end() -> None:
    text = b"Code: 159. DB::Exception: Timeout exceeded: 'secret'. (NAME) (version 23.8.1.1)\n"

    def body(to: Connection) -> None:
        to.head(tag=None)
        to.chunk(bytes(100) + text)
        to.end()

    with body_server(body) as (_, client):
        _, error = await fails(start(client))
    assert error.code is Code.DEADLINE_EXCEEDED


def test_data_that_looks_like_an_error_is_data() -> None:
    row = b"Code: 159. DB::Exception: x (version 1.1)\n"
    assert cut_exception(row, TAG) == (row, None), "there is a tag, and the row has not got it"
    assert cut_exception(row + b"next\n", None) == (row + b"next\n", None)
    wrong = b"__exception__\r\nqqqqqqqqqqqqqqqq\r\nCode: 1"
    assert cut_exception(wrong, TAG) == (wrong, None)
    right = b"data\r\n__exception__\r\n" + TAG.encode() + b"\r\nCode: 1. text"
    assert cut_exception(right, TAG) == (b"data", 1)


async def test_a_body_that_breaks_off_is_unavailable() -> None:
    def body(to: Connection) -> None:
        to.head()
        to.chunk(bytes(300_000))

    with body_server(body) as (_, client):
        found, error = await fails(start(client))
    assert error.code is Code.UNAVAILABLE
    assert len(found) < 300_000


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationalError("secret"), Code.UNAVAILABLE),
        (DatabaseError("secret", code=396), Code.RESOURCE_EXHAUSTED),
        (DatabaseError("secret", code=516), Code.INTERNAL),
        (DatabaseError("secret"), Code.INTERNAL),
        (ProgrammingError("secret"), Code.INTERNAL),
        (TokenUnreadable("secret"), Code.UNAVAILABLE),
        (ValueError("secret"), Code.INTERNAL),
    ],
)
async def test_errors_of_the_client_are_told_in_our_words(error: Exception, code: Code) -> None:
    with body_server(whole(b"", 1)) as (_, client):
        access = Access(client, error)
        _, failed = await fails(start(client, access))
    assert failed.code is code
    assert "secret" not in str(failed)
    assert access.forgotten == (getattr(error, "code", None) == 516)


async def test_a_result_that_nobody_reads_is_held_back_in_clickhouse() -> None:
    """What is read ahead is bounded, and it goes on when somebody reads."""
    total = 60_000_000

    def body(to: Connection) -> None:
        to.head()
        for _ in range(total // 1_000_000):
            to.chunk(bytes(1_000_000))
        to.end()

    with body_server(body) as (server, client):
        query = start(client)
        await query.read()
        sent = await settled(server)
        sockets = 12_000_000  # the kernel's buffers of both ends, at most
        assert sent < (MAX_PIECES + 2) * (LIMITS.read_bytes + 1_000_000) + sockets < total
        rest = await read_all(query)
        assert len(rest) > total - sent


async def settled(server: BodyServer) -> int:
    """Wait until the server can send no more."""
    sent = -1
    while sent != server.sent:
        sent = server.sent
        await trio.sleep(0.03)
    return sent


async def test_a_result_that_nobody_reads_is_given_up_in_time() -> None:
    def body(to: Connection) -> None:
        to.head()
        while True:
            to.chunk(bytes(1_000_000))

    limits = MetricsLimits(read_bytes=65_536, max_execution_s=0, cancel_s=0.1)
    with body_server(body) as (server, client):
        query = start(client, limits=limits)
        await trio.to_thread.run_sync(server.gone.wait, WITHIN_S)
        _, error = await fails(query)
    assert error.code is Code.DEADLINE_EXCEEDED


async def test_a_viewer_that_leaves_ends_the_query_and_its_thread() -> None:
    over = threading.Event()

    def body(to: Connection) -> None:
        to.head()
        while True:
            to.chunk(bytes(100_000))

    with body_server(body) as (server, client):
        query = RunningQuery(Access(client), Access(client), STATEMENT, LIMITS)
        trio.lowlevel.start_thread_soon(query.run, lambda _: over.set())
        await query.read()
        began = time.monotonic()
        query.close()
        assert time.monotonic() - began < 0.05, "it returns at once"
        for event in (server.killed, server.gone, over):
            assert await trio.to_thread.run_sync(event.wait, WITHIN_S)
        query.close()
    assert client.killed == [client.asked[0][2]["query_id"]]


async def test_a_query_that_is_silent_is_cancelled_before_its_head() -> None:
    """The reading thread waits for the answer: only KILL QUERY can end that."""
    over = threading.Event()

    def body(to: Connection) -> None:
        assert to.server.killed.wait(WITHIN_S)
        text = (
            b"HTTP/1.1 500 Error\r\nX-ClickHouse-Exception-Code: 394\r\nContent-Length: 0\r\n\r\n"
        )
        to.socket.sendall(text)

    with body_server(body) as (_, client):
        query = RunningQuery(Access(client), Access(client), STATEMENT, LIMITS)
        trio.lowlevel.start_thread_soon(query.run, lambda _: over.set())
        with trio.move_on_after(0.1):
            await query.read()
        query.close()
        assert await trio.to_thread.run_sync(over.wait, WITHIN_S)


async def test_slots_are_limited_and_come_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    settings = ClickHouseSettings(url=f"http://127.0.0.1:{port}", connect_s=1)
    engine = ClickHouseEngine(settings, MetricsLimits(max_queries=1, cancel_s=1))
    first = engine.start(STATEMENT)
    with pytest.raises(QueryFailed) as caught:
        engine.start(STATEMENT)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    _, error = await fails(first)
    assert error.code is Code.UNAVAILABLE, "connection refused"
    with trio.fail_after(WITHIN_S):
        while True:
            try:
                second = engine.start(STATEMENT)
            except QueryFailed:
                await trio.sleep(0.01)
            else:
                break
    assert (await fails(second))[1].code is Code.UNAVAILABLE
