"""Where payload passes in a plane: the places that leaks tap. Nothing of it is a hook of the plane.

A tap replaces a public method by one that does the same and also hands over a copy.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

from planesplit.proof.sabotage.tries import Sink

MIN_BYTES = 16  # what is shorter is an empty message or an end, not payload
_ROW = "_sabotage_row"
_rows: dict[int, str] = {}  # by the id of a connection, whose calls note theirs anew


def relayed_answers(sink: Sink, *rows: str) -> None:
    """Hand over the body of every answer that the relay forwards.

    Args:
        rows: of the white paper; all if none is given.
    """
    from relay.http1 import Http1

    _note_rows()
    write, write_now = Http1.write, Http1.write_now

    def seen(http: Http1, parts: Sequence[Any]) -> None:
        row = _rows.get(id(http), "")
        if not row or (rows and row not in rows):
            return
        payload = b"".join(parts)
        if len(payload) >= MIN_BYTES:
            sink(payload)
        _forget(payload)

    async def tapped(self: Http1, parts: Sequence[Any], size: int, **options: Any) -> None:
        seen(self, parts)
        await write(self, parts, size, **options)

    def tapped_now(self: Http1, parts: Sequence[Any], size: int) -> bool:
        seen(self, parts)
        return write_now(self, parts, size)

    _replace(Http1, write=tapped, write_now=tapped_now)


def relayed_requests(sink: Sink, *rows: str) -> None:
    """Hand over the body of every request that the relay forwards, piece by piece."""
    from relay.http1 import Http1

    _note_rows()
    body = Http1.body

    async def tapped(self: Http1) -> Any:
        piece = await body(self)
        if piece and _rows.get(id(self), "") in rows:
            sink(bytes(piece))
        return piece

    _replace(Http1, body=tapped)


def answer_heads(change: Callable[[str, Any], Any]) -> None:
    """Let `change(row, head)` return the head (status, headers) that the relay answers with."""
    from relay.http1 import Http1

    _note_rows()
    write, answer = Http1.write, Http1.answer

    async def tapped(self: Http1, parts: Any, size: int, **options: Any) -> None:
        if options.get("head") is not None:
            options["head"] = change(_rows.get(id(self), ""), options["head"])
        await write(self, parts, size, **options)

    async def whole(self: Http1, status: int, headers: Any = (), body: Any = b"") -> None:
        status, headers = change(_rows.get(id(self), ""), (status, headers))
        await answer(self, status, headers, body)

    _replace(Http1, write=tapped, answer=whole)


def _note_rows() -> None:
    """Let a connection know whose payload it carries: the call's row of the white paper."""
    from relay.downlink import Downlink

    if getattr(Downlink.__init__, _ROW, False):
        return
    made = Downlink.__init__

    def tapped(self: Downlink, call: Any, *args: Any, **options: Any) -> None:
        made(self, call, *args, **options)
        _rows[id(call.http)] = call.capability.row

    setattr(tapped, _ROW, True)
    _replace(Downlink, __init__=tapped)


class Longest:
    """The middle of the longest payload so far: what leaks that have little room show.

    Args:
        size_bytes: how much of it.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size, self._longest, self.piece = size_bytes, 0, b""

    def add(self, payload: bytes) -> None:
        """Take a payload if none was longer."""
        if len(payload) >= self._longest:
            self._longest = len(payload)
            start = max(0, (len(payload) - self._size) // 2)
            self.piece = payload[start : start + self._size]


def _forget(payload: bytes) -> None:
    """Zero the tap's own copy: what stays in memory shall be the leak's doing alone."""
    if len(payload) > 1 and sys.getrefcount(payload) <= _ALONE:
        ctypes.memset(id(payload) + bytes.__basicsize__ - 1, 0, len(payload))


_ALONE = 3  # references of a tap's copy that nobody has kept: the tap's, ours, getrefcount's


def _replace(kind: type, **methods: Any) -> None:
    for name, method in methods.items():
        setattr(kind, name, method)
