"""Tails of pods that are gone, and of pods that go while they are tailed."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from fakes import ATTEMPT, envelope
from history_stage import LIMITS, Stage

GAP = "[planesplit] log gap: "


@pytest.fixture
async def stage(tmp_path: Path, nursery: trio.Nursery) -> Stage:
    return Stage(tmp_path, nursery)


def shown(first: int, last: int) -> str:
    return "".join(f"line {n}\n" for n in range(first, last))


def write(log, first: int, last: int) -> None:
    log.write_all([b"line %d" % n for n in range(first, last)])


async def test_a_pod_that_is_gone_is_read_from_the_aggregator(stage: Stage, autojump_clock):
    log = stage.run_pod()
    write(log, 0, 25)
    stage.end_pod(log)
    await stage.collected()
    stage.delete_pod(log)
    call = await (await stage.relay.tail()).finish()
    assert (call.text, call.error) == (shown(0, 25), b"{}")


async def test_an_agent_that_never_saw_the_pod_finds_it(stage: Stage, autojump_clock):
    log = stage.run_pod()
    write(log, 0, 5)
    await stage.relay.connected()
    stage.delete_pod(log)
    await stage.collected()
    stage.restart_agent(forget=True)
    await stage.relay.connected(2)
    call = await (await stage.relay.tail()).finish()
    assert (call.text, call.error) == (shown(0, 5), b"{}")
    latest = await (await stage.relay.tail(attempt=ATTEMPT.numbered(0))).finish()
    assert latest.text == shown(0, 5)


async def test_what_nobody_knows_is_not_found(stage: Stage, autojump_clock):
    call = await (await stage.relay.tail(attempt=ATTEMPT.numbered(7))).finish()
    assert b"not_found" in call.error


async def test_files_vanish_in_the_middle_and_the_collector_is_late(stage: Stage, autojump_clock):
    log = stage.run_pod()
    write(log, 0, 10)
    call = await (await stage.relay.tail()).until_text("line 9\n")
    stage.aggregator.down = True
    write(log, 10, 14)
    for n in range(5):
        log.rotate()
        write(log, 14 + n, 15 + n)
    stage.delete_pod(log)
    await trio.sleep(3)
    stage.aggregator.down = False
    await call.finish()
    assert (call.text, call.error) == (shown(0, 19), b"{}")


async def test_deleted_rotated_files_are_read_from_the_aggregator(stage: Stage, autojump_clock):
    log = stage.run_pod()
    for n in range(9):
        write(log, n, n + 1)
        log.rotate()
        await trio.sleep(1)
    write(log, 9, 10)
    call = await (await stage.relay.tail()).until_text("line 9\n")
    write(log, 10, 11)
    stage.end_pod(log)
    assert (await call.finish()).text == shown(0, 11)


async def test_a_log_first_seen_with_deleted_files_is_whole(stage: Stage, autojump_clock):
    """The agent was down while files came and went: only the collector's numbers tell how many."""
    log = stage.run_pod()
    await stage.relay.connected()
    stage.kill()
    for n in range(9):
        write(log, n, n + 1)
        log.rotate()
    write(log, 9, 10)
    stage.start()
    await stage.relay.connected(2)
    call = await (await stage.relay.tail()).until_text("line 9\n")
    stage.delete_pod(log)
    assert (await call.finish()).text == shown(0, 10)


@pytest.mark.parametrize("files", ["gone", "rotated away", "there"])
@pytest.mark.parametrize("wanted", [0, 1, 4, 13, 50])
async def test_last_lines(stage: Stage, autojump_clock, wanted: int, files: str):
    log = stage.run_pod()
    for n in range(10):
        write(log, 2 * n, 2 * n + 2)
        if files != "there":
            log.rotate()
        await trio.sleep(1)
    stage.end_pod(log)
    await stage.collected()
    if files == "gone":
        stage.delete_pod(log)
    headers = (("planesplit-lines", str(wanted)),)
    call = await (await stage.relay.tail(headers=headers)).finish()
    assert call.text == shown(20 - min(wanted, 20), 20)


@pytest.mark.parametrize("files", ["gone", "rotated away", "there"])
@pytest.mark.parametrize("back", [1, 7, 100])
async def test_since(stage: Stage, autojump_clock, back: int, files: str):
    log = stage.run_pod()
    for n in range(10):
        write(log, 2 * n, 2 * n + 2)
        if files != "there":
            log.rotate()
        await trio.sleep(1)
    stage.end_pod(log)
    await stage.collected()
    from crilog import stamp

    since = stamp(max(log.ns - 1000 * (back - 1), 1)).decode()
    if files == "gone":
        stage.delete_pod(log)
    call = await (await stage.relay.tail(headers=(("planesplit-since", since),))).finish()
    assert call.text == shown(20 - min(back, 20), 20)


async def test_resume_in_the_middle_of_history(stage: Stage, autojump_clock):
    log = stage.run_pod()
    log.write(("€uro " * 60_000).encode())
    write(log, 0, 3)
    stage.delete_pod(log)
    await stage.collected()
    whole = await (await stage.relay.tail()).finish()
    assert whole.text == "€uro " * 60_000 + "\n" + shown(0, 3)
    done = ""
    for unit, cursor in zip(whole.units[:-1], whole.marks[:-1], strict=True):
        done += unit_text(unit)
        rest = await (await stage.relay.tail(cursor=cursor)).finish()
        assert done + rest.text == whole.text


def unit_text(unit: bytes) -> str:
    from fakes import Call

    call = Call(None)
    call.units = [unit]
    return call.text


async def test_an_aggregator_that_is_down_is_told(stage: Stage, autojump_clock):
    log = stage.run_pod()
    write(log, 0, 5)
    stage.delete_pod(log)
    await stage.collected()
    stage.aggregator.down = True
    call = await (await stage.relay.tail()).finish()
    assert b"unavailable" in call.error
    stage.restart_agent(forget=True)
    await stage.relay.connected(2)
    call = await (await stage.relay.tail()).finish()
    assert b"unavailable" in call.error


async def test_what_the_aggregator_lost_is_told_with_its_number(stage: Stage, autojump_clock):
    log = stage.run_pod()
    write(log, 0, 30)
    stage.delete_pod(log)
    await stage.collected()
    stage.aggregator.kept = [c for c in stage.aggregator.kept if c.entry.sequence not in (11, 12)]
    call = await (await stage.relay.tail()).finish()
    lost = f"{GAP}2 records of the output is neither kept on the node nor in the log aggregator\n"
    assert call.text == shown(0, 10) + lost + shown(12, 30)


async def test_an_end_that_never_comes_is_told(stage: Stage, autojump_clock):
    log = stage.run_pod()
    write(log, 0, 3)
    stage.delete_pod(log)
    await stage.collected()
    stage.aggregator.kept = [c for c in stage.aggregator.kept if not c.entry.end]
    began = trio.current_time()
    call = await (await stage.relay.tail()).finish()
    lost = f"{GAP}the log aggregator doesn't have the end of the output\n"
    assert call.text == shown(0, 3) + lost
    assert trio.current_time() - began == pytest.approx(LIMITS.wait_s, abs=1)


async def test_a_gap_that_the_aggregator_cannot_fill_is_told(stage: Stage, autojump_clock):
    log = stage.run_pod()
    for n in range(9):
        write(log, n, n + 1)
        await trio.sleep(1)  # the agent sees every file, and counts
        log.rotate()
    write(log, 9, 10)
    stage.aggregator.down = True
    call = await stage.relay.tail()
    await call.until_text("line 9\n")
    told = f"{GAP}7 records of the output is neither kept on the node nor in the log aggregator\n"
    assert call.text == told + shown(7, 10)


async def test_a_pod_that_never_ran_has_an_empty_log(stage: Stage, autojump_clock):
    from fakes import pod_of

    stage.cluster.change(pod_of())
    stage.cluster.change(pod_of(phase="Failed", exit_code=1))
    began = trio.current_time()
    call = await (await stage.relay.tail()).finish()
    assert (call.text, call.error) == ("", b"{}")
    assert trio.current_time() - began < 1


async def test_viewers_hear_something_while_the_collector_is_waited_for(
    stage: Stage, autojump_clock
):
    log = stage.run_pod()
    write(log, 0, 3)
    await stage.relay.connected()
    stage.aggregator.accept = lambda: False
    stage.delete_pod(log)
    call = await stage.relay.tail()
    while not call.units:
        await call.step()
    assert call.units == [envelope(b"")]
    assert trio.current_time() < 1
