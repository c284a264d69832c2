"""Bytes that must never be shown: log lines, bodies, tokens."""

from __future__ import annotations

from typing import NoReturn

Buffer = bytes | bytearray | memoryview


class Payload:
    """Holds a buffer without ever printing it.

    Its repr is a length; str, format, pickle and copy refuse, so that a payload cannot reach a log,
    an exception or a file by accident. `view` and `reveal` are the only ways in, easy to grep for.

    Args:
        data: the bytes; borrowed, not copied.
    """

    __slots__ = ("_view",)

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data)

    @property
    def view(self) -> memoryview:
        """The bytes, without a copy."""
        return self._view

    def reveal(self) -> bytes:
        """Return a copy of the bytes."""
        return bytes(self._view)

    def __len__(self) -> int:
        return self._view.nbytes

    def __repr__(self) -> str:
        return f"<Payload {self._view.nbytes} bytes>"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Payload cannot be converted, formatted or serialised; use .view")

    __str__ = __format__ = __reduce__ = __copy__ = __deepcopy__ = _refuse
