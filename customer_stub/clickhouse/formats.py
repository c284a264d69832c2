"""Output formats: their media types, and how a stream of complete documents becomes one document.

The engine encodes every block as a document of its own. Some formats have nothing before or after
their rows; of others the repeated head is cut off; the rest is made as a whole by the engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PLAIN_WORDS = """
    native rowbinary null tabseparated tsv tabseparatedraw tsvraw raw csv jsoneachrow
    jsonlines ndjson jsonstringseachrow jsoncompacteachrow jsoncompactstringseachrow
    lineasstring tskv
"""
_PLAIN = frozenset(_PLAIN_WORDS.split())
_LINES = re.compile(
    r"(?:tabseparated|tsv|tabseparatedraw|tsvraw|csv|jsoncompacteachrow|jsoncompactstringseachrow)"
    r"withnames(?P<types>andtypes)?"
)
_MEDIA = (
    (re.compile(r"(tsv|tabseparated)"), "text/tab-separated-values; charset=UTF-8"),
    (re.compile(r"csv"), "text/csv; charset=UTF-8; header=present"),
    (re.compile(r"(jsoneachrow|jsonlines|ndjson)"), "application/x-ndjson; charset=UTF-8"),
    (re.compile(r"json"), "application/json; charset=UTF-8"),
    (re.compile(r"arrowstream"), "application/vnd.apache.arrow.stream"),
    (re.compile(r"(native|rowbinary|arrow|parquet|orc|avro|msgpack)"), "application/octet-stream"),
)
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_WORD_BYTES = 8  # an Arrow message starts with a continuation mark and its length

Cut = Callable[[bytes], int]


def streams(name: str) -> bool:
    """Whether blocks of this format can be joined."""
    low = name.lower()
    return low in _PLAIN or low == "arrowstream" or _LINES.fullmatch(low) is not None


def media_type(name: str) -> str:
    """Return the Content-Type of a format."""
    for pattern, kind in _MEDIA:
        if pattern.match(name.lower()):
            return kind
    return "text/plain; charset=UTF-8"


class Joiner:
    """Makes one document from the documents of blocks.

    Args:
        name: the format; one that `streams`, or a single whole document is passed on.
    """

    def __init__(self, name: str) -> None:
        low = name.lower()
        self._head = _head_of(low)
        self._tail = _END_OF_STREAM if low == "arrowstream" else b""
        self._begun = False

    def add(self, document: bytes) -> bytes:
        """Return what of a block's document belongs into the answer."""
        if self._tail and document.endswith(self._tail):
            document = document[: -len(self._tail)]
        if self._begun and self._head is not None:
            document = document[self._head(document) :]
        self._begun = True
        return document

    def end(self) -> bytes:
        """Return what closes the answer."""
        return self._tail if self._begun else b""


def _head_of(low: str) -> Cut | None:
    if low == "arrowstream":
        return _schema_bytes
    match = _LINES.fullmatch(low)
    if match is None:
        return None
    lines = 2 if match["types"] else 1
    return lambda document: _line_bytes(document, lines, quotes=low.startswith("csv"))


def _schema_bytes(document: bytes) -> int:
    """Length of an Arrow stream's first message, the schema, which has no body."""
    return _WORD_BYTES + int.from_bytes(document[4:_WORD_BYTES], "little")


def _line_bytes(document: bytes, lines: int, *, quotes: bool) -> int:
    """Length of the first lines; with `quotes` a newline between quotation marks is none."""
    end = 0
    while lines:
        start, end = end, document.find(b"\n", end) + 1
        if end == 0:
            return len(document)
        while quotes and document.count(b'"', start, end) % 2:
            following = document.find(b"\n", end) + 1
            if following == 0:
                return len(document)
            end = following
        lines -= 1
    return end
