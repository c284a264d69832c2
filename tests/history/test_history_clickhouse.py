"""Collector and reader at the real ClickHouse process, across the whole life of a log."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from clickhouse_cast import Server, server
from crilog import records
from fakes import ATTEMPT
from history_stage import NodeLog, pod_json

from compute_agent.clickhouse import ClickHouse, ClickHouseSettings
from compute_agent.logs.history import At, History, HistoryDown, LogId
from compute_agent.logs.history_clickhouse import ClickHouseHistory
from compute_agent.logs.settings import HistoryLimits
from customer_stub.clickhouse_writer import ClickHouseWriter
from customer_stub.collector.collector import Collector
from customer_stub.collector.settings import CollectorSettings
from customer_stub.collector.sink import ClickHouseSink
from customer_stub.settings import ClickHouseTarget
from tunnel.journal import Journal

pytestmark = pytest.mark.integration

LIMITS = HistoryLimits(page_rows=100)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("clickhouse")) as made:
        yield made


def reader(running: Server, limits: HistoryLimits = LIMITS) -> ClickHouseHistory:
    file = str(running.directory / "password")
    settings = ClickHouseSettings(url=running.url, user="agent", password_file=file)
    return ClickHouseHistory(ClickHouse(settings, limits.request_s), limits)


def collector(running: Server) -> Collector:
    target = ClickHouseTarget(running.url, "collector", str(running.directory / "password"))
    settings = CollectorSettings(sink="clickhouse", flush_s=0.02)
    journal = Journal("customer", write=lambda _: None)
    return Collector(settings, ClickHouseSink(ClickHouseWriter(target)), journal=journal)


async def fill(running: Server, root: Path, lines: list[bytes], attempt=ATTEMPT) -> NodeLog:
    """Write a log with rotations, collect it, and delete it."""
    made = collector(running)
    log = NodeLog(root, pod=f"ns_{attempt.pod}_uid", kept=3)
    log.path.touch()
    log.on_rotate = made.follow(pod_json(attempt), log.directory, 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        for n, line in enumerate(lines):
            log.ns += 1_000_000 if n % 3 else 0
            log.raw(records(line, log.ns, b"stderr" if n % 7 == 0 else b"stdout"))
            if n % 50 == 49:
                log.rotate()
                log.ns += 1
        made.ended(log.directory, 0)
        made.removing(log.directory)
        shutil.rmtree(log.directory)
        with trio.fail_after(20):
            while made.active:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    return log


async def everything(history: History, log: LogId) -> list[bytes]:
    """Read page by page, as a tail does; join pieces."""
    at, parts, lines = At(0, 1), b"", []
    while True:
        rows = await history.page(log, at, 0)
        for row in rows:
            assert row.at == at
            if row.end:
                return lines
            parts += row.record.content
            if row.record.final:
                lines.append(parts)
                parts = b""
            at = At(row.restart, row.record.sequence + 1)
        assert rows


LINES = [b"line %d" % n for n in range(400)]
LINES[10:13] = [b"", b"\xff\xfe not utf-8", "€".encode() * 20_000]


async def test_what_was_written_comes_back(running: Server, tmp_path: Path) -> None:
    history, attempt = reader(running), replace(ATTEMPT, run="whole")
    log = await fill(running, tmp_path, LINES, attempt)
    known = await history.find(attempt, "main", latest=False)
    assert known == LogId(attempt, f"uid-{attempt.pod}", "main")
    assert await everything(history, known) == LINES
    last = await history.page_before(known, None)
    assert last[-1].end
    assert len(last) == LIMITS.page_rows
    total = last[-1].record.sequence - 1
    assert total == 400 + 3, "a piece is a record"
    before = await history.page_before(known, At(0, 5))
    assert [row.record.sequence for row in before] == [1, 2, 3, 4]
    newest = await history.first_since(known, log.ns - 1_000_000)
    assert newest is not None
    assert total - 5 < newest.sequence <= total
    assert await history.first_since(known, log.ns + 10**9) is None
    start = await history.file_start(known, 0, before[0].record.at_ns)
    assert start == 1


async def test_only_the_log_that_was_asked_for(running: Server, tmp_path: Path) -> None:
    history = reader(running)
    attempts = [replace(ATTEMPT, run="scoped", attempt=n) for n in (1, 2)]
    for attempt in attempts:
        await fill(running, tmp_path, [b"of %d" % attempt.attempt], attempt)
    latest = await history.find(attempts[0], "main", latest=True)
    assert latest is not None
    assert latest.attempt == attempts[1]
    assert await everything(history, latest) == [b"of 2"]
    for field in ("org", "project", "domain", "run", "action"):
        other = replace(attempts[0], **{field: "other' OR '1'='1"})
        assert await history.find(other, "main", latest=True) is None
        assert await history.page(LogId(other, latest.uid, "main"), At(0, 0), 0) == []


async def test_rows_that_were_sent_twice_are_read_once(running: Server, tmp_path: Path) -> None:
    history, attempt = reader(running), replace(ATTEMPT, run="twice")
    await fill(running, tmp_path, [b"same", b"other"], attempt)
    await fill(running, tmp_path, [b"same", b"other", b"more"], attempt)
    known = await history.find(attempt, "main", latest=False)
    assert known is not None
    rows = await history.page(known, At(0, 1), 0)
    assert [row.record.sequence for row in rows] == [1, 2, 3, 4]


async def test_a_wrong_password_is_no_answer(running: Server, tmp_path: Path) -> None:
    file = tmp_path / "wrong"
    file.write_text("wrong")
    settings = ClickHouseSettings(url=running.url, user="agent", password_file=str(file))
    history = ClickHouseHistory(ClickHouse(settings, 5), LIMITS)
    with pytest.raises(HistoryDown):
        await history.find(ATTEMPT, "main", latest=False)


async def test_inserts_are_not_seen_as_cancelled(running: Server, tmp_path: Path) -> None:
    await fill(running, tmp_path, LINES, replace(ATTEMPT, run="seen"))
    codes = [e["code"] for e in running.journal() if e.get("user") == "collector"]
    assert codes
    assert set(codes) == {0}
