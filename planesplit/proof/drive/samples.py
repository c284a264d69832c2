"""Row A10: metrics, by their labels and their values."""

from __future__ import annotations

import secrets
import ssl
from pathlib import Path

import httpx

from planesplit.connect_client import ConnectError
from planesplit.metrics import open_query
from planesplit.proof import claims
from planesplit.proof.stage import Stage
from planesplit.viewer import Viewer
from planesplit.workloads import container

SAMPLES = 200
COLLECTOR = "collector"
INSERT = "INSERT INTO otel.otel_metrics_gauge FORMAT JSONEachRow"


async def samples(stage: Stage, viewer: Viewer) -> None:
    """Write samples as the customer's collector does, and query them through the relay."""
    if not stage.split.ready.clusters[0].clickhouse:
        stage.failures.append("the split has no ClickHouse: metrics were not driven")
        return
    run = await viewer.run(container(exec="true"))
    number = f"0.{secrets.randbelow(9 * 10**12) + 10**12}7"  # 14 digits: the same in every format
    stage.watch(number, claims.VALUE)
    await _insert(stage, viewer, run, number, stage.make(claims.LABEL))
    body = b""
    for native in (False, True):
        async with open_query(viewer, "samples", run, native=native) as pieces:
            async for piece in pieces:
                body += piece
    stage.delivered_to(claims.LABEL, body)
    stage.delivered_to(claims.VALUE, body)
    try:
        bad = {"attempt": stage.make(claims.BAD_QUERY)}
        async with open_query(viewer, "samples", run, bad) as pieces:
            async for _ in pieces:
                stage.failures.append("a query with a wrong parameter was answered")
    except ConnectError:
        stage.delivered_to(claims.BAD_QUERY)
    await viewer.wait(run)


async def _insert(stage: Stage, viewer: Viewer, run: str, number: str, label: str) -> None:
    cluster, place = stage.split.ready.clusters[0], viewer.place
    password = Path(cluster.clickhouse_password_file).with_name(f"clickhouse-{COLLECTOR}")
    headers = {
        "x-clickhouse-user": COLLECTOR,
        "x-clickhouse-key": password.read_text(encoding="utf-8").strip(),
    }
    ca_file = stage.split.ready.ca_file
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else False
    async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=20.0) as http:
        answer = await http.post(
            cluster.clickhouse,
            params={"query": INSERT, "date_time_input_format": "best_effort"},
            content=_rows((place.org, place.project, place.domain, run), number, label),
            headers=headers,
        )
    if answer.status_code != httpx.codes.OK:
        stage.failures.append(f"ClickHouse refused the samples with status {answer.status_code}")


def _rows(scope: tuple[str, str, str, str], number: str, label: str) -> bytes:
    import json

    names = ("planesplit.org", "planesplit.project", "planesplit.domain", "planesplit.run")
    of = {
        **dict(zip(names, scope, strict=True)),
        "planesplit.action": "a0",
        "planesplit.attempt": "1",
        "k8s.pod.name": "pod",
        "k8s.container.name": "main",
        "k8s.node.name": label,
    }
    rows = [
        {
            "ResourceAttributes": of,
            "MetricName": "gpu.utilization",
            "Attributes": {"gpu": "0"},
            "TimeUnix": f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z",
            "Value": float(number),
        }
        for second in range(SAMPLES)
    ]
    return "\n".join(map(json.dumps, rows)).encode()
