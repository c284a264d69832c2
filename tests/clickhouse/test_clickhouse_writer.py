"""The writer that feeder and log collector share, over a transport without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from customer_stub.clickhouse_writer import ClickHouseWriter, WriteFailed, timestamp
from customer_stub.settings import ClickHouseTarget
from tunnel.settings import SettingError

Handler = Callable[[httpx.Request], httpx.Response]
TABLE = "otel.otel_logs"


def writer(tmp_path: Path, handler: Handler, **values: float) -> ClickHouseWriter:
    file = tmp_path / "password"
    file.write_text("pw\n")
    target = ClickHouseTarget("http://127.0.0.1:1", "me", str(file), **values)
    return ClickHouseWriter(target, transport=httpx.MockTransport(handler))


def refusal(code: int, status: int) -> httpx.Response:
    return httpx.Response(status, headers={"X-ClickHouse-Exception-Code": str(code)}, text="Code")


async def test_rows_go_out_as_one_insert(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    rows = [{"Body": "a\nü\ud800", "LogAttributes": {"k": "v"}}, {"Body": "b"}]
    async with writer(tmp_path, handler) as made:
        assert await made.insert(TABLE, rows) == 2
        assert await made.insert(TABLE, []) == 0
    (request,) = seen
    assert request.url.params["query"] == "INSERT INTO otel.otel_logs FORMAT JSONEachRow"
    assert request.headers["X-ClickHouse-User"] == "me"
    assert request.headers["X-ClickHouse-Key"] == "pw"
    lines = [json.loads(line) for line in request.content.splitlines()]
    assert lines == [{"Body": "a\nü?", "LogAttributes": {"k": "v"}}, {"Body": "b"}]


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (refusal(60, 404), 60, False),
        (refusal(516, 403), 516, False),
        (refusal(202, 503), 202, True),
        (refusal(241, 500), 241, True),
        (refusal(62, 200), 62, False),
        (httpx.Response(502), 0, True),
        (httpx.Response(404), 0, False),
    ],
)
async def test_refusals(tmp_path: Path, answer: httpx.Response, code: int, retryable: bool) -> None:
    async with writer(tmp_path, lambda request: answer) as made:
        with pytest.raises(WriteFailed) as caught:
            await made.insert(TABLE, [{"Body": "canary"}])
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def test_patience_lasts_until_it_is_back(tmp_path: Path, autojump_clock: MockClock) -> None:
    bodies: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        if len(bodies) < 6:
            raise httpx.ConnectError("away", request=request)
        return httpx.Response(200)

    start = trio.current_time()
    async with writer(tmp_path, handler, max_pause_s=1.0) as made:
        assert await made.insert_patiently(TABLE, iter([{"Body": "x"}])) == 1
    assert len(bodies) == 6
    assert len(set(bodies)) == 1
    # Pauses of 0.2, 0.4, 0.8, 1, 1 s, each shortened by up to a half.
    assert 1.7 <= trio.current_time() - start <= 3.4


async def test_patience_ends_where_it_cannot_help(tmp_path: Path) -> None:
    async with writer(tmp_path, lambda request: refusal(60, 404)) as made:
        with pytest.raises(WriteFailed):
            await made.insert_patiently(TABLE, [{"Body": "x"}])


async def test_a_silent_server(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await trio.sleep_forever()
            raise AssertionError

    target = ClickHouseTarget("http://127.0.0.1:1", write_s=3.0)
    async with ClickHouseWriter(target, transport=Silent()) as made:
        with pytest.raises(WriteFailed) as caught:
            await made.insert(TABLE, [{"Body": "x"}])
    assert trio.current_time() == pytest.approx(3.0)
    assert caught.value.retryable


async def test_a_table_is_a_name(tmp_path: Path) -> None:
    async with writer(tmp_path, lambda request: httpx.Response(200)) as made:
        with pytest.raises(ValueError):
            await made.insert("t FORMAT CSV; --", [{"Body": "x"}])


@pytest.mark.parametrize(
    "target",
    [
        ClickHouseTarget("127.0.0.1:8123"),
        ClickHouseTarget("http://"),
        ClickHouseTarget("http://a", password_file="/nowhere"),
        ClickHouseTarget("https://a", ca_file="/nowhere"),
    ],
)
def test_bad_targets(target: ClickHouseTarget) -> None:
    with pytest.raises(SettingError, match=r"clickhouse\."):
        ClickHouseWriter(target)


def test_timestamps_keep_nanoseconds() -> None:
    assert timestamp(0) == "1970-01-01 00:00:00.000000000"
    assert timestamp(1_767_225_600_000_000_001) == "2026-01-01 00:00:00.000000001"
