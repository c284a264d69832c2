"""Collector and reader at CloudWatch Logs, played by moto over HTTP."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from crilog import records
from fakes import ATTEMPT
from history_stage import NodeLog, pod_json

from compute_agent.attempts import Attempt
from compute_agent.logs.history import At, HistoryDown, LogId
from compute_agent.logs.history_cloudwatch import CloudWatchHistory
from compute_agent.logs.settings import CloudWatchSettings, HistoryLimits
from customer_stub.collector.cloudwatch import CloudWatchSink
from customer_stub.collector.collector import Collector
from customer_stub.collector.settings import CloudWatchTarget, CollectorSettings
from tunnel.journal import Journal

pytestmark = pytest.mark.integration

LIMITS = HistoryLimits(page_rows=100)
LINES = [b"line %d" % n for n in range(400)]
LINES[10:13] = [b"", b"\xff\xfe not utf-8", "€".encode() * 20_000]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def secret(tmp_path: Path) -> str:
    (tmp_path / "secret").write_text("secret")
    return str(tmp_path / "secret")


def reader(endpoint: str, secret: str) -> CloudWatchHistory:
    settings = CloudWatchSettings("us-east-1", endpoint, "", "key", secret)
    return CloudWatchHistory(settings, "c1", LIMITS)


async def fill(endpoint: str, secret: str, root: Path, attempt: Attempt, lines=LINES) -> NodeLog:
    """Write a log with rotations, collect it, and delete it."""
    settings = CollectorSettings(sink="cloudwatch", flush_s=0.02)
    sink = CloudWatchSink(CloudWatchTarget("us-east-1", endpoint, "", "key", secret), "c1")
    journal = Journal("customer", write=lambda _: None)
    made = Collector(settings, sink, journal=journal)
    log = NodeLog(root / attempt.pod, kept=3)
    log.ns = time.time_ns() // 10**9 * 10**9
    log.path.touch()
    log.on_rotate = made.follow(pod_json(attempt), log.directory, 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        for n, line in enumerate(lines):
            log.ns += 200_000 if n % 3 else 0
            log.raw(records(line, log.ns, b"stdout"))
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


async def test_what_was_written_comes_back(endpoint: str, secret: str, tmp_path: Path) -> None:
    history, attempt = reader(endpoint, secret), replace(ATTEMPT, run="whole")
    log = await fill(endpoint, secret, tmp_path, attempt)
    known = await history.find(attempt, "main", latest=False)
    assert known == LogId(attempt, f"uid-{attempt.pod}", "main")
    at, hint, parts, lines = At(0, 1), 0, b"", []
    while rows := await history.page(known, at, hint):
        assert len(rows) <= LIMITS.page_rows
        for row in rows:
            assert row.at == at
            if row.end:
                break
            parts += row.record.content
            if row.record.final:
                lines.append(parts)
                parts = b""
            at, hint = At(row.restart, row.record.sequence + 1), row.record.at_ns
        if row.end:
            break
    assert lines == LINES
    middle = await reader(endpoint, secret).page(known, At(0, 300), 0)
    assert [row.record.sequence for row in middle] == list(range(300, 400))
    last = await history.page_before(known, None)
    assert last[-1].end
    assert [r.record.sequence for r in await history.page_before(known, At(0, 4))] == [1, 2, 3]
    newest = await history.first_since(known, log.ns - 1_000_000)
    assert newest is not None
    assert last[-1].record.sequence - newest.sequence < 15
    assert await history.file_start(known, 0, middle[0].record.at_ns + 5) is None
    first = (await history.page(known, At(0, 1), 0))[0]
    assert await history.file_start(known, 0, first.record.at_ns) == 1


async def test_only_the_log_that_was_asked_for(endpoint, secret, tmp_path: Path) -> None:
    history = reader(endpoint, secret)
    attempts = [replace(ATTEMPT, run="scoped", attempt=n) for n in (1, 2)]
    for attempt in attempts:
        await fill(endpoint, secret, tmp_path, attempt, [b"of %d" % attempt.attempt])
    latest = await history.find(attempts[0], "main", latest=True)
    assert latest is not None
    assert latest.attempt == attempts[1]
    same_pod = replace(attempts[0], org="other")
    assert await history.find(same_pod, "main", latest=False) is None
    assert await history.page(LogId(same_pod, latest.uid, "main"), At(0, 0), 0) == []


async def test_a_pod_that_was_made_often_is_found(endpoint, secret, tmp_path: Path) -> None:
    """A page of streams holds fifty, and the one with events comes on the second."""
    history, attempt = reader(endpoint, secret), replace(ATTEMPT, run="often")
    await fill(endpoint, secret, tmp_path, attempt, [b"line"])
    known = await history.find(attempt, "main", latest=False)
    for number in range(60):
        name = f"{attempt.pod}_{attempt.namespace}_main-0-earlier-{number:02}"
        history._client.create_log_stream(logGroupName=history._group, logStreamName=name)
    assert known is not None
    assert await history.find(attempt, "main", latest=False) == known


async def test_an_endpoint_that_is_away_is_no_answer(secret: str) -> None:
    history = reader("http://127.0.0.1:9", secret)
    with pytest.raises(HistoryDown):
        await history.find(ATTEMPT, "main", latest=False)
