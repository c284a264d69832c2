"""Pods, clusters and log readers that the tests of the customer's stand-in share."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from customer_stub.cluster import Cluster
from customer_stub.settings import CustomerSettings
from tunnel.journal import Journal

RECORD = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z) (stdout|stderr) ([PF]) (.*)", re.DOTALL
)
NAMESPACE = "flyte-development"


def pod(name: str = "p", image: str = "any", *words: str, **spec: Any) -> dict[str, Any]:
    """A pod of one container; `words` are its arguments."""
    container: dict[str, Any] = {"name": "main", "image": image, "args": list(words)}
    container |= spec.pop("container", {})
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }


def log_files(directory: Path, restart: int = 0) -> list[Path]:
    """A container's files, oldest first."""
    return [*sorted(directory.glob(f"{restart}.log.*")), directory / f"{restart}.log"]


def records(directory: Path) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """Every record (time, stream, tag, content) of a container's log, over rotations."""
    found = []
    for path in log_files(directory):
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        assert data == b"" or data.endswith(b"\n")
        for line in data.split(b"\n")[:-1]:
            match = RECORD.fullmatch(line)
            assert match, line[:80]
            found.append(match.groups())
    return found


def lines(directory: Path, stream: str | None = None) -> list[bytes]:
    """The container's lines in the order of their completion."""
    parts: dict[bytes, bytes] = {b"stdout": b"", b"stderr": b""}
    done = []
    for _, source, tag, content in records(directory):
        parts[source] += content
        if tag == b"F":
            if stream in (None, source.decode()):
                done.append(parts[source])
            parts[source] = b""
    assert not any(parts.values()), "a line has no F record"
    return done


@asynccontextmanager
async def cluster(log_root: Path, **settings: Any) -> AsyncIterator[Cluster]:
    """A running cluster without HTTP."""
    made = Cluster(
        CustomerSettings(log_root=str(log_root), **settings),
        journal=Journal("customer", write=lambda line: None),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def ended(target: Cluster, *names: str, timeout_s: float = 30) -> list[dict[str, Any]]:
    """Wait until pods have ended and return them."""
    with trio.fail_after(timeout_s):
        while True:
            seen = int(target.pods.list(NAMESPACE)["metadata"]["resourceVersion"])
            pods = [target.pods.get(NAMESPACE, name) for name in names]
            if all(p["status"]["phase"] in ("Succeeded", "Failed") for p in pods):
                return pods
            async for _ in target.pods.watch(NAMESPACE, since=seen):
                break
    raise AssertionError


def directory_of(target: Cluster, found: dict[str, Any]) -> Path:
    """Where the pod's container logs."""
    return target.kubelet.log_directory(found)


def terminated(found: dict[str, Any]) -> dict[str, Any]:
    """The state that a pod's container ended in."""
    state: dict[str, Any] = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def phases(events: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Type and phase of watch events."""
    return [(e["type"], e["object"]["status"]["phase"]) for e in events]
