"""The life of a stream, as one table.

A stream has two halves, one for each direction, and each half is in one state of this table. The
opener's half begins with OPEN, the other one waits for its HEAD. The machine does not know which
side it plays, and nothing about a stream's state lives elsewhere. A pair that is absent is a
protocol error. RESET and CREDIT are not in the table: they are legal as long as the stream is open;
RESET ends both halves, CREDIT changes none.
"""

from __future__ import annotations

import enum

from tunnel.frames import FrameType


class Half(enum.Enum):
    """State of one direction of a stream."""

    IDLE = "idle"
    HEAD = "head"  # the answer's head has to come first
    BODY = "body"
    ENDED = "ended"

    __hash__ = object.__hash__  # Enum's is written in Python, and each frame sent asks for one


TRANSITIONS: dict[tuple[Half, int], Half] = {
    (Half.IDLE, FrameType.OPEN): Half.BODY,
    (Half.HEAD, FrameType.HEAD): Half.BODY,
    (Half.BODY, FrameType.DATA): Half.BODY,
    (Half.BODY, FrameType.MARK): Half.BODY,
    (Half.BODY, FrameType.END): Half.ENDED,
}
