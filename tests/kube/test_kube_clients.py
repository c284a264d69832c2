"""Real clients against the API: the `kubernetes` package and kr8s, over TLS with a token."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from kube_cast import Api

from customer_stub.server import bind
from customer_stub.settings import CustomerSettings, TlsFiles
from planesplit.pki import Authority
from planesplit.split.kubeconfig import write_kubeconfigs

pytestmark = pytest.mark.integration

ACCOUNT = "clustersync-system"


@asynccontextmanager
async def served(root: Path, nursery: trio.Nursery) -> AsyncIterator[tuple[str, Api]]:
    """The compute plane's API on a port; yields a kubeconfig of clustersync's."""
    authority = Authority(root / "pki", valid_for=dt.timedelta(hours=1))
    leaf = authority.server("kube")
    tls = TlsFiles(str(leaf.cert_file), str(leaf.key_file))
    endpoint = bind(CustomerSettings(log_root="unused", tls=tls, token_file="unused"))
    api = Api("compute", nursery)
    await nursery.start(endpoint.serve, api.app)
    token = root / "token"
    token.write_text(ACCOUNT)
    files = write_kubeconfigs(
        root / "configs",
        f"https://localhost:{endpoint.port}",
        str(authority.ca_file),
        {ACCOUNT: token},
    )
    yield files[ACCOUNT], api


async def test_the_kubernetes_package(tmp_path: Path, nursery: trio.Nursery) -> None:
    async with served(tmp_path, nursery) as (kubeconfig, _):
        with trio.fail_after(60):
            await trio.to_thread.run_sync(_with_the_package, kubeconfig)
        nursery.cancel_scope.cancel()


def _with_the_package(kubeconfig: str) -> None:
    kubernetes: Any = pytest.importorskip("kubernetes")
    client = kubernetes.config.new_client_from_config(kubeconfig)
    core = kubernetes.client.CoreV1Api(client)
    core.create_namespace({"metadata": {"name": "n"}})
    core.create_namespaced_config_map("n", {"metadata": {"name": "c"}, "data": {"a": "b"}})
    core.patch_namespaced_config_map("c", "n", {"data": {"a": "z"}})
    assert core.read_namespaced_config_map("c", "n").data == {"a": "z"}
    names = [item.metadata.name for item in core.list_namespace().items]
    assert "n" in names
    watched = kubernetes.watch.Watch().stream(
        core.list_config_map_for_all_namespaces, timeout_seconds=1
    )
    assert [event["object"].metadata.name for event in watched] == ["c"]
    with pytest.raises(kubernetes.client.ApiException) as caught:
        core.list_node()
    assert caught.value.status == 403
    assert "nodes is forbidden" in caught.value.body


async def test_kr8s(tmp_path: Path, nursery: trio.Nursery) -> None:
    kr8s: Any = pytest.importorskip("kr8s")
    asyncio: Any = pytest.importorskip("kr8s.asyncio")
    objects: Any = pytest.importorskip("kr8s.asyncio.objects")
    async with served(tmp_path, nursery) as (kubeconfig, _):
        with trio.fail_after(60):
            api = await asyncio.api(kubeconfig=kubeconfig)
            space = await objects.Namespace({"metadata": {"name": "n"}}, api=api)
            await space.create()
            body = {"metadata": {"name": "c", "namespace": "n"}, "data": {"a": "b"}}
            made = await objects.ConfigMap(body, api=api)
            await made.create()
            await made.patch({"data": {"a": "z"}})
            found = [item async for item in api.get("configmaps", namespace="n")]
            assert [item.data for item in found] == [{"a": "z"}]
            with pytest.raises(kr8s.ServerError, match="cannot list resource"):
                _ = [item async for item in api.get("nodes")]
        nursery.cancel_scope.cancel()
