"""A container that ends well is not yet a task that did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from fakes import World, pod_of

from compute_agent.agent import Agent, Sources
from compute_agent.attempts import Attempt
from compute_agent.objects.store import StoreError
from compute_agent.outcomes import MAX_KNOWN, Outcomes
from tunnel.messages.planesplit_v1_pb2 import PhaseEvent

SUCCEEDED, FAILED, RUNNING = 5, 6, 4


class Store:
    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.down = False
        self.asked: list[str] = []

    async def __call__(self, attempt: Attempt) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append(attempt.run)
        if self.down:
            raise StoreError("down")
        return attempt.run in self.failed


def event(run: str, phase: int = SUCCEEDED) -> PhaseEvent:
    made = PhaseEvent(phase=phase, sequence=phase)
    made.action.run = run
    return made


def key(run: str, phase: int = SUCCEEDED) -> tuple[str, str, str, int]:
    return ("ns", run, "uid", phase)


async def test_an_error_beside_the_outputs_decides() -> None:
    store = Store()
    store.failed = {"bad"}
    outcomes = Outcomes(store)
    events = {key("bad"): event("bad"), key("good"): event("good"), key("r", 4): event("r", 4)}
    assert await outcomes.judge(events) == {}
    phases = {e.action.run: (e.phase, e.sequence) for e in events.values()}
    assert phases == {
        "bad": (FAILED, FAILED),
        "good": (SUCCEEDED, SUCCEEDED),
        "r": (RUNNING, RUNNING),
    }
    again = {key("bad"): event("bad")}
    await outcomes.judge(again)
    assert again[key("bad")].phase == FAILED
    assert sorted(store.asked) == ["bad", "good"], "each once"


async def test_nothing_is_claimed_while_the_store_is_away() -> None:
    store = Store()
    store.down = True
    outcomes = Outcomes(store)
    events = {key("x"): event("x"), key("r", 4): event("r", 4)}
    assert list(await outcomes.judge(events)) == [key("x")]
    store.down = False
    assert await outcomes.judge(events) == {}


async def test_a_store_that_hangs_holds_up_nobody_for_long(autojump_clock: object) -> None:
    async def hang(attempt: Attempt) -> bool:
        await trio.sleep_forever()
        return True

    held = await Outcomes(hang).judge({key("x"): event("x")})
    assert list(held) == [key("x")]
    assert trio.current_time() < 10


async def test_without_a_store_the_container_decides() -> None:
    events = {key("x"): event("x")}
    assert await Outcomes(None).judge(events) == {}
    assert events[key("x")].phase == SUCCEEDED


async def test_it_does_not_remember_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compute_agent.outcomes.MAX_KNOWN", 2)
    assert MAX_KNOWN > 2
    store = Store()
    outcomes = Outcomes(store)
    for run in "abc":
        await outcomes.judge({key(run): event(run)})
    assert len(outcomes._known) == 2


async def test_reports_wait_for_the_store(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    store.failed, store.down = {"run1"}, True

    async def is_there(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    class Objects:
        failed = staticmethod(store)
        copies = SimpleNamespace(run=trio.sleep_forever)
        layout = SimpleNamespace(metadata="bucket")

    Objects.store = SimpleNamespace(head_bucket=is_there)  # type: ignore[attr-defined]

    start = Agent.__init__

    def with_objects(self: Agent, *args: object, sources: Sources, **rest: object) -> None:
        start(self, *args, sources=replace(sources, objects=Objects()), **rest)  # type: ignore

    monkeypatch.setattr(Agent, "__init__", with_objects)
    world = World(tmp_path, nursery)

    def told() -> list[int]:
        return [p.phase for report in world.relay.reports for p in report.phases]

    world.cluster.change(pod_of(phase="Running"))
    await world.relay.until(lambda: RUNNING in told())
    world.cluster.change(pod_of(phase="Succeeded", exit_code=0))
    await trio.sleep(30)
    assert not {SUCCEEDED, FAILED} & set(told()), "nobody knows yet"
    store.down = False
    await world.relay.until(lambda: FAILED in told())
    assert SUCCEEDED not in told()
