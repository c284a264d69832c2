"""Viewers of one log share its reader, and each still gets every line exactly once."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest
import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from feed_stage import STALL_S, SimulatedTimer, Stage, Viewer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compute_agent.logs import batch, feed, outbox, pace
from compute_agent.logs.files import LogReader
from compute_agent.logs.index import LogUnreadable

lines = st.tuples(st.just("write"), st.integers(0, 20), st.integers(1, 300))
steps = st.lists(
    st.one_of(
        lines,
        lines,
        st.tuples(st.sampled_from(["stall", "go on", "resume"]), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([0, 0.001, 0.004, 0.1, STALL_S])),
        st.sampled_from([("rotate",), ("open",)]),
    ),
    max_size=30,
)


async def play(stage: Stage, program: list[tuple]) -> None:
    number = 0
    for name, *arguments in program:
        if name == "write":
            for _ in range(arguments[0]):
                number += 1
                stage.write(f"{number:06d} ".encode() + b"x" * arguments[1])
        elif name == "wait":
            await trio.sleep(arguments[0])
        elif name == "open":
            stage.open()
        elif name == "resume":
            stage.resume(arguments[0])
        elif name == "rotate" and stage.log.path.exists():
            stage.log.rotate()
        elif name in ("stall", "go on") and stage.viewers:
            viewer = stage.viewers[arguments[0] % len(stage.viewers)]
            viewer.stalled = name == "stall"
    await stage.finish()


BEHIND = [
    ("open",),
    ("write", 3, 10),
    ("wait", 1),
    ("open",),
    ("wait", 1),
    ("stall", 1),
    *[("write", 20, 300), ("wait", 0.004)] * 20,
    ("go on", 1),
    ("wait", 1),
    ("write", 5, 5),
    ("resume", 0),
    ("wait", 1),
    ("write", 20, 20),
    ("rotate",),
    ("write", 20, 20),
]


async def run_program(program: list[tuple], *, woken: bool) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as root:
        patch.setattr(batch, "UNIT_BYTES", 2_000)
        patch.setattr(pace, "Timer", SimulatedTimer)
        async with trio.open_nursery() as nursery:
            stage = Stage(Path(root), nursery, woken=woken, shared_bytes=65_536, read_bytes=4_096)
            await play(stage, program)
            nursery.cancel_scope.cancel()


def under_simulated_time(program: list[tuple], *, woken: bool = False) -> None:
    run = partial(run_program, program, woken=woken)
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=60)
@example(BEHIND, False)
@example(BEHIND, True)
@given(steps, st.booleans())
def test_every_viewer_gets_every_line_once(program, woken):
    """Late and stalled viewers, resumes at any mark, rotations; with tasks of their own or not."""
    under_simulated_time(program, woken=woken)


def meets_anywhere(follower: feed.Follower) -> None:
    host = follower._host()
    if host is not None:
        follower._feed.drop(follower)
        follower._feed, follower.at = host, host.end
        host.add(follower)
    else:
        follower._feeds[follower._feed.key] = follower._feed


def what_is_kept(reading: feed.Feed, number: int) -> list[feed.Unit]:
    return list(reading._units)[max(number - reading.first, 0) :]


async def one_behind(follower: feed.Follower, units=feed.Follower.units) -> list[feed.Unit]:
    mark, met = follower.mark, follower._feed
    found = await units(follower)
    if found and follower._feed is met:
        follower.mark = mark or follower.mark
    return found


def posts_the_last(follower: feed.Follower) -> bool:
    answer, unit = follower._answer, follower._feed._units[-1]
    if answer is None or not answer.post(unit.framed, unit.mark):
        return False
    follower.at, follower.mark = follower._feed.end, unit.mark
    follower._outbox.add(answer)
    return True


def posts_and_forgets(follower: feed.Follower, serve=feed.Follower.serve) -> bool:
    at = follower.at
    served = serve(follower)
    follower.at = at
    return served


WOKEN = ("posts the last alone", "posts and forgets", "does not push")
MUTANTS = {
    "posts the last alone": (feed.Follower, "serve", posts_the_last),
    "posts and forgets": (feed.Follower, "serve", posts_and_forgets),
    "does not push": (outbox.Outbox, "send", lambda self: None),
    "meets anywhere": (feed.Follower, "_meet", meets_anywhere),
    "skips what is not kept": (feed.Feed, "since", what_is_kept),
    "goes on behind an older mark": (feed.Follower, "units", one_behind),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_planted_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    owner, attribute, mutant = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises(ExceptionGroup) as found:
        under_simulated_time(BEHIND, woken=name in WOKEN)
    assert found.group_contains(AssertionError)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a block was read."""
    found: list[int] = []
    original = LogReader._block

    def block(reader: LogReader):
        item = original(reader)
        if item is not None:
            found.append(len(item.data))
        return item

    monkeypatch.setattr(LogReader, "_block", block)
    return found


async def test_viewers_are_served_without_their_tasks(
    tmp_path, nursery, reads, autojump_clock, monkeypatch
):
    monkeypatch.setattr(pace, "Timer", SimulatedTimer)
    stage = Stage(tmp_path, nursery, woken=True)
    stage.write(b"first")
    for _ in range(3):
        stage.open()
    await trio.sleep(2.5)
    before = [viewer.posted for viewer in stage.viewers]
    reads.clear()
    for n in range(20):
        stage.write(b"%d" % n)
        await trio.sleep(0.001 if n % 2 else 0.000_1)
    await trio.sleep(0.01)
    assert len(reads) <= 20
    posted = [viewer.posted - count for viewer, count in zip(stage.viewers, before, strict=True)]
    assert posted == [len(reads)] * 3, "each of them everything that was read"
    assert {viewer.text for viewer in stage.viewers} == {stage.expected}
    await stage.finish()


async def test_who_cannot_be_served_at_once_is_served_by_its_task(
    tmp_path, nursery, autojump_clock, monkeypatch
):
    monkeypatch.setattr(pace, "Timer", SimulatedTimer)
    stage = Stage(tmp_path, nursery, woken=True)
    stage.write(b"first")
    quick, slow = stage.open(), stage.open()
    await trio.sleep(2)
    slow.stalled = True
    for n in range(5):
        stage.write(b"%d" % n)
        await trio.sleep(0.01)
    assert quick.text == stage.expected
    assert slow.text == "first\n"
    slow.stalled = False
    await trio.sleep(0.1)
    assert slow.text == stage.expected
    posted = slow.posted
    stage.write(b"last")
    await trio.sleep(0.1)
    assert slow.posted == posted + 1
    await stage.finish()


async def test_a_log_that_breaks_ends_all_of_its_viewers(
    tmp_path, nursery, autojump_clock, monkeypatch
):
    stage = Stage(tmp_path, nursery, woken=True)
    stage.write(b"first")
    errors = []
    for _ in range(2):

        async def run(viewer: Viewer) -> None:
            try:
                await viewer.run()
            except ConnectError as error:
                errors.append(error.code)

        nursery.start_soon(run, Viewer(stage, b"", ""))
    await trio.sleep(2)

    def breaks(reader: LogReader) -> None:
        raise LogUnreadable("damaged")

    monkeypatch.setattr(LogReader, "_block", breaks)
    stage.write(b"second")
    await trio.sleep(0.1)
    assert errors == [Code.DATA_LOSS] * 2


async def test_viewers_at_one_place_read_once(tmp_path, nursery, reads, autojump_clock):
    stage = Stage(tmp_path, nursery)
    stage.write(b"first")
    for _ in range(8):
        stage.open()
        await trio.sleep(1)
    reads.clear()
    for n in range(5):
        stage.write(b"%d" % n)
        await trio.sleep(1)
    assert len(reads) == 5, "not 40"
    assert {viewer.text for viewer in stage.viewers} == {stage.expected}
    await stage.finish()


async def test_a_viewer_catches_up_with_a_busy_log_and_shares(
    tmp_path, nursery, reads, autojump_clock
):
    stage = Stage(tmp_path, nursery)
    for n in range(3):
        stage.open()
        for m in range(200):
            stage.write(b"%d %d" % (n, m))
            await trio.sleep(0.0005)
    reads.clear()
    size = stage.log.path.stat().st_size
    for m in range(200):
        stage.write(b"%d" % m)
        await trio.sleep(0.0005)
    await trio.sleep(1)
    assert sum(reads) == stage.log.path.stat().st_size - size, "each byte once"
    await stage.finish()


async def test_a_viewer_that_wants_less_does_not_share_until_it_has_a_line(
    tmp_path, nursery, autojump_clock
):
    stage = Stage(tmp_path, nursery)
    stage.write(b"old")
    stage.open()
    await trio.sleep(1)
    late = stage.open((("planesplit-since", "2100-01-01T00:00:00Z"),))
    await trio.sleep(1)
    stage.write(b"still old")
    await trio.sleep(1)
    assert late.text == ""
    assert stage.viewers[0].text == stage.expected


async def test_the_last_viewer_closes_the_files(tmp_path, nursery, autojump_clock):
    stage = Stage(tmp_path, nursery)
    stage.write(b"first")
    for _ in range(3):
        stage.open()
    await trio.sleep(1)
    assert stage.feeds == 1
    await stage.finish()
    assert stage.feeds == 0
