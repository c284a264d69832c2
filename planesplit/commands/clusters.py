"""`planesplit get clusters` and `planesplit cluster`: state of clusters, and letting them in."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from planesplit.administration import open_administration
from planesplit.commands.outcome import OK
from planesplit.commands.output import as_json, as_table, progress
from planesplit.ready import find
from tunnel.messages.planesplit_v1_pb2 import Cluster

COLUMNS = ("cluster", "enabled", "tunnel", "since", "healthy", "reasons", "rtt_ms", "pods", "cpu")
REFRESH_S = 1.0


async def get_clusters(*, output: str, watch: bool, ready_file: Path | None) -> int:
    """Print the state of every cluster; with `watch` again whenever it has changed."""
    async with open_administration(find(ready_file)) as administration:
        shown = None
        while True:
            found = [as_record(cluster) for cluster in await administration.clusters()]
            if found != shown:
                shown = found
                rows = [_row(record) for record in found]
                sys.stdout.write(as_json(found) if output == "json" else as_table(rows, COLUMNS))
                sys.stdout.flush()
            if not watch:
                return OK
            await trio.sleep(REFRESH_S)


async def set_cluster(name: str, *, enabled: bool, ready_file: Path | None) -> int:
    """Enable or disable a cluster."""
    async with open_administration(find(ready_file)) as administration:
        cluster = await administration.set_cluster(name, enabled=enabled)
    progress(f"cluster {cluster.cluster} is {'enabled' if cluster.enabled else 'disabled'}")
    return OK


def as_record(cluster: Cluster) -> dict[str, Any]:
    """Return a cluster's state as plain values: times in RFC 3339, memory in bytes."""
    usage = cluster.usage
    return {
        "org": cluster.org,
        "cluster": cluster.cluster,
        "enabled": cluster.enabled,
        "tunnel": cluster.tunnel,
        "since": _time(cluster.since.seconds),
        "healthy": cluster.healthy,
        "reasons": list(cluster.reasons),
        "heard_at": _time(cluster.heard_at.seconds),
        "rtt_ms": round(cluster.rtt_ms, 3),
        "usage": {
            "nodes": usage.nodes,
            "pods_running": usage.pods_running,
            "pods_pending": usage.pods_pending,
            "cpu_cores": usage.cpu_cores,
            "cpu_used_cores": usage.cpu_used_cores,
            "memory_bytes": usage.memory_bytes,
            "memory_used_bytes": usage.memory_used_bytes,
        },
    }


def _row(record: dict[str, Any]) -> dict[str, Any]:
    usage = record["usage"]
    return {
        **record,
        "enabled": "yes" if record["enabled"] else "no",
        "healthy": "yes" if record["healthy"] else "no",
        "reasons": ", ".join(record["reasons"]),
        "pods": f"{usage['pods_running']}+{usage['pods_pending']}",
        "cpu": f"{usage['cpu_used_cores']:g}/{usage['cpu_cores']:g}",
    }


def _time(seconds: int) -> str:
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
