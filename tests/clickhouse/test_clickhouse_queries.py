"""Places, deadlines and kills over a fake engine."""

from __future__ import annotations

import json
from pathlib import Path

import trio
import trio.testing
from clickhouse_cast import Front, Got, Script, front, user_settings

ENDLESS = {"endless": Script([b"1\n"], endless=True), "SELECT": Script([b"ok\n"])}


async def begin(nursery: trio.Nursery, made: Front, **asked: str) -> tuple[Got, trio.Event]:
    """Start an endless query; what it answered is in `Got` once the event is set."""
    got, done, begun = Got(), trio.Event(), trio.Event()

    async def ask() -> None:
        answer = await made.ask(b"SELECT endless", begun=begun, **asked)
        got.__dict__.update(answer.__dict__)
        done.set()

    nursery.start_soon(ask)
    await begun.wait()
    return got, done


async def test_one_users_queries_leave_places_to_others(tmp_path: Path) -> None:
    users = [user_settings(tmp_path, "agent", max_queries=2), user_settings(tmp_path, "other")]
    async with front(tmp_path, ENDLESS, users=users, max_queries=8, queue_s=0.01) as made:
        async with trio.open_nursery() as nursery:
            await begin(nursery, made, query_id="a")
            await begin(nursery, made, query_id="b")
            refused = await made.ask(b"SELECT 1")
            assert (refused.status, refused.code) == (503, 202)
            assert (await made.ask(b"SELECT 1", user="other")).body == b"ok\n"
            made.queries.kill("a", "agent")
            made.queries.kill("b", "agent")
        await made.settled()
        assert (await made.ask(b"SELECT 1")).body == b"ok\n"


async def test_no_place_in_time(tmp_path: Path) -> None:
    limits = {"max_queries": 1, "queue_s": 0.01}
    async with front(tmp_path, ENDLESS, **limits) as made, trio.open_nursery() as nursery:
        await begin(nursery, made, query_id="a")
        refused = await made.ask(b"SELECT 1", user="collector")
        made.queries.kill("a", "agent")
    assert (refused.status, refused.code) == (503, 202)
    assert len(made.engine.jobs) == 1


async def test_a_place_that_becomes_free_is_taken(tmp_path: Path) -> None:
    async with front(tmp_path, ENDLESS, max_queries=1, queue_s=20.0) as made:
        async with trio.open_nursery() as nursery:
            await begin(nursery, made, query_id="a")
            nursery.start_soon(lambda: made.ask(b"SELECT 1", user="collector"))
            await trio.testing.wait_all_tasks_blocked()
            assert len(made.engine.jobs) == 1
            made.queries.kill("a", "agent")
        assert len(made.engine.jobs) == 2


async def test_too_many_requests(tmp_path: Path) -> None:
    async with front(tmp_path, ENDLESS, max_requests=1) as made, trio.open_nursery() as nursery:
        await begin(nursery, made, query_id="a")
        refused = await made.ask(b"SELECT 1")
        assert (await made.ask(method="GET", path="/ping", user=None)).status == 200
        made.queries.kill("a", "agent")
    assert refused.code == 202


async def test_a_query_ends_at_its_deadline(tmp_path: Path) -> None:
    users = [user_settings(tmp_path, "agent", max_execution_s=0.1)]
    async with front(tmp_path, ENDLESS, users=users) as made:
        async with trio.open_nursery() as nursery:
            got, done = await begin(nursery, made)
            await done.wait()
        assert b"TIMEOUT_EXCEEDED" in got.body
        assert not got.whole
        await made.settled()
        assert made.engine.killed == [made.engine.jobs[0].tag]


async def test_a_user_kills_only_own_queries(tmp_path: Path) -> None:
    async with front(tmp_path, ENDLESS) as made:
        async with trio.open_nursery() as nursery:
            got, done = await begin(nursery, made, query_id="mine")
            kill = b"KILL QUERY WHERE query_id = {id:String} ASYNC"
            assert (await made.ask(kill, user="collector", param_id="mine")).body == b""
            assert not done.is_set()
            assert (await made.ask(kill)).code == 456
            killed = await made.ask(b"kill query where query_id='mine'")
            await done.wait()
        assert killed.body == b"waiting\tmine\tagent\t\n"
        assert b"QUERY_WAS_CANCELLED" in got.body
        assert not got.whole


async def test_an_id_is_used_once_at_a_time(tmp_path: Path) -> None:
    async with front(tmp_path, ENDLESS) as made:
        async with trio.open_nursery() as nursery:
            _, done = await begin(nursery, made, query_id="one")
            again = await made.ask(b"SELECT 1", query_id="one")
            assert not done.is_set()
            made.queries.kill("one", "agent")
        assert again.code == 216
        await made.settled()
        assert (await made.ask(b"SELECT 1", query_id="one")).status == 200


async def test_the_end_of_the_process_ends_queries(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        async with front(tmp_path, ENDLESS) as made:
            got, done = await begin(nursery, made)
        await done.wait()
    assert not got.whole
    assert made.engine.open_cursors == 0
    events = [json.loads(line)["event"] for line in made.journal]
    assert "query_killed" in events
    assert "query_stuck" not in events
