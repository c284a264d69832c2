"""What the operator's account sees: reasons and numbers of nodes and pods, whoever made them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import trio
from fakes import ATTEMPT, pod_of

from compute_agent.inventory import Inventory, Offered, SeenPod
from compute_agent.pods import PodStore
from compute_agent.settings import ClusterLimits
from compute_agent.usage import UsageCounter
from kube.client import KubernetesApi
from tunnel.first import first_of
from tunnel.health import KUBERNETES_UNREACHABLE, NODES_NOT_READY

Json = dict[str, Any]


def node(name: str, cpu: str = "2", memory: str = "1Gi", *, ready: str = "True") -> Json:
    conditions = {"MemoryPressure": "False", "Ready": ready}
    status = {
        "allocatable": {"cpu": cpu, "memory": memory},
        "conditions": [{"type": kind, "status": how} for kind, how in conditions.items()],
    }
    return {"metadata": {"name": name, "resourceVersion": "2"}, "status": status}


def pod(uid: str, phase: str = "") -> Json:
    status = {"phase": phase} if phase else {}
    return {"metadata": {"name": uid, "uid": uid, "namespace": "any"}, "status": status}


class Api:
    """An API server that lists what it has and tells changes of nodes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = [node("n")]
        self.pods: list[Any] = []
        self.status = 200
        self._send, self._changes = trio.open_memory_channel[Json](10)

    def change(self, kind: str, obj: Json) -> None:
        """Have a node change."""
        self._send.send_nowait({"type": kind, "object": obj})

    async def handle(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if self.status != 200:
            return httpx.Response(self.status, json={})
        of_nodes = request.url.path == "/api/v1/nodes"
        if "watch" not in request.url.params:
            items = self.nodes if of_nodes else self.pods
            return httpx.Response(200, json={"items": items, "metadata": {"resourceVersion": "1"}})
        if not of_nodes:
            await trio.sleep_forever()
        return httpx.Response(200, text=json.dumps(await self._changes.receive()) + "\n")


class Scene:
    """An inventory of an API, and of a store that is in step."""

    def __init__(self) -> None:
        self.api, self.store = Api(), PodStore(10)
        self.store.replace([])
        transport = httpx.MockTransport(self.api.handle)
        api = KubernetesApi("http://k", None, None, ClusterLimits(), transport)
        self.inventory = Inventory(self.store, api)

    async def until(self, *reasons: str) -> None:
        """Wait, woken by changes alone, until these are the reasons."""
        with trio.fail_after(10):
            while self.inventory.reasons() != set(reasons):
                await first_of(*self.inventory.changes())


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_reasons_follow_the_api_and_the_nodes(
    scene: Scene, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    assert scene.inventory.reasons() == {KUBERNETES_UNREACHABLE}
    nursery.start_soon(scene.inventory.run)
    await scene.until()
    scene.api.change("MODIFIED", node("n", ready="Unknown"))
    await scene.until(NODES_NOT_READY)
    assert scene.inventory.nodes() == []
    scene.api.change("ADDED", node("m", "3500m", "8Gi"))
    await scene.until()
    assert scene.inventory.nodes() == [Offered(3.5, 8 << 30)]
    scene.api.change("DELETED", node("m"))
    await scene.until(NODES_NOT_READY)
    scene.api.status = 403
    scene.api.change("MODIFIED", node("n"))
    await scene.until(KUBERNETES_UNREACHABLE)
    scene.api.status = 200
    await scene.until()
    scene.store.lost()
    await scene.until(KUBERNETES_UNREACHABLE)


async def test_usage_is_counted_from_nodes_and_pods(
    scene: Scene, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    scene.api.nodes = [node("a", "3500m", "8Gi"), node("b", "2", "1024Ki"), node("c", ready="no")]
    scene.api.pods = [pod("u1", "Running"), pod("u2", "Running"), pod("u3"), pod("u4", "Failed")]
    asked = []

    async def used(pods: Any) -> tuple[float, float]:
        asked.append(list(pods))
        return 1.5, 2e9

    nursery.start_soon(scene.inventory.run)
    await scene.until()
    usage = await UsageCounter(scene.inventory, used)()
    assert (usage.nodes, usage.pods_running, usage.pods_pending) == (2, 2, 1)
    assert usage.cpu_cores == pytest.approx(5.5)
    assert usage.memory_bytes == (8 << 30) + (1 << 20)
    assert (usage.cpu_used_cores, usage.memory_used_bytes) == (1.5, 2_000_000_000)
    assert asked == [["u1", "u2"]]


@pytest.mark.parametrize(
    "broken",
    [
        *({"status": status} for status in ({}, {"conditions": 1}, {"conditions": [{}]})),
        {"status": None},
    ],
    ids=["no status", "no list", "no condition", "nothing"],
)
async def test_a_node_that_cannot_be_read_is_none(
    scene: Scene, nursery: trio.Nursery, autojump_clock: Any, broken: Json
) -> None:
    scene.api.nodes = [{"metadata": {"name": "x"}, **broken}]
    nursery.start_soon(scene.inventory.run)
    await scene.until(NODES_NOT_READY)


@pytest.mark.parametrize(("cpu", "memory"), [("lots", "1Zi"), ("nan", "inf"), ("-1", "")])
async def test_what_cannot_be_counted_is_zero(
    scene: Scene, nursery: trio.Nursery, autojump_clock: Any, cpu: str, memory: str
) -> None:
    scene.api.nodes = [node("n", cpu, memory)]
    nursery.start_soon(scene.inventory.run)
    await scene.until()
    usage = await UsageCounter(scene.inventory, None)()
    assert (usage.nodes, usage.cpu_cores, usage.memory_bytes) == (1, 0, 0)


async def test_without_an_account_pods_are_those_of_the_store() -> None:
    store = PodStore(10)
    store.replace([pod_of(ATTEMPT, "Running"), pod_of(ATTEMPT.numbered(2), "Failed")])
    inventory = Inventory(store, None)
    await inventory.run()
    [seen] = inventory.pods()
    assert seen == SeenPod(store.all()[0].uid, "Running")
    assert (inventory.nodes(), inventory.reasons()) == ([], set())
