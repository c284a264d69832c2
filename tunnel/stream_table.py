"""The streams of one connection: their numbers, how many there may be, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator

from tunnel.errors import Code, LocalError, RemoteError
from tunnel.settings import TunnelSettings
from tunnel.streams import StreamRecord
from tunnel.windows import GrowthPool, ReceiveWindow

MAX_STREAM_ID = 2**32 - 1


class StreamTable:
    """Records of open streams, and the windows of ended ones whose bytes the consumer still holds.

    A stream counts against its opener's limit until both are gone: else a peer could pile up
    bytes by opening, filling and resetting streams.

    Args:
        first_id: number of the first stream that this end opens, 1 or 2.
        settings: this end's limits.
    """

    def __init__(self, first_id: int, settings: TunnelSettings) -> None:
        self._settings = settings
        self._pool = GrowthPool(settings.growth_bytes)
        self._records: dict[int, StreamRecord] = {}
        self._lingering: dict[int, ReceiveWindow] = {}
        self._grown: set[int] = set()
        self._next_id = first_id
        self.last_peer_id = 0
        self.own = 0
        self.peers = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[StreamRecord]:
        return iter(list(self._records.values()))

    def get(self, stream_id: int) -> StreamRecord | None:
        """Return an open stream."""
        return self._records.get(stream_id)

    @property
    def granted_bytes(self) -> int:
        """Credit outstanding plus bytes queued, of all streams."""
        windows = [*(r.receive for r in self._records.values()), *self._lingering.values()]
        return sum(w.outstanding + w.queued for w in windows)

    def was_open(self, stream_id: int) -> bool:
        """Whether the id was used already."""
        if self._is_own(stream_id):
            return stream_id < self._next_id
        return stream_id <= self.last_peer_id

    def open_own(self, credit: int, now: float) -> StreamRecord:
        """Make the record of a stream that this end opens.

        Raises:
            LocalError: every id has been used.
        """
        stream_id = self._next_id
        if stream_id > MAX_STREAM_ID:
            raise LocalError("every stream id of this tunnel is used", code=Code.REFUSED)
        self._next_id += 2
        self.own += 1
        return self._add(stream_id, opener=True, credit=credit, now=now)

    def book_peer_id(self, stream_id: int) -> None:
        """Note that the peer uses an id.

        Raises:
            RemoteError: it was used before, or is not the peer's to use.
        """
        if self._is_own(stream_id) or stream_id <= self.last_peer_id:
            raise RemoteError("OPEN with a stream id that is used or not the peer's")
        self.last_peer_id = stream_id

    def open_peers(self, stream_id: int, now: float) -> StreamRecord:
        """Make the record of a stream that the peer opens; HELLO gave it its first credit."""
        self.peers += 1
        record = self._add(stream_id, opener=False, credit=0, now=now)
        record.receive.outstanding = self._settings.window_bytes
        return record

    def forget(self, record: StreamRecord) -> None:
        """The stream has ended; bytes that its consumer still holds stay booked."""
        del self._records[record.id]
        self._grown.discard(record.id)
        record.receive.close()
        if record.receive.queued:
            self._lingering[record.id] = record.receive
        else:
            self._count_down(record.id)

    def consumed(self, stream_id: int, count: int, now: float) -> StreamRecord | None:
        """Book bytes that the consumer has disposed of; return the stream if it is open.

        Raises:
            LocalError: the stream holds less.
        """
        record = self._records.get(stream_id)
        window = record.receive if record else self._lingering.get(stream_id)
        if window is None or not 0 <= count <= window.queued:
            raise LocalError(f"stream {stream_id} does not hold {count} bytes")
        window.consumed(count, now)
        if record is not None:
            if window.grown:
                self._grown.add(stream_id)
        elif not window.queued:
            del self._lingering[stream_id]
            self._count_down(stream_id)
        return record

    def round_trip(self, rtt_s: float) -> None:
        """Judge by this round-trip time which windows are too small."""
        self._pool.rtt_s = rtt_s

    def take_back(self, now: float) -> None:
        """Shrink the grown windows of streams whose consumers have stalled."""
        for stream_id in [i for i in self._grown if self._records[i].receive.stalled(now)]:
            self._records[stream_id].receive.shrink()
            self._grown.discard(stream_id)

    def _add(self, stream_id: int, *, opener: bool, credit: int, now: float) -> StreamRecord:
        window = ReceiveWindow(self._pool, self._settings, now)
        record = StreamRecord(stream_id, opener=opener, credit=credit, receive=window)
        self._records[stream_id] = record
        return record

    def _is_own(self, stream_id: int) -> bool:
        return stream_id % 2 == self._next_id % 2

    def _count_down(self, stream_id: int) -> None:
        if self._is_own(stream_id):
            self.own -= 1
        else:
            self.peers -= 1
