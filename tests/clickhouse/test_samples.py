"""Samples of pods: what is measured, what is made of it, and the way to ClickHouse."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from customer_stub.clickhouse_writer import WriteFailed
from customer_stub.samples.feeder import Feeder
from customer_stub.samples.resources import resources_of
from customer_stub.samples.sampler import Running, Sampler
from customer_stub.samples.settings import SamplesSettings
from customer_stub.samples.usage import Usage, measure
from kube.server.values import quantity
from tunnel.journal import Journal

Json = dict[str, Any]
SETTINGS = SamplesSettings()
BURN = "import time\nprint(flush=True)\nwhile time.process_time() < 0.2: pass\ntime.sleep(60)"


def pod(name: str = "p", **resources: Any) -> Json:
    labels = {"planesplit/org": "acme", "planesplit/run": "r1", "planesplit/attempt": "1"}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "ns", "labels": labels},
        "spec": {"containers": [{"name": "main", "resources": resources}]},
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", 0.5), ("2", 2), (1, 1), ("1Gi", 2**30), ("1.5k", 1500), ("1e3", None), ("-1", None),
     ("", None), (None, None), ("1 Gi", None)],
)  # fmt: skip
def test_quantities(text: object, number: float | None) -> None:
    assert quantity(text) == number


def test_resources_are_requests_else_limits_else_defaults() -> None:
    given = resources_of(
        pod(requests={"cpu": "500m"}, limits={"cpu": "2", "nvidia.com/gpu": 2}), SETTINGS
    )
    assert (given.cores, given.memory_bytes, given.gpus) == (0.5, 2**30, 2)
    assert given.usd_per_hour(SETTINGS) == pytest.approx(0.5 * 0.04 + 0.005 + 2 * 2.5)
    assert resources_of(pod(), SETTINGS).cores == 1.0


def test_a_session_is_measured_with_all_its_processes(tmp_path: Path) -> None:
    def process(pid: int, session: int, ticks: tuple[int, int, int, int], pages: int) -> None:
        fields = ["S", "1", "1", str(session), *["0"] * 7, *map(str, ticks), *["0"] * 4, "500"]
        (tmp_path / str(pid)).mkdir()
        text = f"{pid} (a) b) {' '.join(fields)} 0 {pages} 0\n"
        (tmp_path / str(pid) / "stat").write_text(text)

    (tmp_path / "self").mkdir()
    (tmp_path / "9").mkdir()  # it has just ended
    process(10, 10, (1, 2, 3, 4), 5)
    process(11, 10, (10, 0, 0, 0), 1)
    process(12, 12, (99, 0, 0, 0), 9)
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found = measure([10, 77], tmp_path)
    assert found == {10: Usage(20 / tick, 6 * page, 500 / tick)}


def test_a_real_process_is_measured() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BURN], start_new_session=True, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        process.stdout.readline()
        found = measure([process.pid])[process.pid]
        assert found.memory_bytes > 1_000_000
        assert 0 <= found.cpu_s < 60
    finally:
        process.kill()
        process.communicate()
    assert measure([process.pid]) == {}


def values(rows: Sequence[Json]) -> dict[str, float]:
    return {row["MetricName"]: row["Value"] for row in rows}


def test_cpu_is_what_was_used_since_the_last_sample() -> None:
    sampler = Sampler(SETTINGS, cluster="c1", node="n1")
    one = Running(pod(), 7)
    assert sampler.due([one], 100.0, 1) == [one]
    rows = sampler.sample(one, Usage(1.0, 4096, 96.0), now_s=100.0, now_ns=5)
    assert values(rows)["container.cpu.usage"] == 0.25  # 1 s since its start 4 s ago
    assert values(rows)["container.memory.usage"] == 4096
    assert sampler.due([one], 100.9, 1) == []
    assert sampler.due([one], 101.0, 1) == [one]
    rows = sampler.sample(one, Usage(3.0, 0, 96.0), now_s=102.0, now_ns=5)
    assert values(rows)["container.cpu.usage"] == 1.0
    rows = sampler.sample(one, Usage(0.5, 0, 96.0), now_s=103.0, now_ns=5)
    assert values(rows)["container.cpu.usage"] == 0.0  # a killed child took its time along
    attributes = rows[0]["ResourceAttributes"]
    assert attributes["planesplit.org"] == "acme"
    assert attributes["planesplit.project"] == ""
    assert (attributes["k8s.cluster.name"], attributes["k8s.pod.uid"]) == ("c1", "uid-p")


def test_simulated_values_say_so_and_repeat() -> None:
    def run() -> list[Json]:
        sampler = Sampler(SETTINGS, cluster="c1", node="n1")
        one = Running(pod(limits={"nvidia.com/gpu": 2}), None)
        sampler.due([one], 0.0, 0)
        return [row for n in range(200) for row in sampler.sample(one, None, now_s=n, now_ns=n)]

    rows = run()
    assert rows == run()
    for row in rows:
        simulated = row["Attributes"].get("planesplit.simulated") == "true"
        assert simulated == (row["MetricName"].endswith(".usage") or "gpu" in row["MetricName"])
        if row["MetricName"] == "gpu.utilization":
            assert 0 <= row["Value"] <= 1
    assert {r["Attributes"].get("gpu") for r in rows} == {None, "0", "1"}


def test_a_process_that_has_just_ended_has_no_usage() -> None:
    sampler = Sampler(SETTINGS, cluster="c1", node="n1")
    one = Running(pod(), 7)
    sampler.due([one], 0.0, 0)
    assert "container.cpu.usage" not in values(sampler.sample(one, None, now_s=0.0, now_ns=0))


class FakeWriter:
    """Takes rows, or fails as often as told."""

    def __init__(self, *failures: WriteFailed) -> None:
        self.failures, self.rows = list(failures), list[Json]()
        self.sizes: list[int] = []

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...

    async def insert(self, table: str, rows: Sequence[Json]) -> int:
        await trio.lowlevel.checkpoint()
        assert table == "otel.otel_metrics_gauge"
        if self.failures:
            raise self.failures.pop()
        self.rows += rows
        self.sizes.append(len(rows))
        return len(rows)


async def feed(writer: FakeWriter, seconds: float, **settings: Any) -> tuple[Feeder, list[str]]:
    """Feed a simulated pod's five rows a second for some simulated seconds."""
    made = SamplesSettings(**settings)
    journal: list[str] = []
    feeder = Feeder(
        made,
        Sampler(made, cluster="c1", node="n1"),
        writer,
        journal=Journal("customer", write=journal.append),
        clock=lambda: int(trio.current_time() * 1e9),
        uptime=trio.current_time,
    )
    with trio.move_on_after(seconds):
        await feeder.run(lambda: [Running(pod(), None)])
    return feeder, journal


async def test_every_period_is_fed_once(autojump_clock: MockClock) -> None:
    writer = FakeWriter()
    feeder, journal = await feed(writer, 9.9)
    assert feeder.written == len(writer.rows) == 10 * 5
    assert len({row["TimeUnix"] for row in writer.rows}) == 10
    assert (feeder.dropped, journal) == (0, [])


async def test_a_pod_that_has_ended_already_has_one_sample(autojump_clock: MockClock) -> None:
    writer = FakeWriter()
    sampler = Sampler(SETTINGS, cluster="c1", node="n1")
    journal = Journal("customer", write=lambda line: None)
    feeder = Feeder(
        SETTINGS,
        sampler,
        writer,
        journal=journal,
        measure=lambda pids: {},
        uptime=trio.current_time,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(feeder.run, list)
        await trio.testing.wait_all_tasks_blocked()
        feeder.started(Running(pod(), None))
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert [row["MetricName"] for row in writer.rows].count("container.cost") == 1


async def test_what_is_kept_while_clickhouse_is_away(autojump_clock: MockClock) -> None:
    away = [WriteFailed(0, retryable=True) for _ in range(7)]
    writer = FakeWriter(*away)
    feeder, _ = await feed(writer, 60)
    assert feeder.dropped == 0
    assert len(writer.rows) == 60 * 5
    times = [row["TimeUnix"] for row in writer.rows]
    assert times == sorted(times)


async def test_the_oldest_go_first_and_are_counted(autojump_clock: MockClock) -> None:
    away = [WriteFailed(0, retryable=True) for _ in range(10)]  # 26 s with the least jitter
    writer = FakeWriter(*away)
    feeder, journal = await feed(writer, 60, queue_rows=100, batch_rows=10)
    assert feeder.dropped > 0
    assert feeder.dropped + feeder.written == 60 * 5
    assert max(writer.sizes) == 10
    assert '"reason":"backlog"' in journal[0]


async def test_refused_rows_are_counted_and_not_repeated(autojump_clock: MockClock) -> None:
    writer = FakeWriter(WriteFailed(60, retryable=False))
    feeder, journal = await feed(writer, 2.9)
    assert (feeder.dropped, feeder.written) == (5, 10)
    assert '"reason":"refused"' in journal[0]
