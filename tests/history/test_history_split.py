"""A whole split with real processes: logs of pods whose files are gone."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import httpx
import pytest

from customer_stub.pods.workload import Workload, generate
from planesplit.harness import Harness

pytestmark = pytest.mark.integration


def remove(split: Harness, run: str) -> str:
    """Delete a run's pod and its files, as an operator may; return the pod's name."""
    access = split.ready.clusters[0]
    token = Path(access.kubernetes_token_file).read_text().strip()
    url = f"{access.kubernetes}/api/v1/namespaces/{{}}/pods"
    trust = ssl.create_default_context(cafile=split.ready.ca_file)
    with httpx.Client(
        verify=trust,
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        pods = client.get(f"{access.kubernetes}/api/v1/pods").raise_for_status().json()["items"]
        (pod,) = [p["metadata"] for p in pods if p["metadata"]["name"].startswith(run)]
        where = url.format(pod["namespace"])
        client.delete(f"{where}/{pod['name']}", params={"gracePeriodSeconds": 0})
    (directory,) = Path(log_root(split)).glob(f"*_{pod['name']}_{pod['uid']}")
    shutil.rmtree(directory)
    return str(pod["name"])


def log_root(split: Harness) -> Path:
    """Where this node's log files are."""
    found = list(Path(split.ready.directory).rglob("*_*_*/main"))
    return found[0].parent.parent


def written(workload: Workload) -> str:
    """What a run of the workload prints."""
    return b"".join(piece.data for piece in generate(workload)).decode(errors="replace")


@pytest.mark.parametrize("forgets", [False, True])
def test_a_log_whose_files_are_gone_is_whole(planesplit: Harness, forgets: bool) -> None:
    run = planesplit.run(workload="training", args=["--lines", "1500", "--rate", "0"])
    planesplit.wait(run)
    remove(planesplit, run)
    if forgets:
        planesplit.kill()
        planesplit.restart()
    with planesplit.tail(run) as lines:
        text = "".join(line.text for line in lines.all())
    assert text == written(Workload("training", lines=1500, rate=0))


def test_files_vanish_while_a_viewer_reads(planesplit: Harness) -> None:
    run = planesplit.run(workload="plain", args=["--lines", "3000", "--rate", "1500"])
    with planesplit.tail(run) as lines:
        for _ in range(200):
            lines.next(timeout=10)
        remove(planesplit, run)
        planesplit.cut()
        seen = [line.text.rstrip("\n") for line in lines.all()]
    whole = written(Workload("plain", lines=3000, rate=1500)).splitlines()
    assert 200 < len(seen) <= 3000, "the pod was deleted while it ran"
    assert seen == whole[: len(seen)]
