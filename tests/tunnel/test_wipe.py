"""Wiping: what is ours alone is zero afterwards, what others hold is never touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel import wipe as module
from tunnel.wipe import WIPES_BYTES, Held, Owned, joined, wipe, wipe_all, wipe_owned

SIZES = [0, 1, 2, 200, 65_535, 65_536, 65_537, 200_000]


def fresh(size: int) -> bytes:
    """Bytes that nobody else holds."""
    return b"".join((b"x" * (size // 2), b"y" * (size - size // 2)))


def test_this_interpreter_can_wipe_bytes() -> None:
    assert WIPES_BYTES


@pytest.mark.parametrize("size", SIZES)
def test_bytes_of_ours_alone(size: int) -> None:
    view = memoryview(fresh(size))
    assert wipe(view[size // 2 :]) or not size  # all that it is a view of
    assert size < 2 or bytes(view) == bytes(size)


@pytest.mark.parametrize("size", SIZES)
def test_writable_buffers(size: int) -> None:
    data = bytearray(fresh(size))
    assert wipe(data)
    assert data == bytes(size)


def test_only_a_writable_views_own_part() -> None:
    data = bytearray(b"abcdef")
    assert wipe(memoryview(data)[2:4])
    assert data == b"ab\0\0ef"


def test_what_others_hold_stays() -> None:
    data = fresh(100)
    also = [data]
    assert not wipe(memoryview(data))
    assert not wipe(data)
    assert also == [fresh(100)]


def test_literals_stay() -> None:
    assert not wipe(b"a literal of this function")
    assert not wipe(memoryview(b"another literal"))


def test_shared_single_bytes_stay() -> None:
    wipe(bytes([65]))
    assert bytes([65]) == b"A"


def test_where_bytes_cannot_be_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_whole", None)
    view = memoryview(fresh(10))
    assert not wipe(view)
    assert bytes(view) == fresh(10)
    assert module._try() == 0


def test_the_trial_notices_that_it_counts_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEADER_BYTES", module.HEADER_BYTES)
    monkeypatch.setattr(module.sys, "getrefcount", lambda _: 99)
    assert module._try() == 0


def test_owned_buffers_among_others() -> None:
    ours, theirs = Owned(b"ours"), bytearray(b"theirs")
    wipe_owned([ours, memoryview(theirs), theirs, b"bytes"])
    assert (ours, theirs) == (bytes(4), b"theirs")
    part = Owned(b"part")
    wipe_owned([memoryview(part)[1:3]])
    assert part == b"p\0\0t"


def test_joining_wipes_the_pieces() -> None:
    pieces = [Owned(b"one"), Owned(b"two")]
    assert joined(pieces) == b"onetwo"
    assert pieces == [bytes(3), bytes(3)]
    wipe_all(pieces)


@given(st.lists(st.integers(1, 9), max_size=9), st.lists(st.integers(0, 20), max_size=9))
def test_views_are_wiped_when_all_of_them_is_released(sizes: list[int], counts: list[int]) -> None:
    held, views = Held(), [memoryview(bytearray(b"x" * size)) for size in sizes]
    for view in views:
        held.add(view)
    released = 0
    for count in counts:
        count = min(count, sum(sizes) - released)
        held.release(count)
        released += count
        end = 0
        for view in views:
            end += len(view)
            assert bytes(view) == (b"\0" if end <= released else b"x") * len(view)
    held.clear()
    assert not any(map(any, views))
