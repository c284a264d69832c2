"""One container's tail: from files to units, without waiting. The service adds the pauses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse
from flyteidl2.logs.dataplane.payload_pb2 import ContainerIdentifier

from compute_agent.logs.batch import Batcher
from compute_agent.logs.cri import Record, Splitter
from compute_agent.logs.cursor import Cursor, resume
from compute_agent.logs.files import Block, FileEnd, Gap, LogReader
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.lines import Assembler, Position
from compute_agent.logs.options import TailOptions
from compute_agent.logs.start import last_lines, since
from compute_agent.settings import LogLimits


@dataclass(frozen=True, slots=True)
class Source:
    """Whose log it is.

    Args:
        cluster, namespace, pod, container: as shown to the viewer.
        uid: of the pod.
        short_pod_name: shown beside each line.
        directory: of the container's logs.
    """

    cluster: str
    namespace: str
    pod: str
    container: str
    uid: str
    short_pod_name: str
    directory: Path

    def identifier(self) -> ContainerIdentifier:
        """Return the message that names it."""
        return ContainerIdentifier(
            cluster_name=self.cluster,
            kubernetes_namespace=self.namespace,
            kubernetes_pod_name=self.pod,
            kubernetes_container_name=self.container,
        )


class Tail:
    """Reads all lives of one container, from a place on; use `start` to make one.

    Args:
        source: whose log.
        index: numbers its files.
        limits: bounds.
        restart: the life to begin with.
        position, gap: where, and what is missing before.
        since_ns: lines older than this are left out at the beginning.
    """

    def __init__(
        self,
        source: Source,
        index: OffsetIndex,
        limits: LogLimits,
        restart: int,
        position: Position,
        gap: Gap | None,
        since_ns: int = 0,
    ) -> None:
        self._source, self._index, self._limits = source, index, limits
        self._batcher = Batcher(source.identifier(), source.short_pod_name, since_ns)
        self._full: list[tuple[TailLogsResponse, bytes]] = []
        self._reader = self._begin(restart, position)
        if gap is not None:
            self._note(gap)

    @classmethod
    async def start(
        cls,
        source: Source,
        index: OffsetIndex,
        limits: LogLimits,
        options: TailOptions,
        cursor: Cursor | None,
    ) -> Self:
        """Find the place and open the tail there. A cursor overrides the options.

        Raises:
            LogUnreadable: the files cannot be read.
        """
        restarts = index.restarts(source.directory)
        if cursor is not None:
            return cls(source, index, limits, *_after(cursor, source, index, restarts))
        if options.lines is not None:
            restart, place = await _last(source, index, limits, restarts, options.lines)
            return cls(source, index, limits, restart, *place, options.since_ns)
        restart = restarts[0] if restarts else 0
        place = since(index.listing(source.directory, restart), options.since_ns)
        if restart and place[1] is None and not options.since_ns:
            place = place[0], Gap(None, place[0].sequence)  # logs of earlier lives are gone
        return cls(source, index, limits, restart, *place, options.since_ns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def held_bytes(self) -> int:
        """Size of the message that is being filled, 0 if it is empty."""
        return self._batcher.held_bytes

    def read(self) -> bool:
        """Read what comes next; False when nothing more is written yet.

        Raises:
            LogUnreadable: the files are damaged.
        """
        item = self._reader.read()
        if item is None:
            later = [r for r in self._index.restarts(self._source.directory) if r > self._restart]
            # Read again: what was written before the next life began.
            item = self._reader.read() if later else None
            if item is None:
                return self._next_life(later)
        self._take(item)
        return True

    def take_full(self) -> list[tuple[TailLogsResponse, bytes]]:
        """Return messages that are full, each with the cursor behind it."""
        full, self._full = self._full, []
        return full

    def flush(self) -> tuple[TailLogsResponse, bytes]:
        """Return the message that is being filled, with the cursor behind it."""
        unit = self._batcher.flush(self._assembler.after())
        return unit.message, self._encode(unit.position)

    def cursor(self) -> bytes:
        """Return the cursor behind everything that was read."""
        return self._encode(self._assembler.after())

    def finish(self) -> None:
        """The log has ended: what is unfinished is all there will be."""
        self._read_out(self._splitter.flush())
        for line in self._assembler.drain():
            self._batcher.add(line, self._assembler)
        self._seal()

    def _take(self, item: Block | FileEnd | Gap) -> None:
        match item:
            case Block():
                self._stamp, self._base = item.file.stamp, item.file.base
                self._read_out(self._splitter.feed(item.data))
            case FileEnd():
                self._read_out(self._splitter.flush())
            case Gap():
                self._move(self._restart, Position(item.resume))
                self._note(item)

    def _read_out(self, records: list[Record]) -> None:
        assembler, batcher = self._assembler, self._batcher
        for record in records:
            line = assembler.feed(record)
            if line is not None:
                batcher.add(line, assembler)
        self._seal()

    def _next_life(self, later: list[int]) -> bool:
        """Go on with the container's next restart if there is one."""
        if not later:
            return False
        self.finish()
        skipped = later[0] > self._restart + 1
        self._move(later[0], Position(0))
        if skipped:
            self._note(Gap(None, 0))
        return True

    def _move(self, restart: int, position: Position) -> None:
        self._reader.close()
        self._reader = self._begin(restart, position)

    def _begin(self, restart: int, position: Position) -> LogReader:
        self._restart = restart
        self._stamp, self._base = "", 0
        directory, limits = self._source.directory, self._limits
        start = position.start
        self._splitter = Splitter(start, limits.line_max_bytes)
        self._assembler = Assembler(position, limits.line_max_bytes)
        return LogReader(self._index, directory, restart, start, limits.read_bytes)

    def _note(self, gap: Gap) -> None:
        amount = "an unknown part" if gap.missing_bytes is None else f"{gap.missing_bytes} bytes"
        self._batcher.notice(f"[planesplit] log gap: {amount} of the output is no longer kept")

    def _seal(self) -> None:
        """Give the full messages their cursors, while these still mean the life they came from."""
        units = self._batcher.take_full()
        self._full += [(unit.message, self._encode(unit.position)) for unit in units]

    def _encode(self, position: Position) -> bytes:
        source = self._source
        cursor = Cursor(
            source.uid, source.container, self._restart, position, self._stamp, self._base
        )
        return cursor.encode()


def _after(
    cursor: Cursor, source: Source, index: OffsetIndex, restarts: list[int]
) -> tuple[int, Position, Gap | None]:
    """Return restart, position and gap behind a cursor."""
    if (cursor.uid, cursor.container) == (source.uid, source.container):
        listing = index.listing(source.directory, cursor.restart)
        return cursor.restart, *resume(cursor, listing)
    return restarts[0] if restarts else 0, Position(0), Gap(None, 0)  # another pod by that name


async def _last(
    source: Source, index: OffsetIndex, limits: LogLimits, restarts: list[int], wanted: int
) -> tuple[int, tuple[Position, Gap | None]]:
    """Return restart and place of the last lines, going back through the container's lives."""
    restart = 0
    place: tuple[Position, Gap | None] = Position(0), None
    for restart in reversed(restarts):
        place, wanted = await last_lines(index, source.directory, restart, wanted, limits)
        if not wanted:
            break
    return restart, place
