"""What a connection has received and nobody has taken yet; wiped as it is taken."""

from __future__ import annotations

from tunnel.wipe import Owned, wipe

_NOTHING = Owned()  # one for all who are quiet


class ReadAhead:
    """A queue of bytes. It never grows in place, which would leave copies behind."""

    __slots__ = ("_data", "_start")

    def __init__(self) -> None:
        self._data = _NOTHING
        self._start = 0

    def __len__(self) -> int:
        return len(self._data) - self._start

    @property
    def view(self) -> memoryview:
        """All of it, to look at."""
        return memoryview(self._data)[self._start :]

    def find(self, what: bytes, limit: int) -> int:
        """Return where `what` begins within the first `limit` bytes, -1 if it is not there."""
        found = self._data.find(what, self._start, self._start + limit)
        return found if found < 0 else found - self._start

    def put(self, piece: memoryview) -> None:
        """Append a copy."""
        size = len(self)
        data = Owned(size + len(piece))
        view = memoryview(data)  # assigning to a bytearray's slice makes a copy on the way
        view[:size] = self.view
        view[size:] = piece
        view.release()
        wipe(self._data)
        self._data, self._start = data, 0

    def take(self, count: int) -> Owned:
        """Take the first `count` bytes; all of them if there are fewer."""
        count = min(count, len(self))
        if count == len(self._data):
            data, self._data = self._data, _NOTHING
            return data
        piece = self.view[:count]
        data = Owned(piece)
        wipe(piece)
        self._start += count
        if self._start == len(self._data):
            self._data, self._start = _NOTHING, 0
        return data

    def clear(self) -> None:
        """Wipe everything."""
        wipe(self._data)
        self._data, self._start = _NOTHING, 0
