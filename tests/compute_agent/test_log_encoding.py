"""Lines are encoded as the protobuf library would, whichever way they take."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from crilog import CriLog
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse
from flyteidl2.logs.dataplane.payload_pb2 import ContainerIdentifier
from hypothesis import example, given, settings
from hypothesis import strategies as st
from viewing import Viewer

from compute_agent.logs import batch, encoding
from compute_agent.logs.encoding import Encoder, varint
from compute_agent.logs.lines import Assembler
from compute_agent.settings import LogLimits

NAMES = st.text(max_size=200)
LINES = st.tuples(
    st.integers(-(2**62), 2**62),
    st.integers(0, 999_999_999),
    st.text(max_size=300),
    st.integers(0, 2),
)


def by_the_library(container: ContainerIdentifier, pod: str, lines: list[tuple]) -> bytes:
    message = TailLogsResponse()
    logs = message.logs.add(container=container)
    for seconds, nanos, text, originator in lines:
        line = logs.lines.add(message=text, originator=originator, short_pod_name=pod)
        line.timestamp.seconds, line.timestamp.nanos = seconds, nanos
    return message.SerializeToString()


@given(NAMES, NAMES, st.lists(LINES, max_size=5))
@example("", "", [(0, 0, "", 0)])
@example("c", "p", [(-1, 1, "x" * 20_000, 1), (1, 127, "y" * 126, 2), (2**31, 128, "z" * 127, 1)])
def test_a_message_is_what_the_library_writes(name: str, pod: str, lines: list[tuple]):
    container = ContainerIdentifier(cluster_name="c1", kubernetes_pod_name=name)
    encoder = Encoder(container, pod)
    encoded = [
        encoder.line(seconds, nanos, text.encode(), originator)
        for seconds, nanos, text, originator in lines
    ]
    assert encoder.message(encoded) == by_the_library(container, pod, lines)


@pytest.mark.parametrize("power", range(31))
def test_nanoseconds_have_the_varint_of_any_number(power: int):
    for number in (2**power - 1, 2**power, 2**power + 1):
        assert encoding._nanos(number) == varint(number)


STAMPS = st.sampled_from(
    [
        b"2026-11-23T00:00:01.000000001Z",
        b"2026-11-23T00:00:01.002097152Z",
        b"2026-11-23T00:00:01.999999999Z",
        b"2026-11-23T00:00:01.268435456+01:00",
        b"2026-11-23T00:00:02.000000000Z",
        b"2026-11-23T00:00:02.5Z",
        b"2026-11-23T00:00:02Z",
        b"1970-01-01T00:00:00.000000000Z",
        b"1969-12-31T23:59:59.500000000Z",
        b"2026-11-23T00:00:01.00000_001Z",
        b"2026-11-23T00:00:01.00000000aZ",
        b"2026-11-23T00:00:01.000000001ZZ",
        b"2026-11-23 00:00:01 000000001Z",
        b"nonsense",
        b"",
    ]
)
RECORDS = st.one_of(
    st.builds(
        b"%b %b %b %b\n".__mod__,
        st.tuples(
            STAMPS,
            st.sampled_from([b"stdout", b"stdout", b"stderr", b"other"]),
            st.sampled_from([b"F", b"F", b"F", b"P", b"F:x", b"X", b""]),
            st.one_of(
                st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
                st.text("abc é€\U0001f600 ", max_size=40).map(str.encode),
                st.integers(0, 3_000).map(lambda size: b"x" * size),
            ),
        ),
    ),
    st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"") + b"\n"),
)


def units_of(data: bytes, cuts: list[int]) -> list[tuple[str, bytes]]:
    """Return the units of a log that grows from cut to cut, and what else was told of lines."""
    with tempfile.TemporaryDirectory() as root:
        log = CriLog(Path(root))
        log.path.touch()
        viewer = Viewer(log, limits=LogLimits(read_bytes=4_096))
        viewer.open()
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            with log.path.open("ab") as file:
                file.write(data[begin:end])
            viewer.read()
        viewer.finish()
        return [*viewer.units, (str(viewer.originators), str(viewer.times).encode())]


def same_both_ways(data: bytes, places: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "UNIT_BYTES", 3_000)
        short = units_of(data, places)
        patch.setattr(Assembler, "passes", lambda self, sequence: False)
        assert short == units_of(data, places)


@settings(deadline=None, max_examples=150)
@given(st.lists(RECORDS, max_size=25), st.lists(st.floats(0, 1), max_size=4))
def test_ordinary_records_give_the_same_units_by_the_short_way(records, cuts):
    """Units, texts, times, and the cursor behind each."""
    data = b"".join(records)
    same_both_ways(data, sorted(int(cut * len(data)) for cut in cuts))


def test_ordinary_records_do_take_the_short_way(tmp_path, monkeypatch):
    monkeypatch.setattr(Assembler, "feed", None)
    log = CriLog(tmp_path)
    log.path.write_bytes(ORDINARY * 3)
    assert Viewer(log).read().lines == ["one\n"] * 3


ORDINARY = b"2026-11-23T00:00:01.000000001Z stdout F one\n"
MUTANTS = {
    "nanoseconds": ("_nanos", lambda nanos: varint(nanos + 1)),
    "seconds": ("_second", lambda stamp: 1),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_planted_mutant_of_the_short_way_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoding, *MUTANTS[name])
    with pytest.raises(AssertionError):
        same_both_ways(ORDINARY * 3, [20])
