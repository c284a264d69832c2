from __future__ import annotations

import itertools

import pytest
from crilog import records, stamp
from hypothesis import given
from hypothesis import strategies as st

from compute_agent.logs.cri import STDERR, STDOUT, UNKNOWN, Splitter, epoch_ns, parse

BIG = 1 << 20
NS = 1_700_000_000_123_456_789

contents = st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"?"))
streams = st.sampled_from([STDOUT, STDERR])
garbage = st.binary(min_size=1, max_size=30).map(lambda b: b.replace(b"\n", b"?") + b"\n")
well_formed = st.builds(
    lambda content, stream, piece: records(content, NS, stream, piece),
    contents,
    streams,
    st.integers(1, 70),
)


def feed(data: bytes, cuts: list[int], limit: int = BIG) -> list[object]:
    splitter = Splitter(0, limit)
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    out: list[object] = []
    for start, end in itertools.pairwise(bounds):
        out += splitter.feed(data[start:end])
    return out + splitter.flush()


@given(st.lists(st.one_of(well_formed, garbage)), st.lists(st.integers(0, 5000), max_size=20))
def test_records_do_not_depend_on_how_the_bytes_arrive(parts, cuts):
    data = b"".join(parts)
    assert feed(data, cuts) == feed(data, [])


@given(
    st.lists(st.one_of(well_formed, garbage)),
    st.lists(st.integers(0, 5000), max_size=20),
    st.integers(1, 50),
)
def test_cutting_long_records_does_not_depend_on_arrival_either(parts, cuts, limit):
    data = b"".join(parts)
    found = feed(data, cuts, limit)
    assert found == feed(data, [], limit)
    assert sum(r.end - r.offset for r in found) == len(data)
    assert all(r.end - r.offset <= limit + 1 for r in found)


@given(st.lists(st.one_of(well_formed, garbage)))
def test_offsets_cover_the_log_without_hole_or_overlap(parts):
    data = b"".join(parts)
    at = 0
    for record in feed(data, []):
        assert record.offset == at
        at = record.end
    assert at == len(data)


@given(st.lists(st.tuples(contents, streams), max_size=10), st.integers(1, 70))
def test_what_the_writer_wrote_comes_back(lines, piece):
    data = b"".join(records(content, NS, stream, piece) for content, stream in lines)
    found, parts = [], b""
    for record in feed(data, []):
        assert record.at_ns == NS
        parts += record.content
        if record.final:
            found.append((parts, record.stream))
            parts = b""
    assert found == lines


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no record",
        b"2024-01-01T00:00:00Z stdout X hello",
        b"2024-01-01T00:00:00Z stdin F hello",
        b"2024-01-01T00:00:00 stdout F no zone",
        b"2024-13-01T00:00:00Z stdout F month",
        b"2024-01-01T00:00:00.Z stdout F point",
        b"2024-01-01T00:00:00.1234567890Z stdout F ten",
        b"2024-01-01T00:00:00.1_2Z stdout F underscore",
        b"\xff\xfe stdout F bytes",
    ],
)
def test_garbage_comes_back_whole_and_unknown(line):
    record = parse(line, 5, 6)
    assert (record.stream, record.content, record.final) == (UNKNOWN, line, True)


def test_tags_may_have_more_parts():
    assert parse(b"2024-01-01T00:00:00Z stderr P:x a", 0, 0).final is False


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        (b"1970-01-01T00:00:00Z", 0),
        (b"1970-01-01T00:00:01.5Z", 1_500_000_000),
        (b"1970-01-01T00:00:00.000000001Z", 1),
        (b"1970-01-01T01:00:00.000000001+01:00", 1),
    ],
)
def test_timestamps(text, ns):
    assert epoch_ns(text) == ns


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_timestamps_round_trip(ns):
    assert epoch_ns(stamp(ns)) == ns


def test_torn_line_waits():
    splitter = Splitter(100, BIG)
    data = records(b"hello", NS, STDOUT)
    assert splitter.feed(data[:-3]) == []
    (record,) = splitter.feed(data[-3:])
    assert (record.offset, record.end, record.content) == (100, 100 + len(data), b"hello")
