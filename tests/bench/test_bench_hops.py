"""Followed lines: seen in masked frames however they are split, and hops that sum to the total."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.bench import tap as tapped
from planesplit.bench.hops import HOPS, follow, waterfall
from planesplit.bench.tap import Crossing, FrameTap
from planesplit.measure.lines import Batch
from planesplit.measure.node_log import _text
from tests.bench.bench_cast import PLAN, crossings, turn

HEAD = b"GET /tunnel HTTP/1.1\r\nhost: localhost\r\n\r\n"


def frame(payload: bytes, key: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A masked binary frame, by the book (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x82, 0x80 | size)
    elif size < 65_536:
        head = struct.pack(">BBH", 0x82, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x82, 0x80 | 127, size)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def passed(pieces: list[bytes]) -> list[tuple[int, int]]:
    """Which lines a tap saw cross."""
    found: list[Crossing] = []
    tap = FrameTap(found)
    for piece in pieces:
        tap.entered(piece)
        tap.left(len(piece))
    return [(each.stream, each.line) for each in found]


sizes = st.sampled_from([0, 1, 50, 125, 126, 3_000, 66_000])


@given(st.lists(st.tuples(sizes, st.booleans()), max_size=6), st.binary(min_size=4, max_size=4),
       st.data())  # fmt: skip
def test_marked_lines_are_seen_however_the_bytes_are_split(
    wanted: list[tuple[int, bool]], key: bytes, data: st.DataObject
) -> None:
    stream, marks = HEAD, []
    for number, (size, marked) in enumerate(wanted):
        payload = b"." * size
        if marked:
            payload += b"%010d#%04d#" % (number, number + 3)
            marks.append((number + 3, number))
        stream += frame(payload, key)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    assert passed(pieces) == marks


def test_a_line_has_left_only_when_its_frame_has() -> None:
    found: list[Crossing] = []
    tap = FrameTap(found)
    data = HEAD + frame(b"0000000007#0001#")
    tap.entered(data)
    tap.left(len(data) - 1)
    assert found == []
    tap.left(1)
    assert [(each.stream, each.line) for each in found] == [(1, 7)]
    assert found[0].left_s >= found[0].entered_s


def test_a_tap_that_understands_nothing_holds_no_more_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tapped, "MAX_HELD_BYTES", 1_000)
    tap = FrameTap([])
    for _ in range(50):
        tap.entered(b"x" * 100)
        tap.left(100)
    assert len(tap._held) <= 1_000


def test_the_node_marks_the_lines_that_are_followed_and_their_size_stays() -> None:
    plan = PLAN.lines(0.0)
    every = plan.sample_every
    records = _text(plan, Batch(1, every - 1, 2, 0.0)).split(b"\n")[:-1]
    lines = [record.split(b" F ")[1] for record in records]
    assert [b"#0001#" in line for line in lines] == [every == 1, True]
    assert {len(line) for line in lines} == {plan.line_bytes}


def test_hops_sum_to_the_total_of_each_line() -> None:
    plan = PLAN.lines(100.0)
    made = turn(plan, lambda _: 0.002)
    followed = follow(made, crossings(plan))
    assert len(followed) == plan.lines * plan.streams
    assert [sum(hops) for hops in followed] == pytest.approx([0.002] * len(followed))
    found = waterfall(followed)
    assert [hop["name"] for hop in found["hops"]] == list(HOPS)
    assert [hop["mean_ms"] for hop in found["hops"]] == pytest.approx(
        [0.1, 0.2, 0.2, 1.4, 0.1], abs=0.01
    )
    assert sum(hop["mean_ms"] for hop in found["hops"]) == pytest.approx(found["total_mean_ms"])


def test_a_line_that_was_not_seen_at_every_hop_is_not_followed() -> None:
    plan = PLAN.lines(100.0)
    made = turn(plan, lambda _: 0.002)
    assert len(follow(made, crossings(plan)[5:])) == plan.lines * plan.streams - 5
    assert follow(made, []) == []
    assert waterfall([]) == {}
