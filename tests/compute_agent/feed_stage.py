"""A service, one log, and viewers of it that may stall."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path

import trio
from crilog import CriLog
from fakes import ATTEMPT, SCOPE, pod_of
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest, TailLogsResponse

from compute_agent.exchange import current_answer, current_exchange
from compute_agent.log_service import LogService
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.pace import Ticks
from compute_agent.logs.watcher import Watcher
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
    """One tail; it takes nothing while `stalled`. Follows compute_agent.exchange.Answer as well."""

    def __init__(self, stage: Stage, cursor: bytes, before: str, headers: Headers = ()) -> None:
        self.stage, self.exchange = stage, Exchange(cursor, headers)
        self.posted, self.open, self.pushed = 0, False, True
        self.text = before
        self.texts: list[str] = []  # up to each mark
        self.stalled, self.ended = False, trio.Event()

    async def run(self) -> None:
        current_exchange.set(self.exchange)
        current_answer.set(self if self.stage.woken else None)
        request = TailLogsRequest(attempt=ATTEMPT.attempt)
        request.action_id.name = ATTEMPT.action
        run = request.action_id.run
        run.org, run.project, run.domain, run.name = ("acme", "proj", "dev", ATTEMPT.run)
        async for unit in self.stage.service.tail_logs(request, None):
            while self.stalled:
                await trio.sleep(0.01)
            await trio.lowlevel.checkpoint()
            self._take(unit.message)
            self.open = True
        self.open = False
        self.ended.set()

    def post(self, message: bytes, mark: bytes) -> bool:
        assert self.open
        if self.stalled:
            return False
        flags, size = struct.unpack_from(">BI", message)
        assert (flags, size) == (0, len(message) - 5)
        self._take(TailLogsResponse.FromString(message[5:]))
        self.exchange.mark(mark)
        self.posted, self.pushed = self.posted + 1, False
        return True

    def push(self) -> None:
        self.pushed = True

    def _take(self, message: TailLogsResponse) -> None:
        assert len(self.texts) == len(self.exchange.marks), "a mark behind each"
        self.text += "".join(line.message for logs in message.logs for line in logs.lines)
        self.texts.append(self.text)


class SimulatedTimer:
    """Follows compute_agent.logs.timer.Timer, by trio's clock."""

    def __init__(self) -> None:
        self.at, self.changed = math.inf, trio.Event()

    def set(self, in_s: float) -> None:
        self.at = trio.current_time() + in_s
        self.changed.set()

    async def fired(self) -> None:
        while trio.current_time() < self.at:
            self.changed = trio.Event()
            with trio.move_on_at(self.at):
                await self.changed.wait()

    def close(self) -> None:
        self.at = math.inf


class Stage:
    """A service, one pod's log, and viewers of it.

    Args:
        root, nursery, limits: see there.
        woken: whether changes of the log are told, so that viewers need no task to be served.
    """

    def __init__(
        self, root: Path, nursery: trio.Nursery, *, woken: bool = False, **limits: int
    ) -> None:
        self.woken = woken
        self.nursery, self.viewers = nursery, list[Viewer]()
        self.log = CriLog(root, pod=POD, kept=50)
        self.log.path.touch()
        self.store = PodStore(10)
        self.store.replace([pod_of(phase="Running")])
        index = OffsetIndex(root, None, self.log.kept)
        chosen = LogLimits(**limits)
        watcher, ticks = Watcher(16 if woken else 0), Ticks()
        if woken:
            nursery.start_soon(watcher.run)
            nursery.start_soon(ticks.run)
        self.service = LogService(
            "c1", self.store, root, index, chosen, lambda: 0.0, watcher=watcher, ticks=ticks
        )
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
        assert all(viewer.pushed for viewer in self.viewers), "what was posted leaves"
