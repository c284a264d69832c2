"""Prometheus under its own account: what it finds, what it scrapes, and what stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from customer_stub.kubernetes.clients import AccountTokens, Clients
from customer_stub.kubernetes.scraper import ACCOUNT, DISCOVERED, Scraper, samples
from customer_stub.kubernetes.settings import ScrapeSettings
from tunnel.journal import Journal

LISTS = {"items": [], "metadata": {"resourceVersion": "1"}}
NODE = {"metadata": {"name": "n"}}


class Api:
    """An API server that answers as told."""

    def __init__(self) -> None:
        self.metrics: httpx.Response = httpx.Response(200, text="a 1\n")
        self.nodes: list[Any] = [NODE]
        self.asked: list[str] = []

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if "watch" in request.url.params:
            await trio.sleep(float(request.url.params["timeoutSeconds"]))
            return httpx.Response(200, text="")
        await trio.lowlevel.checkpoint()
        if path.startswith("/metrics"):
            self.asked.append(path)
            assert request.headers["authorization"] == "Bearer its-own"
            return self.metrics
        return httpx.Response(200, json={**LISTS, "items": self.nodes * path.endswith("nodes")})


class Scene:
    """A scraper, its journal, and the API."""

    def __init__(self, root: Path, nursery: trio.Nursery) -> None:
        self.api, self.journal = Api(), list[str]()
        (root / "token").write_text("its-own\n")
        tokens = AccountTokens({ACCOUNT: str(root / "token")})
        transport = httpx.MockTransport(self.api.handle)
        journal = Journal("customer", write=self.journal.append, clock=lambda: 0.0)
        clients = Clients("http://kubernetes", tokens, transport)
        self.scraper = Scraper(clients, ScrapeSettings(), journal)
        nursery.start_soon(self.scraper.run)

    @property
    def targets(self) -> dict[str, Any]:
        return {one["job"]: one for one in self.scraper.report()["targets"]}


@pytest.fixture
async def scene(tmp_path: Path, nursery: trio.Nursery) -> Scene:
    return Scene(tmp_path, nursery)


async def test_it_scrapes_at_once_and_then_on_a_schedule(scene: Scene, autojump_clock: Any) -> None:
    await trio.sleep(32)
    assert scene.api.asked == ["/metrics", "/metrics/cadvisor"] * 3
    report = scene.scraper.report()
    assert report["discovered"] == {**dict.fromkeys(DISCOVERED, 0), "nodes": 1}
    assert [one["scrapes"] for one in report["targets"]] == [3, 3]
    assert ["target_up" in line for line in scene.journal] == [True, True]


BAD = {
    "forbidden": (httpx.Response(403, json={}), 403),
    "no server": (httpx.Response(503), 503),
    "no text of Prometheus'": (httpx.Response(200, text="a one\n"), -1),
    "no text at all": (httpx.Response(200, content=b"\xff"), -1),
}


@pytest.mark.parametrize("answer", BAD)
async def test_a_target_is_down_until_it_answers_well(
    scene: Scene, autojump_clock: Any, answer: str
) -> None:
    await trio.sleep(1)
    good = scene.api.metrics
    scene.api.metrics, status = BAD[answer]
    await trio.sleep(15)
    target = scene.targets["apiserver"]
    assert (target["up"], target["status"], target["samples"]) == (False, status, 0)
    assert "target_down" in scene.journal[-1]
    scene.api.metrics = good
    await trio.sleep(15)
    target = scene.targets["apiserver"]
    assert (target["up"], target["status"], target["samples"]) == (True, 0, 1)
    assert target["scrapes"] == 2


async def test_a_node_that_is_not_found_is_not_scraped(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    scene = Scene(tmp_path, nursery)
    scene.api.nodes = []
    await trio.sleep(1)
    assert scene.api.asked == ["/metrics"]
    assert set(scene.targets) == {"apiserver"}


def test_samples_are_counted_without_comments() -> None:
    assert samples(b'# HELP a b\n# TYPE a counter\na{x="y z"} 1\n\nb 2.5\n') == 2
    assert samples(b"") == 0
