"""Viewers of one log share its reader, and each still gets every line exactly once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from crilog import CriLog
from fakes import ATTEMPT, SCOPE, pod_of
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compute_agent.exchange import current_exchange
from compute_agent.log_service import LogService
from compute_agent.logs import batch, feed
from compute_agent.logs.files import LogReader
from compute_agent.logs.index import OffsetIndex
from compute_agent.pods import Change, PodStore
from compute_agent.settings import LogLimits
from tunnel.capabilities import TAIL_LOGS
from tunnel.exchange import Headers, RequestHead

POD = f"{ATTEMPT.namespace}_{ATTEMPT.pod}_uid-{ATTEMPT.pod}"
STALL_S = 5.0


@dataclass
class Exchange:
    """Follows tunnel.stream.Stream, as far as the service looks."""

    cursor: bytes
    headers: Headers = ()
    marks: list[bytes] = field(default_factory=list)
    request: RequestHead = field(init=False)

    def __post_init__(self) -> None:
        self.request = RequestHead("POST", TAIL_LOGS, SCOPE, "alice", self.headers)

    def mark(self, cursor: bytes) -> None:
        self.marks.append(cursor)


class Viewer:
    """One tail; it takes nothing while `stalled`."""

    def __init__(self, stage: Stage, cursor: bytes, before: str, headers: Headers = ()) -> None:
        self.stage, self.exchange = stage, Exchange(cursor, headers)
        self.text = before
        self.texts: list[str] = []  # up to each mark
        self.stalled, self.ended = False, trio.Event()

    async def run(self) -> None:
        current_exchange.set(self.exchange)
        request = TailLogsRequest(attempt=ATTEMPT.attempt)
        request.action_id.name = ATTEMPT.action
        run = request.action_id.run
        run.org, run.project, run.domain, run.name = ("acme", "proj", "dev", ATTEMPT.run)
        async for unit in self.stage.service.tail_logs(request, None):
            while self.stalled:
                await trio.sleep(0.01)
            await trio.lowlevel.checkpoint()
            self.text += "".join(x.message for logs in unit.message.logs for x in logs.lines)
            self.texts.append(self.text)
        self.ended.set()


class Stage:
    """A service, one pod's log, and viewers of it."""

    def __init__(self, root: Path, nursery: trio.Nursery, **limits: int) -> None:
        self.nursery, self.viewers = nursery, list[Viewer]()
        self.log = CriLog(root, pod=POD, kept=50)
        self.log.path.touch()
        self.store = PodStore(10)
        self.store.replace([pod_of(phase="Running")])
        index = OffsetIndex(root, None, self.log.kept)
        chosen = LogLimits(**limits)
        self.service = LogService("c1", self.store, root, index, chosen, lambda: 0.0)
        self.expected = ""

    def write(self, content: bytes) -> None:
        self.log.write(content)
        self.expected += content.decode() + "\n"

    def open(self, headers: Headers = ()) -> Viewer:
        return self._open(Viewer(self, b"", "", headers))

    def resume(self, which: int) -> Viewer | None:
        """Another viewer goes on where the first had been, at any of its marks."""
        marked = [v for v in self.viewers[:1] if v.exchange.marks]
        if not marked:
            return None
        at = which % len(marked[0].exchange.marks)
        cursor, before = marked[0].exchange.marks[at], marked[0].texts[at]
        return self._open(Viewer(self, cursor, before))

    def _open(self, viewer: Viewer) -> Viewer:
        self.viewers.append(viewer)
        self.nursery.start_soon(viewer.run)
        return viewer

    @property
    def feeds(self) -> int:
        """How many readings there are of the log that share nothing."""
        return len({id(f) for f in self.service._feeds.values()})

    async def finish(self) -> None:
        for viewer in self.viewers:
            viewer.stalled = False
        self.store.apply(Change(pod_of(phase="Succeeded", exit_code=0)))
        for viewer in self.viewers:
            await viewer.ended.wait()
        assert [viewer.text for viewer in self.viewers] == [self.expected] * len(self.viewers)


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


async def run_program(program: list[tuple]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as root:
        patch.setattr(batch, "UNIT_BYTES", 2_000)
        async with trio.open_nursery() as nursery:
            await play(Stage(Path(root), nursery, shared_bytes=65_536, read_bytes=4_096), program)
            nursery.cancel_scope.cancel()


def under_simulated_time(program: list[tuple]) -> None:
    trio.run(run_program, program, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=60)
@example(BEHIND)
@given(steps)
def test_every_viewer_gets_every_line_once(program):
    """Late and stalled viewers, resumes at any mark, rotations."""
    under_simulated_time(program)


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


MUTANTS = {
    "meets anywhere": (feed.Follower, "_meet", meets_anywhere),
    "skips what is not kept": (feed.Feed, "since", what_is_kept),
    "goes on behind an older mark": (feed.Follower, "units", one_behind),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_planted_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    owner, attribute, mutant = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises(ExceptionGroup) as found:
        under_simulated_time(BEHIND)
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
