"""Metrics through the relay: the rows that ClickHouse gives, whole, or a clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import clickhouse_connect
import pytest
import trio

from compute_agent.metrics.catalogue import CATALOGUE
from compute_agent.metrics.parameters import bind
from compute_agent.metrics.settings import MetricsLimits
from customer_stub.clickhouse_writer import ClickHouseWriter, timestamp
from customer_stub.settings import ClickHouseTarget
from planesplit.connect_client import ConnectError
from planesplit.harness import Harness
from planesplit.measure.procfs import rss_bytes
from planesplit.metrics import list_queries, open_query
from planesplit.ready import ClusterAccess
from planesplit.viewer import Viewer, open_viewer

pytestmark = pytest.mark.integration

START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
SECOND_NS = 1_000_000_000
BATCH = 10_000
WITHIN_S = 30.0
STALL_S = 1.0  # everything would have come in this time
MOST_BYTES = 8_000_000  # two pieces, a queue and a window, and what malloc makes of it
BEFORE = {"until": "2026-02-01T00:00:00Z"}  # real samples of the run's pod are later
METRICS = {
    "container.cpu.usage": 1.5,
    "container.cpu.allocated": 2.0,
    "container.memory.usage": 1e9,
    "container.memory.allocated": 2e9,
    "gpu.utilization": 0.75,
    "container.cost": 3.6,
}


@pytest.fixture
def run(tenants: Harness) -> str:
    return tenants.run(exec="true")


@asynccontextmanager
async def viewing(tenants: Harness) -> AsyncIterator[Viewer]:
    with trio.fail_after(WITHIN_S):
        async with open_viewer(tenants.ready) as viewer:
            yield viewer


def access(tenants: Harness) -> ClusterAccess:
    return tenants.ready.clusters[0]


async def fill(tenants: Harness, run: str, samples: int) -> int:
    """Insert samples of every metric, one a second; returns how many rows that are."""
    where, place = access(tenants), tenants.ready.place
    secret = Path(where.clickhouse_password_file).with_name("clickhouse-collector")
    target = ClickHouseTarget(
        where.clickhouse, "collector", str(secret), ca_file=tenants.ready.ca_file
    )
    of = {
        "planesplit.org": place.org,
        "planesplit.project": place.project,
        "planesplit.domain": place.domain,
        "planesplit.run": run,
        "planesplit.action": "a0",
        "planesplit.attempt": "1",
        "k8s.pod.uid": f"uid-{run}",
        "k8s.pod.name": f"{run}-a0-1",
        "k8s.container.name": "main",
        "k8s.node.name": "node-1",
    }
    rows = [
        {
            "ResourceAttributes": of,
            "MetricName": metric,
            "Attributes": {"gpu": "0"} if metric.startswith("gpu") else {},
            "TimeUnix": timestamp(START_NS + second * SECOND_NS),
            "Value": value + second % 7 / 1000,
        }
        for second in range(samples)
        for metric, value in METRICS.items()
    ]
    async with ClickHouseWriter(target) as writer:
        for at in range(0, len(rows), BATCH):
            await writer.insert("otel.otel_metrics_gauge", rows[at : at + BATCH])
    return len(rows)


def direct(tenants: Harness, name: str, run: str, result_format: str) -> bytes:
    """What clickhouse-connect itself reads."""
    where, place = access(tenants), tenants.ready.place
    host, _, port = where.clickhouse.partition("://")[2].partition(":")
    client = clickhouse_connect.get_client(
        interface=where.clickhouse.partition(":")[0],
        host=host,
        port=int(port),
        username=where.clickhouse_user,
        password=Path(where.clickhouse_password_file).read_text().strip(),
        database="otel",
        ca_cert=tenants.ready.ca_file,
    )
    query = CATALOGUE[name]
    scope = {"org": place.org, "project": place.project, "domain": place.domain, "run": run}
    settings = {"date_time_output_format": "iso", "output_format_json_quote_64bit_integers": 0}
    values = bind(query.parameters, BEFORE) | scope
    return client.raw_query(query.sql, values, settings, fmt=result_format)


async def through(tenants: Harness, name: str, run: str, *, native: bool = False, **given) -> bytes:
    async with (
        viewing(tenants) as viewer,
        open_query(viewer, name, run, BEFORE | given, native=native) as pieces,
    ):
        return b"".join([piece async for piece in pieces])


async def test_every_query_gives_what_clickhouse_gives(tenants: Harness, run: str) -> None:
    await fill(tenants, run, 100)
    for name in CATALOGUE:
        for native in (False, True):
            expected = direct(tenants, name, run, "Native" if native else "JSONEachRow")
            assert await through(tenants, name, run, native=native) == expected, name
            assert len(expected) > 100


async def test_numbers_are_right(tenants: Harness, run: str) -> None:
    await fill(tenants, run, 3600)
    rows = [json.loads(line) for line in (await through(tenants, "cost", run)).splitlines()]
    assert len(rows) == 360
    assert rows[-1]["total"] == pytest.approx(3.603, abs=0.01)
    assert rows[0]["time"] == "2026-01-01T00:00:00Z"
    given = {"since": "2026-01-01T00:30:00Z", "step_s": "600"}
    found = await through(tenants, "cpu_used_vs_allocated", run, **given)
    rows = [json.loads(line) for line in found.splitlines()]
    assert [row["time"][11:16] for row in rows] == ["00:30", "00:40", "00:50"]
    assert all(row["share"] == pytest.approx(0.75, abs=0.01) for row in rows)


async def test_a_large_result_is_whole(tenants: Harness, run: str) -> None:
    rows = await fill(tenants, run, 20_000)
    found = await through(tenants, "samples", run)
    assert found.count(b"\n") == rows
    assert sorted(found.splitlines()) == sorted(
        direct(tenants, "samples", run, "JSONEachRow").splitlines()
    )


async def test_another_run_shows_nothing_of_it(tenants: Harness, run: str) -> None:
    other = tenants.run(exec="true")
    await fill(tenants, run, 10)
    assert await through(tenants, "samples", other) == b""
    injected = f"x' OR ResourceAttributes['planesplit.run'] = '{run}"
    assert await through(tenants, "samples", other, action=injected) == b""


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("nonesuch", {}, "not_found"),
        ("cost", {"step_s": "0"}, "invalid_argument"),
        ("cost", {"sql": "SELECT 1"}, "invalid_argument"),
    ],
)
async def test_what_is_not_in_the_catalogue_is_refused(
    tenants: Harness, run: str, name: str, given: dict[str, str], code: str
) -> None:
    with pytest.raises(ConnectError) as caught:
        await through(tenants, name, run, **given)
    assert caught.value.code == code


async def test_the_queries_are_listed(tenants: Harness) -> None:
    async with viewing(tenants) as viewer:
        assert {query.name for query in await list_queries(viewer)} == set(CATALOGUE)


async def test_clickhouse_that_is_away_is_unavailable_and_comes_back(
    tenants: Harness, run: str
) -> None:
    await fill(tenants, run, 10)
    assert await through(tenants, "samples", run)
    await trio.to_thread.run_sync(tenants.kill, "clickhouse")
    with pytest.raises(ConnectError) as caught:
        await through(tenants, "samples", run)
    assert caught.value.code == "unavailable"
    assert "ClickHouse" in caught.value.message
    await trio.to_thread.run_sync(tenants.restart, "clickhouse")
    assert await through(tenants, "samples", run)


async def test_clickhouse_that_dies_amid_a_result_ends_it_with_an_error(
    tenants: Harness, run: str
) -> None:
    await fill(tenants, run, 30_000)

    async def read_and_kill() -> None:
        async with viewing(tenants) as viewer, open_query(viewer, "samples", run, BEFORE) as pieces:
            await anext(pieces)
            await trio.to_thread.run_sync(tenants.kill, "clickhouse")
            async for _ in pieces:
                pass

    with pytest.raises(ConnectError) as caught:
        await read_and_kill()
    assert caught.value.code == "unavailable"


async def test_a_viewer_that_does_not_read_costs_a_bounded_amount_of_memory(
    tenants: Harness, run: str
) -> None:
    """What is not read waits in ClickHouse, not in agent or relay; then all of it comes."""
    await fill(tenants, run, 30_000)
    await through(tenants, "cost", run)
    pids = [tenants.pid(plane) for plane in ("compute_agent", "relay")]
    before = [rss_bytes(pid) for pid in pids]
    size = 0
    async with viewing(tenants) as viewer, open_query(viewer, "samples", run, BEFORE) as pieces:
        size += len(await anext(pieces))
        await trio.sleep(STALL_S)
        grown = [rss_bytes(pid) - rss for pid, rss in zip(pids, before, strict=True)]
        async for piece in pieces:
            size += len(piece)
    assert size > 3 * MOST_BYTES, "it would not all fit: this proves something"
    assert max(grown) < MOST_BYTES


async def test_viewers_that_leave_free_their_places(tenants: Harness, run: str) -> None:
    """More of them than there are places, at the agent and in ClickHouse."""
    await fill(tenants, run, 10_000)
    for _ in range(MetricsLimits().max_queries + 4):
        async with viewing(tenants) as viewer, open_query(viewer, "samples", run, BEFORE) as pieces:
            await anext(pieces)
    found = await through(tenants, "summary", run)
    assert json.loads(found)["samples"] == 10_000 * len(METRICS)
    assert "call_failed" not in tenants.journals()


def command(tenants: Harness, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    ready = tmp_path / "ready.json"
    tenants.ready.write(ready)
    return subprocess.run(
        [sys.executable, "-m", "planesplit", "query", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PLANESPLIT_READY": str(ready), "COLUMNS": "80"},
        timeout=WITHIN_S,
        check=False,
    )


def test_the_command_prints_tables_charts_and_lines(
    tenants: Harness, run: str, tmp_path: Path
) -> None:
    trio.run(fill, tenants, run, 100)
    of = ("--run", run, "--param", f"until={BEFORE['until']}")
    table = ("--format", "table")
    done = command(tenants, tmp_path, "cpu_used_vs_allocated", *of, *table)
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split("   ")[0] == "TIME"
    assert "USED [cores]" in head
    assert len(rows) == 10
    assert rows[0].startswith("2026-01-01T00:00:00Z")
    drawn = command(tenants, tmp_path, "cpu_usage", *of, *table, "--plot")
    assert "┤" in drawn.stdout
    assert "cores [cores]" in drawn.stdout
    lines = command(tenants, tmp_path, "samples", "--run", run, "--param", "limit=5")
    assert len([json.loads(line) for line in lines.stdout.splitlines()]) == 5
    listed = command(tenants, tmp_path, "--list")
    assert {json.loads(line)["name"] for line in listed.stdout.splitlines()} == set(CATALOGUE)
    refused = command(tenants, tmp_path, "cost", "--run", run, "--param", "step_s=x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "parameter 'step_s' must be a number from 1 to 86400" in refused.stderr
