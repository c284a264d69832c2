"""A viewer of one log, without tunnel or clock."""

from __future__ import annotations

import trio
from crilog import CriLog
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse

from compute_agent.logs import batch
from compute_agent.logs.cursor import Cursor
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.options import TailOptions
from compute_agent.logs.source import Source
from compute_agent.logs.tail import Tail
from compute_agent.settings import LogLimits

ALL = TailOptions()
LIMITS = LogLimits()


class Viewer:
    """Tails a log like the service does, but at once, and can lose the connection anywhere."""

    def __init__(self, log: CriLog, *, index=None, limits=LIMITS, options=ALL, uid="uid"):
        self.root = log.directory.parent.parent
        self.index = index or OffsetIndex(self.root, None, log.kept)
        self.limits, self.options = limits, options
        self.source = Source("c1", "ns", "pod", "main", uid, "a0-1", log.directory)
        self.units: list[tuple[str, bytes]] = []
        self.originators: list[int] = []
        self.times: list[int] = []
        self.tail: Tail | None = None

    def open(self, cursor: bytes = b"") -> Viewer:
        if self.tail is not None:
            self.tail.__exit__(None, None, None)
        at = Cursor.decode(cursor) if cursor else None
        self.tail = trio.run(Tail.start, self.source, self.index, self.limits, self.options, at)
        return self

    def read(self) -> Viewer:
        if self.tail is None:
            self.open()
        while self.tail.read():
            self._take(self.tail.take_full())
        self.flush()
        return self

    def flush(self) -> None:
        self._take(self.tail.take_full())
        if self.tail.held_bytes:
            self._take([self.tail.flush()])

    def finish(self) -> Viewer:
        self.read()
        self.tail.finish()
        self.flush()
        return self

    def resume(self) -> Viewer:
        """The connection is lost; what was delivered is known by the last cursor."""
        return self.open(self.units[-1][1] if self.units else b"")

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.units)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines(keepends=True)

    def _take(self, units) -> None:
        for data, cursor in units:
            message = TailLogsResponse.FromString(data)
            lines = message.logs[0].lines
            assert 5 + message.ByteSize() <= batch.UNIT_BYTES
            assert len(cursor) <= 1024
            self.units.append(("".join(line.message for line in lines), cursor))
            self.originators += [line.originator for line in lines]
            self.times += [line.timestamp.ToNanoseconds() for line in lines]


def rows(data: bytes) -> list[bytes]:
    return [row + b"\n" for row in data.split(b"\n")[:-1]]
