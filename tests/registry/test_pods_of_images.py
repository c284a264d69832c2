"""Pods whose image is in the cluster's registry, without any socket: statuses, stops, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from customer_stub.cluster import Cluster
from customer_stub.settings import CustomerSettings
from planesplit.split.memory_http import AsgiTransport
from tunnel.journal import Journal

NAMESPACE = "ns"
IMAGE = "registry.local/planesplit/workload:latest"


@asynccontextmanager
async def cluster(root: Path, **settings: Any) -> AsyncIterator[Cluster]:
    """A cluster with its stores; images come through memory."""
    journal = Journal("customer", write=lambda line: None)
    options = CustomerSettings(
        log_root=str(root / "logs"), data_root=str(root / "data"), insecure=True, **settings
    )
    made = Cluster(options, journal=journal)
    async with trio.open_nursery() as nursery:
        assert made.stores is not None
        stores = made.stores
        made.reach_stores(
            objects_url="http://objects",
            registry_url="http://registry",
            registry_transport=AsgiTransport(lambda: stores.registry, nursery.start_soon),
        )
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


def pod(image: str, **container: Any) -> dict[str, Any]:
    container = {"name": "main", "image": image, **container}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "spec": {"containers": [container]},
    }


async def history(made: Cluster, body: dict[str, Any]) -> list[tuple[str, str]]:
    """Phase and reason of every status of a pod until it has ended."""
    seen = []
    since = int(made.pods.list(NAMESPACE)["metadata"]["resourceVersion"])
    made.pods.create(NAMESPACE, body)
    with trio.fail_after(20):
        async for event in made.pods.watch(NAMESPACE, since=since):
            status = event["object"]["status"]
            (container,) = status.get("containerStatuses", [{"state": {}}])
            (state,) = container["state"].values() or [{}]
            seen.append((status["phase"], state.get("reason", "")))
            if status["phase"] in ("Succeeded", "Failed"):
                break
    return seen


async def test_from_pull_to_end(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        seen = await history(made, pod(IMAGE, args=["1"]))
        assert seen == [
            ("Pending", ""),
            ("Pending", "ContainerCreating"),
            ("Running", ""),
            ("Succeeded", "Completed"),
        ]
        found = made.pods.get(NAMESPACE, "p")
        text = (made.kubelet.log_directory(found) / "0.log").read_text()
        assert "0000000 from the image at " in text
        assert made.stores
        assert made.stores.rows_report()["direct"]["A7"]["down"] > 0


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("registry.local/planesplit/absent", "no such image"),
        (f"{IMAGE}@sha256:{'0' * 64}", "no such image"),
        ("registry.local/UPPER", "malformed"),
    ],
)
async def test_an_image_that_cannot_be_had(tmp_path: Path, image: str, why: str) -> None:
    async with cluster(tmp_path) as made:
        seen = await history(made, pod(image))
        assert seen[-2:] == [("Pending", "ErrImagePull"), ("Failed", "ErrImagePull")]
        status = made.pods.get(NAMESPACE, "p")["status"]["containerStatuses"][0]
        assert why in status["state"]["terminated"]["message"]
        assert status["state"]["terminated"]["exitCode"] == 128


async def test_a_pod_that_is_deleted_while_its_image_is_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulling = trio.Event()

    async def never(*_: object) -> None:
        pulling.set()
        await trio.sleep_forever()

    async with cluster(tmp_path) as made:
        assert made.stores
        monkeypatch.setattr(made.stores, "registry", never)
        made.pods.create(NAMESPACE, pod(IMAGE))
        with trio.fail_after(20):
            await pulling.wait()
            since = int(made.pods.list(NAMESPACE)["metadata"]["resourceVersion"])
            made.pods.delete(NAMESPACE, "p")
            async for event in made.pods.watch(NAMESPACE, since=since):
                if event["type"] == "DELETED":
                    break
        assert not list((tmp_path / "data" / "images" / "unpacked").iterdir())


async def test_images_of_other_registries_run_as_commands(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        body = pod("example.test/planesplit/x", command=["sh", "-c", "exit 3"])
        assert (await history(made, body))[-1] == ("Failed", "Error")
        assert made.stores
        assert made.stores.rows_report()["direct"]["A7"]["down"] == 0


async def test_no_stores_no_images(tmp_path: Path) -> None:
    settings = CustomerSettings(log_root=str(tmp_path), insecure=True)
    made = Cluster(settings, journal=Journal("customer", write=lambda line: None))
    assert made.stores is None
    assert made.kubelet.images is None


async def test_a_pod_cannot_change_the_image_of_the_next(tmp_path: Path) -> None:
    spoil = "echo changed > ../bin/workload; echo mine > note; cat note"
    async with cluster(tmp_path) as made:
        body = pod(IMAGE, command=["sh", "-c", spoil])
        assert (await history(made, body))[-1] == ("Succeeded", "Completed")
        made.pods.delete(NAMESPACE, "p")
        assert (await history(made, pod(IMAGE, args=["1"])))[-1] == ("Succeeded", "Completed")
        found = made.pods.get(NAMESPACE, "p")
        text = (made.kubelet.log_directory(found) / "0.log").read_text()
        assert "0000000 from the image" in text
    assert not list((tmp_path / "data" / "work").iterdir()), "the pods' copies are gone"
