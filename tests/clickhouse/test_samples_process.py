"""Samples of real pods in the real ClickHouse: two processes, and one of them away for a while."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_cast import Server, server

pytestmark = pytest.mark.integration

BUSY = "import time\nx = bytearray(100_000_000)\nwhile time.process_time() < 60: pass"
WAIT_S = 30.0


@contextmanager
def customer(directory: Path, clickhouse: Server) -> Iterator[str]:
    """The customer's Kubernetes, feeding samples; yields its URL."""
    config = directory / "customer.toml"
    config.write_text(
        f'log_root = "{directory}/logs"\ninsecure = true\n'
        f'[clickhouse]\nurl = "{clickhouse.url}"\npassword_file = "{directory}/password"\n'
        "[samples]\nperiod_s = 0.2\n"
    )
    command = [sys.executable, "-P", "-m", "customer_stub", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def create(url: str, name: str, *command: str, **resources: Any) -> None:
    container: dict[str, Any] = {"name": "main", "image": "any", "resources": resources}
    container["command" if command else "args"] = list(command)
    if not command:
        container |= {"image": "planesplit/workload", "args": ["plain", "--lines", "500"]}
    meta = {"name": name, "labels": {"planesplit/org": "acme", "planesplit/run": f"r-{name}"}}
    body = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": meta,
        "spec": {"containers": [container]},
    }
    answer = httpx.post(f"{url}/api/v1/namespaces/default/pods", json=body)
    assert answer.status_code == 201, answer.text


def facts(clickhouse: Server, name: str) -> dict[str, list[float]]:
    """Number of samples, largest value and share of simulated ones, by metric."""
    sql = (
        "SELECT MetricName, count(), max(Value), avg(Attributes['planesplit.simulated'] = 'true') "
        "FROM otel_metrics_gauge WHERE ResourceAttributes['planesplit.org'] = 'acme' "
        "AND ResourceAttributes['planesplit.run'] = {r:String} GROUP BY 1"
    )
    login = {"auth": ("agent", "pw"), "params": {"param_r": f"r-{name}"}}
    text = httpx.post(clickhouse.url, content=sql, timeout=30, **login).text  # type: ignore[arg-type]
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: [float(value) for value in row[1:]] for row in rows}


def until_sampled(clickhouse: Server, name: str, times: int) -> dict[str, list[float]]:
    deadline = time.monotonic() + WAIT_S
    while (found := facts(clickhouse, name)).get("container.cost", [0])[0] < times:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_pods_are_sampled(tmp_path: Path) -> None:
    with server(tmp_path) as clickhouse, customer(tmp_path, clickhouse) as url:
        limits = {"nvidia.com/gpu": 1}
        requests = {"cpu": "500m", "memory": "256Mi"}
        create(url, "busy", sys.executable, "-c", BUSY, requests=requests, limits=limits)
        create(url, "short", sys.executable, "-c", "pass")
        create(url, "built-in")
        busy = until_sampled(clickhouse, "busy", 8)
        assert busy["container.cpu.usage"][1] > 0.05
        assert busy["container.memory.usage"][1] > 100_000_000
        assert busy["container.cpu.allocated"][1] == 0.5
        assert busy["container.memory.allocated"][1] == 256 * 2**20
        assert busy["container.cost"][1] > 2.5
        assert busy["gpu.utilization"][2] == 1
        assert busy["container.cpu.usage"][2] == 0
        assert until_sampled(clickhouse, "built-in", 2)["container.cpu.usage"][2] == 1
        assert until_sampled(clickhouse, "short", 1)


def test_samples_survive_a_restart_of_clickhouse(tmp_path: Path) -> None:
    config = f'data_dir = "{tmp_path}/data"\n'
    with server(tmp_path, config) as first:
        port = first.port
        with customer(tmp_path, first) as url:
            create(url, "long", "sleep", "60")
            before = until_sampled(first, "long", 3)["container.cost"][0]
            first.process.send_signal(signal.SIGTERM)
            assert first.process.wait(20) == 0
            with server(tmp_path, f"port = {port}\n{config}") as second:
                until_sampled(second, "long", int(before) + 5)
