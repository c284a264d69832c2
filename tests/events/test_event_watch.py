"""WatchClusterEvents: everything once, over relists, cuts and an API that is away."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from event_cast import ATTEMPT, NAMESPACE, Stage, stage
from flyteidl2.workflow.run_definition_pb2 import ClusterEvent

from compute_agent.events.cursor import BadCursor, Cursor
from compute_agent.events.event import PodEvent
from compute_agent.events.feeds import Feed
from compute_agent.events.service import EventService
from compute_agent.events.settings import EventSettings
from compute_agent.pods import PodStore
from kube.client import ClusterError

LIFE = ["Scheduled", "Pulled", "Created", "Started", "Completed"]


async def test_a_pods_life(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        on.create("plain", "--lines", "3", "--rate", "1")
        async with on.watch() as watch:
            await watch.finish()
    assert watch.reasons == LIFE
    first = watch.events[0]
    assert first.type == ClusterEvent.TYPE_NORMAL
    assert (first.source_component, first.count) == ("default-scheduler", 1)
    assert first.message.startswith(f"Successfully assigned {NAMESPACE}/{ATTEMPT.pod}")
    assert first.occurred_at.seconds > 1_700_000_000


async def test_a_failed_pod_and_one_that_is_deleted(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        on.create("plain", "--lines", "1", "--exit-code", "3")
        other = ATTEMPT.numbered(2)
        on.create("plain", "--rate", "1", attempt=other)
        async with on.watch() as watch:
            await watch.finish()
        assert watch.reasons[-1] == "Failed"
        assert watch.events[-1].type == ClusterEvent.TYPE_WARNING
        assert "code 3" in watch.events[-1].message
        async with on.watch(attempt=other) as watch:
            await watch.until("Started")
            on.world.cluster.pods.delete(NAMESPACE, other.pod)
            await watch.finish()
        assert watch.reasons[4:] == ["Killing", "Failed"]
        async with on.watch(attempt=other) as again:  # its pod is gone, its events are not
            await again.finish()
        assert again.reasons == watch.reasons


async def test_repetitions_come_with_their_count(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        pod = on.create("plain", "--rate", "1")
        async with on.watch() as watch:
            await watch.live()
            for count in (1, 2, 3):
                on.recorder.warning(pod, "BackOff", "Back-off pulling image")
                await watch.until("BackOff", count)
        counts = [event.count for event in watch.events if event.reason == "BackOff"]
        assert counts == [1, 2, 3]


async def test_keepalive_and_the_first_empty_message(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        on.create("plain", "--rate", "0.001")
        await trio.sleep(1)
        async with on.watch() as watch:
            started = trio.current_time()
            while len(watch.empty_at) < 4:
                await watch.step()
        assert watch.reasons == LIFE[:4]
        assert watch.empty_at[0] == started, "what there was, and then at once the empty message"
        gaps = [b - a for a, b in zip(watch.empty_at, watch.empty_at[1:], strict=False)]
        assert gaps == [10.0] * 3


Told = list[tuple[str, int]]


async def test_a_pod_that_is_gone_and_forgotten(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        for _ in range(2):  # a pod by the same name was there before
            on.create("plain", "--lines", "1")
            async with on.watch() as watch:
                await watch.finish()
            on.world.cluster.pods.delete(NAMESPACE, ATTEMPT.pod)
            await trio.sleep(1)
        on.store._past.clear()  # as after a restart of the agent
        async with on.watch() as again:
            await again.finish()
        assert again.reasons == LIFE


async def test_what_is_there_now(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        on.create("plain", "--rate", "0.001")
        await trio.sleep(1)
        started = trio.current_time()
        async with on.watch(follow="false") as watch:
            await watch.finish()
        assert watch.reasons == LIFE[:4]
        assert trio.current_time() == started
        assert await _refusal(on, follow="maybe") is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("seed", range(8))
async def test_cuts_anywhere_lose_and_double_nothing(
    tmp_path: Path, autojump_clock: Any, seed: int
) -> None:
    seen, happened = await _with_cuts(tmp_path, seed)
    assert seen == happened


@pytest.mark.parametrize("mutant", ["doubles", "loses"])
async def test_a_watch_that_doubles_or_loses_is_caught(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    off_by = -1 if mutant == "doubles" else 1
    after = Feed.after
    monkeypatch.setattr(Feed, "after", lambda feed, v: after(feed, v + off_by if v else v))
    outcomes = [await _with_cuts(tmp_path / str(seed), seed) for seed in range(4)]
    assert any(seen != happened for seen, happened in outcomes)


async def _with_cuts(root: Path, seed: int) -> tuple[Told, Told]:
    """Cut a watch and resume it at its last mark, while the history is too short for watches.

    Returns:
        What a viewer was told, and what happened.
    """
    rng = random.Random(seed)
    async with stage(root, event_history=rng.choice((4, 16, 4096)), bookmark_s=3) as on:
        pod = on.create("plain", "--rate", "0.001")
        await trio.sleep(1)
        seen: Told = []
        cursor = b""
        wanted = 4
        for _ in range(12):
            async with on.watch(cursor) as watch:
                for _ in range(rng.randrange(6)):
                    if rng.random() < 0.7:
                        wanted += 1
                        on.recorder.normal(pod, "Note", f"note {wanted}")
                    if rng.random() < 0.3:  # other changes push ours out of the history
                        for number in range(6):
                            on.recorder.normal(_other(on), "Noise", f"noise {number}")
                    with trio.move_on_after(rng.random()):
                        await watch.step()
                        await trio.sleep(rng.random())
                # Only what was marked counts: the relay discards an unfinished unit.
                cursor = watch.cursor or cursor
                seen += [(e.message, e.count) for e in watch.marked]
        on.world.cluster.pods.delete(NAMESPACE, ATTEMPT.pod, grace_s=0)
        async with on.watch(cursor) as watch:
            await watch.finish()
        seen += [(e.message, e.count) for e in watch.events]
        stored = on.world.cluster.objects.kinds["events"].list(NAMESPACE)["items"]
        about = [e for e in stored if e["involvedObject"]["name"] == ATTEMPT.pod]
        about.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return seen, [(event["message"], event["count"]) for event in about]
    raise AssertionError


def _other(on: Stage) -> dict[str, Any]:
    meta = {"namespace": NAMESPACE, "name": "other", "uid": "other"}
    return {"metadata": meta}


async def test_a_watch_that_is_gone_is_listed_again(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path, event_history=3) as on:
        pod = on.create("plain", "--rate", "0.001")
        async with on.watch() as watch:
            await watch.until("Started")
            for number in range(20):  # 410: the history holds three changes
                on.recorder.normal(pod, "Note", f"note {number}")
            while len(watch.events) < 24:
                await watch.step()
        assert [e.message for e in watch.events[4:]] == [f"note {n}" for n in range(20)]


async def test_the_api_away(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        pod = on.create("plain", "--rate", "0.001")
        async with on.watch() as watch:
            await watch.until("Started")
            await watch.live()
            with trio.move_on_after(59):  # the watch under way ends after a minute
                await watch.step()
        on.world.faults.status = 503
        async with on.watch(watch.cursor) as cut:
            with pytest.raises(ConnectError) as caught:
                await cut.finish()
            assert caught.value.code is Code.UNAVAILABLE
        on.recorder.normal(pod, "Note", "while it was away")
        at = cut.cursor or watch.cursor
        async with on.watch(at) as back, trio.open_nursery() as nursery:
            nursery.start_soon(_heal, on, 4.0)
            await back.until("Note")
        assert back.reasons == ["Note"]


async def _heal(on: Stage, after_s: float) -> None:
    await trio.sleep(after_s)
    on.world.faults.status = 0


async def test_an_api_that_hangs(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        on.create("plain", "--rate", "0.001")
        await trio.sleep(1)
        on.world.faults.hangs = True
        started = trio.current_time()
        async with on.watch() as watch:
            with pytest.raises(ConnectError) as caught:
                await watch.finish()
        assert caught.value.code is Code.UNAVAILABLE
        assert trio.current_time() - started <= 15


async def test_who_is_refused(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path, agent={"max_watches": 1}) as on:
        on.create("plain", "--rate", "0.001")
        await trio.sleep(1)
        for cursor in (b"x", b"[]", b'["u",-1,true]', b'["u","1",true]', b"[" * 1000):
            assert await _refusal(on, cursor=cursor) is Code.INVALID_ARGUMENT
        unknown = ATTEMPT.numbered(7)
        assert await _refusal(on, attempt=unknown) is Code.NOT_FOUND
        async with on.watch() as watch:
            await watch.live()
            assert await _refusal(on) is Code.RESOURCE_EXHAUSTED
        async with on.watch() as watch:
            await watch.live()
        assert not on.feeds._feeds, "nobody watches any more"
        on.service._feeds = None
        assert await _refusal(on) is Code.UNAVAILABLE


async def _refusal(on: Stage, **options: Any) -> Code:
    async with on.watch(**options) as watch:
        with pytest.raises(ConnectError) as caught:
            await watch.finish()
    return caught.value.code


async def test_viewers_of_one_pod_share_a_watch(tmp_path: Path, autojump_clock: Any) -> None:
    async with stage(tmp_path) as on:
        on.create("plain", "--rate", "0.001")
        await trio.sleep(1)
        async with on.watch() as one, on.watch() as two:
            await one.live()
            await two.live()
            assert len(on.feeds._feeds) == 1
            assert one.reasons == two.reasons == LIFE[:4]


def event_json(**fields: Any) -> dict[str, Any]:
    meta = {"uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": meta, "type": "Normal", "reason": "R", "message": "M", **fields}


def test_reading_events() -> None:
    plain = PodEvent.from_json(event_json())
    assert (plain.version, plain.count, plain.at_s) == (7, 1, 1767225600.0)
    skewed = PodEvent.from_json(event_json(lastTimestamp="2099-01-01T00:00:00Z", count=3))
    assert (skewed.at_s > 4e9, skewed.count) == (True, 3)
    new = event_json(eventTime="2026-01-01T00:00:01.5Z", reportingComponent="k", count=None)
    series = PodEvent.from_json({**new, "series": {"count": 9}})
    assert (series.count, series.source, series.at_s % 10) == (9, "k", 1.5)
    for bad in ({}, None, [], event_json(metadata={}), event_json(lastTimestamp="soon")):
        with pytest.raises(ClusterError):
            PodEvent.from_json(bad)


def test_long_messages_are_cut_between_characters() -> None:
    event = PodEvent.from_json(event_json(message="é" * 5000, type="Strange", count=2**40))
    message = event.as_message(101)
    assert message.message == "é" * 50
    assert message.type == ClusterEvent.TYPE_UNSPECIFIED
    assert message.count == 2**31 - 1


def test_cursors() -> None:
    cursor = Cursor("a" * 36, 2**62, live=True)
    assert Cursor.decode(cursor.encode()) == cursor
    assert len(cursor.encode()) < 1024
    with pytest.raises(BadCursor):
        Cursor.decode(b'{"uid": 1}')


async def test_clocks_that_differ_do_not_change_the_order(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with stage(tmp_path) as on:
        pod = on.create("plain", "--rate", "0.001")
        times = iter([5_000_000_000, 1_000_000_000, 9_000_000_000])
        async with on.watch() as watch:
            await watch.until("Started")
            for number in range(3):
                on.recorder._clock = lambda: next(times)
                on.recorder.normal(pod, "Note", f"note {number}")
            while len(watch.events) < 7:
                await watch.step()
        assert [e.message for e in watch.events[4:]] == ["note 0", "note 1", "note 2"]


async def test_without_an_api() -> None:
    service = EventService(None, PodStore(1), EventSettings())
    with pytest.raises(ConnectError) as caught:
        await anext(service.watch_cluster_events(None, None))  # type: ignore[arg-type]
    assert caught.value.code is Code.UNAVAILABLE
