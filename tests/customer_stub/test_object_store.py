"""Objects, versions, history, and watches over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from customer_cast import NAMESPACE, phases, pod
from hypothesis import given
from hypothesis import strategies as st

from customer_stub.settings import CustomerSettings
from kube.server.pods import PodApi
from kube.server.selectors import label_selector
from kube.server.status import ApiError
from kube.server.store import Conflict, Expired, Missing, ObjectStore


def thing(name: str, namespace: str = "a", **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, **fields}


def make_api(**settings: Any) -> PodApi:
    bounds = CustomerSettings(log_root="unused", **settings)
    store = ObjectStore(history=bounds.event_history, first_version=100)
    uids = iter(f"uid-{number}" for number in range(10_000))
    return PodApi(store, bounds, clock=lambda: 0, new_uid=lambda: next(uids))


def test_every_write_is_one_version_and_one_event() -> None:
    store = ObjectStore(history=10, first_version=5)
    store.create("pods", thing("x"))
    store.update("pods", "a", "x", lambda obj: obj.update(colour="red"))
    store.delete("pods", "a", "x")
    events = store.events_since(5)
    assert [(e.version, e.type, e.object.get("colour")) for e in events] == [
        (6, "ADDED", None),
        (7, "MODIFIED", "red"),
        (8, "DELETED", "red"),
    ]
    assert [e.object["metadata"]["resourceVersion"] for e in events] == ["6", "7", "8"]
    assert store.events_since(7) == events[2:]
    assert store.events_since(8) == []


def test_names_and_uids() -> None:
    store = ObjectStore(history=10)
    store.create("pods", thing("x"))
    with pytest.raises(Conflict):
        store.create("pods", thing("x"))
    store.create("pods", thing("x", "b"))
    store.create("secrets", thing("x"))
    assert len(store.list("pods")) == 2
    assert len(store.list("pods", "b")) == 1
    for attempt in (
        lambda: store.get("pods", "a", "y"),
        lambda: store.get("pods", "a", "x", uid="another"),
        lambda: store.update("pods", "a", "x", dict.clear, uid="another"),
        lambda: store.delete("pods", "a", "x", uid="another"),
    ):
        with pytest.raises(Missing):
            attempt()


def test_what_a_reader_holds_stays() -> None:
    store = ObjectStore(history=10)
    given_object = thing("x", colour="red")
    held = store.create("pods", given_object)
    given_object["colour"] = "blue"
    store.update("pods", "a", "x", lambda obj: obj.update(colour="green"))
    assert held["colour"] == "red"


@given(st.integers(1, 5), st.integers(0, 12), st.integers(0, 12))
def test_history_answers_completely_or_not_at_all(size: int, writes: int, since: int) -> None:
    store = ObjectStore(history=size, first_version=0)
    for number in range(writes):
        store.create("pods", thing(str(number)))
    if since >= writes:
        assert store.events_since(since) == []
    elif since < writes - size:
        with pytest.raises(Expired):
            store.events_since(since)
    else:
        assert [e.version for e in store.events_since(since)] == list(range(since + 1, writes + 1))


def test_versions_of_a_later_process_are_larger() -> None:
    first = ObjectStore(history=10)
    first.create("pods", thing("x"))
    second = ObjectStore(history=10)
    assert second.version >= first.version
    with pytest.raises(Expired):
        second.events_since(first.version - 1)


async def collect(api: PodApi, count: int, **options: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    async for event in api.watch(options.pop("namespace", None), **options):
        events.append(event)
        if len(events) == count:
            break
    return events


async def test_watch_from_nothing_tells_what_is_there_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    api = make_api()
    api.create(NAMESPACE, pod("x"))
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(1)
            api.create("other", pod("y"))
            api.delete(NAMESPACE, "x", grace_s=0)

        nursery.start_soon(later)
        everywhere = await collect(api, 3)
    assert phases(everywhere) == [
        ("ADDED", "Pending"),
        ("ADDED", "Pending"),
        ("DELETED", "Pending"),
    ]
    assert [e["object"]["metadata"]["name"] for e in everywhere] == ["x", "y", "x"]
    assert phases(await collect(api, 1, namespace="other")) == [("ADDED", "Pending")]


async def test_watch_resumes_after_a_version(autojump_clock: trio.testing.MockClock) -> None:
    api = make_api()
    api.create(NAMESPACE, pod("x"))
    seen = int(api.list(None)["metadata"]["resourceVersion"])
    api.create(NAMESPACE, pod("y"))
    (event,) = await collect(api, 99, since=seen, timeout_s=5)
    assert event["object"]["metadata"]["name"] == "y"


async def test_watch_ends_in_time_with_bookmarks(autojump_clock: trio.testing.MockClock) -> None:
    api = make_api(bookmark_s=10)
    api.create("other", pod("x"))
    start = trio.current_time()
    events = await collect(api, 99, namespace=NAMESPACE, since=100, timeout_s=25, bookmarks=True)
    assert trio.current_time() - start == pytest.approx(25)
    assert [e["type"] for e in events] == ["BOOKMARK"] * 3
    assert {e["object"]["metadata"]["resourceVersion"] for e in events} == {"101"}
    assert events[0]["object"]["kind"] == "Pod"
    assert await collect(api, 99, namespace=NAMESPACE, since=101, timeout_s=25) == []


async def test_a_watch_lasts_no_longer_than_the_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    start = trio.current_time()
    await collect(make_api(watch_timeout_s=7), 1, timeout_s=10_000)
    assert trio.current_time() - start == pytest.approx(7)


async def test_watch_of_forgotten_versions_is_410() -> None:
    api = make_api(event_history=2)
    for name in "abcd":
        api.create(NAMESPACE, pod(name))
    with pytest.raises(ApiError) as caught:
        await collect(api, 1, since=101)
    assert caught.value.status()["code"] == 410
    assert caught.value.status()["reason"] == "Expired"
    with pytest.raises(ApiError, match="Too large resource version: 105, current: 104"):
        await collect(api, 1, since=105)


async def test_a_watch_that_falls_behind_ends_with_410() -> None:
    api = make_api(event_history=2)
    api.create(NAMESPACE, pod("first"))
    watch = api.watch(None)
    assert (await anext(watch))["type"] == "ADDED"
    for name in "abcd":
        api.create(NAMESPACE, pod(name))
    event = await anext(watch)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_quota_names_and_selectors() -> None:
    api = make_api(max_pods=2)
    body = pod("x")
    body["metadata"]["labels"] = {"planesplit/run": "r1"}
    api.create(NAMESPACE, body)
    with pytest.raises(ApiError, match='pods "x" already exists'):
        api.create(NAMESPACE, body)
    api.create(NAMESPACE, pod("y"))
    with pytest.raises(ApiError, match="exceeded quota"):
        api.create(NAMESPACE, pod("z"))
    chosen = api.list(None, label_selector("planesplit/run=r1"))
    assert chosen["kind"] == "PodList"
    assert [item["metadata"]["name"] for item in chosen["items"]] == ["x"]
    assert "kind" not in chosen["items"][0]
    (event,) = await collect(api, 1, selector=label_selector("!planesplit/run"))
    assert event["object"]["metadata"]["name"] == "y"


async def test_a_kubelet_that_fell_behind_lists_again(tmp_path: Path) -> None:
    from customer_cast import cluster, ended

    async with cluster(tmp_path, event_history=1) as target:
        for number in range(8):
            target.pods.create(NAMESPACE, pod(f"p{number}", "planesplit/workload", "--rate", "0"))
        target.pods.delete(NAMESPACE, "p0", grace_s=0)
        await ended(target, *(f"p{number}" for number in range(1, 8)))
