"""The fast path of WebSocket data: whole, unfragmented binary frames (RFC 6455, 5.2).

Everything else (handshake, control frames, fragments, close, whatever is not as it should be) goes
to `websockets`' Sans-I/O protocol, byte for byte: the pair behaves as the library alone does.
"""

from __future__ import annotations

import enum
import struct
import sys
from os import urandom

from websockets.protocol import Protocol, Side, State

from tunnel.frames import MAX_FRAME_BYTES
from tunnel.payload import Buffer
from tunnel.scheduler import joined
from tunnel.streams import Frame

try:
    from websockets.speedups import apply_mask

    MASK_IN_C = True
except ImportError:  # a build without the C extension: right, but the relay costs twice (measured)
    from websockets.utils import apply_mask

    MASK_IN_C = False

WHOLE_BINARY = 0x82  # FIN, no reserved bits, opcode 2
MASKED = 0x80
LENGTH_16, LENGTH_64 = 126, 127
# First bytes that are legal besides: fragments, text, Close, Ping, Pong.
OTHER_FRAMES = frozenset((0x00, 0x01, 0x02, 0x80, 0x81, 0x88, 0x89, 0x8A))
MASK_BYTES = 4
_U16, _U64 = struct.Struct("!H"), struct.Struct("!Q")
# Of a frame of 126 to 65,535 bytes: first two bytes, length, key.
_HEAD, _MASKED_HEAD = struct.Struct("!HH0s"), struct.Struct("!HH4s")
_SHORT, _LONG = struct.Struct("!BB"), struct.Struct("!BBH")


class Read(enum.Enum):
    """What stands at a position of the buffer."""

    MORE = 1  # not enough to tell, or a frame that has not arrived whole
    OTHER = 2  # for the library


def masks(protocol: Protocol) -> bool:
    """Whether this end masks what it sends: clients do, servers do not."""
    return protocol.side is Side.CLIENT


def encode(frames: list[Frame], *, mask: bool) -> list[Buffer]:
    """Return the bytes of binary messages, one a frame, as a list of buffers."""
    if mask:
        return _encode_masked(frames)
    buffers: list[Buffer] = []
    for parts in frames:
        buffers.append(_header(sum(map(len, parts)), 0))
        buffers += parts
    return buffers


def _encode_masked(frames: list[Frame]) -> list[Buffer]:
    """Mask a frame's first part, which fits the key's length, and the rest apart: two buffers."""
    buffers: list[Buffer] = []
    keys = urandom(MASK_BYTES * len(frames))
    for index, parts in enumerate(frames):
        key = keys[index * MASK_BYTES : (index + 1) * MASK_BYTES]
        if len(parts) == 2 and not len(parts[0]) % MASK_BYTES:
            first, rest = parts
        else:
            first, rest = b"", joined(parts)
        header = _header(len(first) + len(rest), MASKED)
        buffers += header + key + apply_mask(first, key), apply_mask(rest, key)
    return buffers


def _header(size: int, mask_bit: int) -> bytes:
    if size < LENGTH_16:
        return _SHORT.pack(WHOLE_BINARY, mask_bit | size)
    return _LONG.pack(WHOLE_BINARY, mask_bit | LENGTH_16, size)


class Decoder:
    """Splits received bytes between the fast path and the library.

    Args:
        protocol: the library's, past its handshake; it gets what is not a plain data frame.
        limit_bytes: longest message.
    """

    def __init__(self, protocol: Protocol, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._protocol, self._limit = protocol, limit_bytes
        self._mask_bit = 0 if masks(protocol) else MASKED
        self._head = _MASKED_HEAD if self._mask_bit else _HEAD
        first = WHOLE_BINARY << 8 | self._mask_bit
        self._words = range(first, first + LENGTH_16)  # first two bytes of a short frame
        self._left = 0  # bytes of a frame for the library that are still to come

    def plain(
        self, data: memoryview, start: int, messages: list[memoryview], most: int = sys.maxsize
    ) -> int:
        """Append the plain data frames of ordinary size that stand at `data[start:]`, all in a row.

        Args:
            data, start: where to look.
            messages: what was found is appended.
            most: so many frames at most.

        Returns:
            Where they end; `next` tells what is there.
        """
        protocol = self._protocol
        if self._left or protocol.state is not State.OPEN or protocol.current_size is not None:
            return start
        masked, long = self._mask_bit != 0, self._words[-1] + 1
        unpack, head_bytes, end = self._head.unpack_from, self._head.size, len(data)
        for _ in range(most):
            if start + head_bytes > end:
                break
            word, size, key = unpack(data, start)
            body = start + head_bytes
            if word != long:
                if word not in self._words:
                    break
                body -= _U16.size  # no length of its own: what stands there is key or payload
                size, key = word & ~MASKED & 0xFF, data[body - MASK_BYTES : body]
            upto = body + size
            if upto > end or size > self._limit:
                break
            piece = data[body:upto]
            messages.append(memoryview(apply_mask(piece, key) if masked else bytes(piece)))
            start = upto
        return start

    def next(self, data: memoryview, start: int) -> tuple[Read | bytes, int]:
        """Look at `data[start:]`.

        Returns:
            A message, or what else is there; and where the next look begins. For OTHER, the bytes
            up to there are the library's.
        """
        if self._left or self._protocol.state is not State.OPEN:
            return self._rest(data, start)
        have = len(data) - start
        if have < 2:
            return Read.MORE, start
        first, second = data[start], data[start + 1]
        if second & MASKED != self._mask_bit:
            return Read.OTHER, len(data)  # the library will fail the connection
        size, body = self._measure(data, start, second & ~MASKED)
        if first != WHOLE_BINARY or self._protocol.current_size is not None:
            return self._other(data, start, first, body + size)
        if size < 0:
            return Read.MORE, start
        if size > self._limit:
            return Read.OTHER, len(data)
        end = body + size
        if end > len(data):
            return Read.MORE, start
        if self._mask_bit:
            return apply_mask(data[body:end], bytes(data[body - MASK_BYTES : body])), end
        return bytes(data[body:end]), end

    def _measure(self, data: memoryview, start: int, length: int) -> tuple[int, int]:
        """Return payload size and beginning of a frame; size below 0 if the header is not whole."""
        body = start + 2 + (2 if length == LENGTH_16 else 8 if length == LENGTH_64 else 0)
        if body + (MASK_BYTES if self._mask_bit else 0) > len(data):
            return -1, start
        if length == LENGTH_16:
            length = _U16.unpack_from(data, start + 2)[0]
        elif length == LENGTH_64:
            length = _U64.unpack_from(data, start + 2)[0]
        return length, body + (MASK_BYTES if self._mask_bit else 0)

    def _other(self, data: memoryview, start: int, first: int, end: int) -> tuple[Read, int]:
        """A frame for the library: its bytes go there as they come, no byte of the next one."""
        if first not in OTHER_FRAMES and first != WHOLE_BINARY:
            self._left = sys.maxsize  # the library fails when the frame is whole, not before
            return self._rest(data, start)
        if end < start:
            return Read.MORE, start
        self._left = end - start
        return self._rest(data, start)

    def _rest(self, data: memoryview, start: int) -> tuple[Read, int]:
        if start == len(data):
            return Read.MORE, start
        if self._protocol.state is not State.OPEN:
            return Read.OTHER, len(data)
        count = min(self._left, len(data) - start)
        self._left -= count
        return Read.OTHER, start + count
