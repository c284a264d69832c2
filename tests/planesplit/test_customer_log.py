"""The operator's reading of CRI files agrees with the account that the writer keeps."""

from __future__ import annotations

import gzip
import itertools
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer_stub.cri import LogWriter
from customer_stub.produced import Produced
from customer_stub.rotation import LogFile
from planesplit.delivery import WholeLine, sha256
from planesplit.split.customer_log import NoLog, pod_directory, read_log

WRITES = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.binary(max_size=40)
        | st.builds(bytes.__mul__, st.just("é\n".encode()), st.integers(0, 9)),
    )
)


@settings(max_examples=60)
@given(WRITES, st.integers(4096, 70_000))
def test_it_agrees_with_the_writer(
    writes: list[tuple[Literal["stdout", "stderr"], bytes]], rotate_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        produced = Produced()
        path = Path(directory) / "main" / "0.log"
        log = LogFile(path, rotate_bytes=rotate_bytes, rotate_files=100)
        writer = LogWriter(log, produced, clock=itertools.count(1, 999).__next__)
        for stream, data in writes:
            writer.write(stream, data * 50)
        writer.close()
        lines = read_log(Path(directory))
        account = produced.report()
        assert len(lines) == account["lines"]
        assert [line.at_ns for line in lines] == sorted(line.at_ns for line in lines)
        if not _interleaved(path.parent):
            assert sha256(lines) == account["sha256"]


def _interleaved(directory: Path) -> bool:
    """Whether a partial line of one stream is followed by the other: the account then differs."""
    records = [
        line.split(b" ", 3)
        for file in sorted(directory.iterdir(), key=lambda f: (f.name == "0.log", f.name))
        for line in file.read_bytes().split(b"\n")[:-1]
    ]
    pairs = itertools.pairwise(records)
    return any(a[2] == b"P" and a[1] != b[1] for a, b in pairs)


def test_rotated_and_compressed_files_are_read_in_order(tmp_path: Path) -> None:
    main = tmp_path / "main"
    main.mkdir()
    first, second, third = (
        b"2026-01-01T00:00:00.1Z stdout F a\n2026-01-01T00:00:00.2Z stdout P b",
        b"2026-01-01T00:00:01Z stderr F e\n2026-01-01T00:00:01.5Z stdout P c",
        b"2026-01-01T00:00:02.000000001Z stdout F d",
    )
    (main / "0.log.20260101-000000.gz").write_bytes(gzip.compress(first + b"\n"))
    (main / "0.log.20260101-000001").write_bytes(second + b"\n")
    (main / "0.log.20260101-000001.gz").write_bytes(b"half of it")
    (main / "0.log.20260101-000001.tmp").write_bytes(b"x")
    (main / "0.log").write_bytes(third + b"\n")
    second_ns = 1_767_225_600 * 10**9
    assert read_log(tmp_path) == [
        WholeLine(second_ns + 100_000_000, "a\n"),
        WholeLine(second_ns + 1_000_000_000, "e\n"),
        WholeLine(second_ns + 200_000_000, "bcd\n"),
    ]


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoLog, match="no log of container main"):
        read_log(tmp_path)
    with pytest.raises(NoLog, match="0 log directories of pod ns/p"):
        pod_directory([tmp_path], "ns", "p")
    (tmp_path / "ns_p_1").mkdir()
    assert pod_directory([tmp_path], "ns", "p").name == "ns_p_1"
    (tmp_path / "ns_p_2").mkdir()
    with pytest.raises(NoLog, match="2 log directories"):
        pod_directory([tmp_path], "ns", "p")
