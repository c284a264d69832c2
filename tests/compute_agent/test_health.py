"""Health: told on change and now and then; numbers that cannot be counted are zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from fakes import ATTEMPT, World, pod_of

from compute_agent.clickhouse import ClickHouseSettings
from compute_agent.health import Health
from compute_agent.inventory import Inventory, quantity
from compute_agent.pods import PodStore
from compute_agent.reachable import checks
from compute_agent.samples import Samples
from compute_agent.settings import HealthLimits, ReportLimits
from compute_agent.tell import Teller
from tunnel.capabilities import REPORT_HEALTH
from tunnel.health import CLICKHOUSE_UNREACHABLE, KUBERNETES_UNREACHABLE
from tunnel.messages.planesplit_v1_pb2 import HealthRequest, Usage
from tunnel.row_counts import RowCounts


class Ear:
    """A control plane that hears what is told, or does not."""

    org, cluster = "acme", "c1"

    def __init__(self) -> None:
        self.told: list[tuple[float, HealthRequest]] = []
        self.takes = True

    async def tell(self, _session: Any, path: str, message: HealthRequest) -> bool:
        assert path == REPORT_HEALTH
        await trio.lowlevel.checkpoint()
        self.told.append((trio.current_time(), message))
        return self.takes

    @property
    def last(self) -> HealthRequest:
        return self.told[-1][1]


class Part:
    """Something that can be reached, cannot, or does not answer."""

    def __init__(self) -> None:
        self.reachable = True
        self.hangs = False

    async def __call__(self) -> bool:
        if self.hangs:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self.reachable


async def _no_usage() -> Usage:
    return Usage()


class Scene:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.store, self.ear, self.part = PodStore(10), Ear(), Part()
        self.data_url = ""
        self.health = Health(
            Inventory(self.store, None),
            {CLICKHOUSE_UNREACHABLE: self.part},
            _no_usage,
            lambda: self.data_url,
            self.ear,  # type: ignore[arg-type]
            HealthLimits(),
            every_s=30.0,
            retry_s=1.0,
        )
        self.store.replace([])
        nursery.start_soon(self.health.watch)
        nursery.start_soon(self.health.run, None)  # type: ignore[arg-type]


@pytest.fixture
async def scene(nursery: trio.Nursery) -> Scene:
    return Scene(nursery)


async def test_it_is_told_at_once_and_then_now_and_again(scene: Scene, autojump_clock: Any) -> None:
    await trio.sleep(95)
    times = [round(at) for at, _ in scene.ear.told]
    assert times == [0, 30, 60, 90]
    assert scene.ear.last.healthy
    assert (scene.ear.last.org, scene.ear.last.cluster) == ("acme", "c1")


@pytest.mark.parametrize("fault", ["refused", "hangs"])
async def test_what_breaks_is_told_within_ten_seconds(
    scene: Scene, autojump_clock: Any, fault: str
) -> None:
    await trio.sleep(12.5)
    scene.part.reachable, scene.part.hangs = fault != "refused", fault == "hangs"
    await trio.sleep(9)
    assert list(scene.ear.last.reasons) == [CLICKHOUSE_UNREACHABLE]
    assert not scene.ear.last.healthy
    scene.part.reachable, scene.part.hangs = True, False
    await trio.sleep(9)
    assert scene.ear.last.healthy
    assert len(scene.ear.told) == 3


async def test_a_cluster_that_cannot_be_seen_is_told_at_once(
    scene: Scene, autojump_clock: Any
) -> None:
    await trio.sleep(1)
    scene.store.lost()
    await trio.sleep(0.1)
    assert list(scene.ear.last.reasons) == [KUBERNETES_UNREACHABLE]
    scene.store.replace([])
    await trio.sleep(0.1)
    assert not scene.ear.last.reasons


async def test_numbers_are_told_with_every_check_while_pods_run(
    scene: Scene, autojump_clock: Any
) -> None:
    await trio.sleep(1)
    for number in range(5):
        scene.store.replace([pod_of(ATTEMPT.numbered(number + 1), "Running")])
        await trio.sleep(0.1)
    assert len(scene.ear.told) == 1
    await trio.sleep(10)
    assert [round(at) for at, _ in scene.ear.told] == [0, 5, 10]
    scene.store.replace([])
    await trio.sleep(35)
    assert [round(at) for at, _ in scene.ear.told] == [0, 5, 10, 15, 45]


async def test_a_report_that_is_not_taken_is_told_again(scene: Scene, autojump_clock: Any) -> None:
    scene.ear.takes = False
    await trio.sleep(5.5)
    assert len(scene.ear.told) == 6
    scene.ear.takes = True
    await trio.sleep(10)
    assert len(scene.ear.told) == 7


def test_reasons_are_of_the_closed_list() -> None:
    with pytest.raises(ValueError, match="closed list"):
        Health(
            Inventory(PodStore(1), None),
            {"the_dog_ate_it": Part()},
            _no_usage,
            str,
            Teller("acme", "c1", RowCounts(), 1.0),
            HealthLimits(),
            every_s=1.0,
            retry_s=1.0,
        )


async def test_the_agent_tells_over_its_tunnel(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    world = World(tmp_path, nursery, reports=ReportLimits(health_s=5.0))
    world.agent.data_url = "https://127.0.0.1:7"
    await world.relay.until(lambda: len(world.relay.healths) >= 3)
    last = world.relay.healths[-1]
    assert (last.org, last.cluster, last.healthy) == ("acme", "c1", True)
    assert last.data_url == "https://127.0.0.1:7"
    assert world.agent.rows.get("A12", "up") > 0
    world.relay.links[-1].cut()
    told = len(world.relay.healths)
    await world.relay.until(lambda: len(world.relay.healths) > told)


@pytest.mark.parametrize(
    ("text", "value"), [("250m", 0.25), ("2", 2), ("1k", 1000), ("16Gi", 16 << 30), ("0.5", 0.5)]
)
def test_quantities(text: str, value: float) -> None:
    assert quantity(text) == pytest.approx(value)


def test_only_what_is_configured_is_checked() -> None:
    assert checks(ClickHouseSettings(), None) == {}
    assert set(checks(ClickHouseSettings(url="http://127.0.0.1:1"), None)) == {
        CLICKHOUSE_UNREACHABLE
    }


async def test_a_part_that_is_not_there_is_not_reachable() -> None:
    with trio.socket.socket() as closed:
        await closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"  # nobody listens
        [check] = checks(ClickHouseSettings(url=url), None).values()
        assert not await check()
        assert await Samples(ClickHouseSettings(url=url))(["u1"]) == (0.0, 0.0)
