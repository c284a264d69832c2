"""How the usual relay over one WebSocket names its connections: each message begins with a number.

A message without anything after the number ends that connection.
"""

from __future__ import annotations

import struct

NUMBER = struct.Struct(">I")
MAX_MESSAGE_BYTES = 65_536
READ_BYTES = MAX_MESSAGE_BYTES - NUMBER.size


def join(number: int, data: bytes) -> bytes:
    """Return a message."""
    return NUMBER.pack(number) + data


def split(message: bytes | str) -> tuple[int, memoryview]:
    """Return a message's number and what follows.

    Raises:
        ValueError: it is no such message.
    """
    if isinstance(message, str) or len(message) < NUMBER.size:
        raise ValueError("not a message of a relay")
    return NUMBER.unpack_from(message)[0], memoryview(message)[NUMBER.size :]
