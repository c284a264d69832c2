"""The agent counts what it hears and says, for the row that each call belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from fakes import ATTEMPT, World, pod_of

from tunnel.capabilities import ABORT, CAPABILITIES, REPORT
from tunnel.errors import Code
from tunnel.messages.planesplit_v1_pb2 import AbortRequest, Action


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery) -> World:
    return World(tmp_path, nursery)


def counted(world: World) -> dict[tuple[str, str], int]:
    table = world.agent.rows.table()
    return {(row, d): n for row, counts in table.items() for d, n in counts.items() if n}


def abort_body() -> bytes:
    fields = ("org", "project", "domain", "run", "action", "attempt")
    action = Action(**{name: getattr(ATTEMPT, name) for name in fields})
    return AbortRequest(action=action).SerializeToString()


async def test_a_call_is_counted_as_it_was_sent_and_answered(world: World, autojump_clock) -> None:
    await world.relay.until(lambda: bool(world.relay.reports))
    await trio.sleep(1)
    before, body = counted(world), abort_body()
    call = await (await world.relay.open(ABORT, body)).finish()
    assert call.status == 200
    after, row = counted(world), CAPABILITIES[ABORT].row
    assert after.get((row, "up"), 0) - before.get((row, "up"), 0) == len(body)
    assert after.get((row, "down"), 0) - before.get((row, "down"), 0) == len(call.body)


async def test_a_tail_is_counted_to_the_last_byte(world: World, autojump_clock) -> None:
    world.cluster.change(pod_of(phase="Succeeded", exit_code=0))
    call = await (await world.relay.tail()).finish()
    assert call.body
    assert counted(world)["A8", "down"] == len(call.body)
    assert counted(world)["A8", "up"] > 0


async def test_a_report_is_counted_as_what_the_agent_asked(world: World, autojump_clock) -> None:
    await world.relay.until(lambda: bool(world.relay.reports))
    row = CAPABILITIES[REPORT].row
    first = counted(world)[row, "up"]
    assert first >= world.relay.reports[0].ByteSize()
    world.cluster.change(pod_of(phase="Running"))
    await trio.sleep(1)
    assert counted(world)[row, "up"] > first


async def test_a_call_that_is_refused_is_counted_for_no_row(world: World, autojump_clock) -> None:
    await world.relay.until(lambda: bool(world.relay.reports))
    await trio.sleep(1)
    before = counted(world)
    call = await (await world.relay.open("/x.Y/Unknown", b"canary")).finish()
    assert call.code is Code.REFUSED
    assert counted(world) == before
