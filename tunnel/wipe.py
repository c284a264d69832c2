"""Wipes payload where it lay, so that nothing of it stays in freed memory.

Buffers of our own are writable. What `apply_mask` and sockets return are `bytes`, which nobody may
alter but who alone holds a reference; those are wiped through a view of memory itself. That works
in CPython only, and only as long as a trial at import shows that it does: see `WIPES_BYTES`.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterable, Sequence

from tunnel.payload import Buffer

ZEROS = memoryview(bytes(65_536))
MIN_BYTES = 2  # CPython shares its bytes objects of length 0 and 1
HEADER_BYTES = bytes.__basicsize__ - 1  # in front of the octets; there is a NUL after them
PYBUF_WRITE = 0x200


class Owned(bytearray):
    """A buffer that was handed over: who is done with it wipes it."""

    __slots__ = ()


def _memory() -> memoryview | None:
    """Return a view whose index is an address less one; None where there is no such thing."""
    try:
        view = ctypes.pythonapi.PyMemoryView_FromMemory
    except AttributeError:
        return None
    view.restype = ctypes.py_object
    view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
    whole: memoryview = view(1, sys.maxsize, PYBUF_WRITE)
    return whole


_whole = _memory() if sys.implementation.name == "cpython" else None
_alone = 0  # references that a buffer has within `wipe` when its caller alone holds it


def wipe(data: Buffer) -> bool:
    """Zero a buffer, and for a view of `bytes` all that it is a view of; returns whether it could.

    Args:
        data: writable; or `bytes`, or a view of some, to which nobody else holds a reference (views
            of the same object count as one). Others, such as literals, are left as they are.
    """
    if type(data) is memoryview:
        if not data.readonly:
            _zero(data)
            return True
        owner = data.obj
    elif type(data) is bytes:
        owner = data
        del data
    else:
        _zero(memoryview(data))
        return True
    if type(owner) is not bytes or _whole is None or sys.getrefcount(owner) > _alone:
        return False
    size = len(owner)
    start = id(owner) + HEADER_BYTES - 1
    if size <= len(ZEROS):
        if size >= MIN_BYTES:
            _whole[start : start + size] = ZEROS[:size]
    else:
        _zero(_whole[start : start + size])
    return True


def _zero(view: memoryview) -> None:
    size = len(view)
    for start in range(0, size, len(ZEROS)):
        count = min(len(ZEROS), size - start)
        view[start : start + count] = ZEROS[:count]


def wipe_all(buffers: Iterable[Buffer]) -> None:
    """Wipe several buffers."""
    for buffer in buffers:
        wipe(buffer)


def wipe_owned(buffers: Iterable[Buffer]) -> None:
    """Wipe those that are Owned, or views of such, as far as they reach."""
    for buffer in buffers:
        if type(buffer.obj if type(buffer) is memoryview else buffer) is Owned:
            wipe(buffer)


def joined(pieces: Sequence[Owned]) -> Owned:
    """Put pieces together and wipe them."""
    whole, end = Owned(sum(map(len, pieces))), 0
    view = memoryview(whole)  # assigning to a bytearray's slice makes a copy on the way
    for piece in pieces:
        view[end : end + len(piece)] = piece
        end += len(piece)
        wipe(piece)
    return whole


class Held:
    """Views in the order they came, wiped when so many bytes are released."""

    __slots__ = ("_offset", "_views")

    def __init__(self) -> None:
        self._views: deque[memoryview] | None = None  # an empty one would take 760 bytes
        self._offset = 0  # bytes of the first view that are released already

    def add(self, view: memoryview) -> None:
        """Hold a view."""
        if self._views is None:
            self._views = deque()
        self._views.append(view)

    def release(self, count: int) -> None:
        """Wipe the views that lie within the next `count` bytes."""
        views = self._views
        count += self._offset
        while views and (size := len(views[0])) <= count:
            wipe(views.popleft())
            count -= size
        self._offset = count if views else 0
        if not views:
            self._views = None

    def clear(self) -> None:
        """Wipe everything."""
        while self._views:
            wipe(self._views.popleft())
        self._views = None
        self._offset = 0


def _try() -> int:
    """Return `_alone` as this interpreter counts, 0 if wiping bytes does not work in it."""
    global _alone
    for _alone in range(1, 6):
        mine, shared, view = bytes(range(64)), bytes(range(64)), memoryview(bytes(range(64)))
        also, copy = shared, bytes(bytearray(shared))
        if wipe(mine):
            sound = mine == bytes(64) and wipe(view[8:]) and bytes(view) == bytes(64)
            return _alone if sound and not wipe(shared) and also == copy else 0
    return 0


_alone = _try()
WIPES_BYTES = _alone > 0
