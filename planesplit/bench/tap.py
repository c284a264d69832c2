"""Sees followed lines pass the link: when they came to it from the agent, and when they left it.

It stands outside the product and changes nothing. What it reads are the agent's masked WebSocket
frames (RFC 6455, 5.2), which is possible since a bench's tunnel is without TLS.
"""

from __future__ import annotations

import re
import struct
import time
from collections import deque
from typing import NamedTuple

from planesplit.measure.node_log import DIGITS
from planesplit.split.link import Tap

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_MARK = re.compile(rb"([0-9]{%d})#([0-9]{4})#" % DIGITS)
_END_OF_HEAD = b"\r\n\r\n"
MAX_HELD_BYTES = 4_194_304  # larger frames are not sent; past it the tap gives up, the link goes on
MAX_MARKS = 100_000


class Crossing(NamedTuple):
    """A followed line at the link.

    Args:
        stream, line: which one.
        entered_s, left_s: of time.monotonic.
    """

    stream: int
    line: int
    entered_s: float
    left_s: float


class FrameTap(Tap):
    """Follows lines over one connection.

    Args:
        found: where crossings are added.
    """

    def __init__(self, found: list[Crossing]) -> None:
        self._found = found
        self._held = bytearray()
        self._in_head = True
        self._blind = False
        self._left = 0  # bytes
        self._parsed = 0
        self._waiting: deque[tuple[int, float, list[tuple[int, int]]]] = deque()

    def entered(self, data: bytes) -> None:
        """Bytes have come to the link."""
        now_s = time.monotonic()
        if self._blind:
            return
        self._held += data
        while frame := self._frame():
            marks = [(int(m[2]), int(m[1])) for m in _MARK.finditer(frame)]
            if marks:
                self._waiting.append((self._parsed, now_s, marks))
        if len(self._held) > MAX_HELD_BYTES or len(self._waiting) > MAX_MARKS:
            self._blind = True
            self._held.clear()

    def left(self, count: int) -> None:
        """So many more bytes have left it."""
        self._left += count
        now_s = time.monotonic()
        while self._waiting and self._waiting[0][0] <= self._left:
            _, entered_s, marks = self._waiting.popleft()
            if len(self._found) < MAX_MARKS:
                self._found += [Crossing(*mark, entered_s, now_s) for mark in marks]

    def _frame(self) -> bytes:
        """Return the next frame's payload, b"" if it is not all there."""
        held = self._held
        if self._in_head:
            end = held.find(_END_OF_HEAD)
            if end < 0:
                return b""
            self._drop(end + len(_END_OF_HEAD))
            self._in_head = False
        while (whole := _measure(held)) is not None:
            start, size = whole
            if len(held) < start + size:
                return b""
            masked = held[1] & 0x80
            payload = bytes(held[start : start + size])
            if masked:
                payload = apply_mask(payload, bytes(held[start - 4 : start]))
            self._drop(start + size)
            if payload:
                return payload
        return b""

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._parsed += count


def _measure(held: bytearray) -> tuple[int, int] | None:
    """Return where the payload of the first frame begins and its size, None if that is unknown."""
    if len(held) < 2:
        return None
    size, start = held[1] & 0x7F, 2
    if size == 126:
        start = 4
    elif size == 127:
        start = 10
    if len(held) < start + 4:
        return None
    if start > 2:
        size = struct.unpack(">H" if start == 4 else ">Q", held[2:start])[0]
    return start + (4 if held[1] & 0x80 else 0), size
