"""The piece of payload that bulk streams are made of."""

from __future__ import annotations

import struct

from tunnel.frames import MAX_DATA_BYTES

ENVELOPE = struct.Struct(">BI")  # Connect: flags, length
UNIT_BYTES = MAX_DATA_BYTES  # a whole unit in one DATA frame: 9 bytes short of 64 KiB


def canned_unit() -> bytes:
    """Return one unit: a whole Connect message that fills one DATA frame."""
    size = UNIT_BYTES - ENVELOPE.size
    return ENVELOPE.pack(0, size) + bytes(range(256)) * (size // 256) + bytes(size % 256)
