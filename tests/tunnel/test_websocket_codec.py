"""The fast path beside the library: the same messages, replies, state and errors for any bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.utils import apply_mask as slow_mask

from tunnel import websocket_codec
from tunnel.websocket_codec import Decoder, Read, encode

LIMIT = 300  # small, so that frames over it are drawn too


@pytest.fixture(autouse=True, scope="module")
def same_masks() -> Iterator[None]:
    """Both ends mask their replies alike, so that these can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_bytes", lambda count: b"abcd"[:count])
        yield


def protocol(side: Side) -> Protocol:
    """The library's protocol of an open connection."""
    return Protocol(side, state=OPEN, max_size=LIMIT)


class Outcome:
    """What an end has seen: messages and control frames, what it would answer, how it stands."""

    def __init__(self, end: Protocol, events: list[object]) -> None:
        self.events = events
        self.replies = end.data_to_send()
        self.state = end.state
        self.close_rcvd, self.close_sent = end.close_rcvd, end.close_sent
        self.error = type(end.parser_exc)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return repr(vars(self))


def events_of(end: Protocol) -> list[object]:
    return [(e.opcode, bytes(e.data), e.fin) for e in end.events_received()]  # type: ignore[union-attr]


def by_library(side: Side, data: bytes) -> Outcome:
    end = protocol(side)
    end.receive_data(data)
    return Outcome(end, events_of(end))


def by_pair(side: Side, data: bytes, cuts: list[int]) -> Outcome:
    """Feed the decoder as the transport does, in pieces."""
    end = protocol(side)
    decoder = Decoder(end, LIMIT)
    events: list[object] = []
    held = b""
    for first, last in pairwise([0, *sorted(cuts), len(data)]):
        held += data[first:last]
        start = 0
        while True:
            what, upto = decoder.next(memoryview(held), start)
            if isinstance(what, bytes):
                events.append((Opcode.BINARY, what, True))
            elif what is Read.OTHER:
                end.receive_data(held[start:upto])
                events += events_of(end)
            else:
                break
            start = upto
        held = held[start:]
    return Outcome(end, events)


@st.composite
def frames(draw: st.DrawFn, side: Side) -> bytes:
    """One frame, mostly legal, mostly data."""
    opcode = draw(st.sampled_from([Opcode.BINARY] * 4 + list(Opcode)))
    size = draw(st.one_of(st.integers(0, 20), st.integers(120, 130), st.integers(290, 310)))
    if opcode >= Opcode.CLOSE:
        size = min(size, 125)
    body = b"\x03\xe8" if opcode is Opcode.CLOSE else bytes(i % 251 for i in range(size))
    fin = opcode >= Opcode.CLOSE or draw(st.sampled_from([True, True, False]))
    masked = (side is Side.SERVER) != (draw(st.integers(0, 30)) == 0)
    return bytes(Frame(opcode, body, fin).serialize(mask=masked))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Side, bytes, list[int]]:
    side = draw(st.sampled_from([Side.SERVER, Side.CLIENT]))
    data = b"".join(draw(st.lists(frames(side), max_size=8)))
    if draw(st.booleans()):
        data += draw(st.binary(max_size=20))
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=6))
    return side, data, cuts


@given(conversations())
def test_the_pair_is_the_library(conversation: tuple[Side, bytes, list[int]]) -> None:
    side, data, cuts = conversation
    expected, seen = by_library(side, data), by_pair(side, data, cuts)
    if expected.state is OPEN or seen.state is not OPEN:
        assert seen == expected
    else:  # bad bytes at the very end: the pair waits for the rest of a header before it judges
        assert seen.events == expected.events


@given(st.sampled_from([Side.SERVER, Side.CLIENT]), st.binary(max_size=60))
def test_any_bytes(side: Side, data: bytes) -> None:
    more = data + bytes(16)  # so that no header is left unfinished
    assert by_pair(side, more, []) == by_library(side, more)
    assert by_pair(side, more, list(range(len(more)))) == by_library(side, more)


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=3), max_size=5),
    st.booleans(),
)
def test_what_is_encoded_reads_as_written(messages: list[list[bytes]], mask: bool) -> None:
    wire = b"".join(encode([list(parts) for parts in messages], mask=mask))
    reader = Protocol(Side.SERVER if mask else Side.CLIENT, state=OPEN, max_size=None)
    reader.receive_data(wire)
    read = [bytes(event.data) for event in reader.events_received()]  # type: ignore[union-attr]
    assert read == [b"".join(parts) for parts in messages]
    assert reader.parser_exc is None


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535])
def test_lengths_are_written_as_the_library_writes_them(size: int) -> None:
    library = Frame(Opcode.BINARY, bytes(size)).serialize(mask=False)
    assert b"".join(encode([[bytes(size)]], mask=False)) == library


def test_a_decoder_that_forgets_the_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.websocket_codec.apply_mask", lambda data, key: bytes(data))
    wire = bytes(Frame(Opcode.BINARY, b"text").serialize(mask=True))
    seen, expected = by_pair(Side.SERVER, wire, []), by_library(Side.SERVER, wire)
    assert seen != expected or wire[2:6] == bytes(4)


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_without_the_c_extension_is_the_same(data: bytes, key: bytes) -> None:
    masked = websocket_codec.apply_mask(data, key)
    assert slow_mask(memoryview(data), key) == masked
