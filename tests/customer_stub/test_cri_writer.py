"""CRI framing and the log writer, over rotation and compression."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from pathlib import Path

import pytest
import trio
from customer_cast import lines, log_files, records
from hypothesis import given, settings
from hypothesis import strategies as st

from customer_stub.cri import PIECE_BYTES, CriFramer, LogWriter, Timestamps
from customer_stub.produced import Produced, Stream
from customer_stub.rotation import GZIP_BLOCK_BYTES, LogFile

AT = b"2026-01-01T00:00:00Z"
MANY = 10_000


class Clock:
    """A clock that tests set; every reading may step it."""

    def __init__(self, ns: int = 1_700_000_000 * 10**9, step_ns: int = 0) -> None:
        self.ns, self.step_ns = ns, step_ns

    def __call__(self) -> int:
        self.ns += self.step_ns
        return self.ns


def frame_all(chunks: list[bytes], stream: Stream = "stdout") -> bytes:
    framer = CriFramer()
    done = [framer.frame(stream, chunk, AT)[0] for chunk in chunks]
    return b"".join([*done, framer.finish(stream, AT)[0]])


def texts() -> st.SearchStrategy[bytes]:
    """Bytes with many newlines, and now and then lines around the size of a piece."""
    short = st.lists(st.sampled_from([b"\n", b"a", b"\xff", "é".encode(), b"\r", b" P "])).map(
        b"".join
    )
    around = st.integers(-2, 2).flatmap(
        lambda d: st.sampled_from([1, 2, 3]).map(lambda n: b"x" * (PIECE_BYTES * n + d))
    )
    return st.lists(st.one_of(short, around, st.just(b"\n")), max_size=8).map(b"".join)


@given(texts(), st.lists(st.integers(0, 70_000), max_size=12))
@settings(max_examples=150, deadline=None)
def test_records_do_not_depend_on_chunks(text: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert frame_all(chunks) == frame_all([text])


@pytest.mark.parametrize(
    ("size", "tags"),
    [
        (0, "F"),
        (PIECE_BYTES, "F"),
        (PIECE_BYTES + 1, "PF"),
        (2 * PIECE_BYTES, "PF"),
        (40_000, "PPF"),
    ],
)
def test_long_lines_become_pieces(size: int, tags: str) -> None:
    found = frame_all([b"x" * size + b"\n"]).split(b"\n")[:-1]
    assert [line.split(b" ")[2].decode() for line in found] == list(tags)
    assert {len(line.split(b" ", 3)[3]) for line in found[:-1]} <= {PIECE_BYTES}


def test_little_stays_behind() -> None:
    framer = CriFramer()
    framed, content = framer.frame("stdout", b"x" * (3 * PIECE_BYTES + 5), AT)
    assert framed.count(b" P ") == 3
    assert len(content) == 3 * PIECE_BYTES


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), texts()), max_size=12),
    st.integers(1, 100_000),
)
@settings(max_examples=60, deadline=None)
def test_lines_survive_rotation(chunks: list[tuple[Stream, bytes]], rotate_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        produced = Produced()
        trio.run(_write, Path(scratch), chunks, rotate_bytes, produced)
        for stream in ("stdout", "stderr"):
            text = b"".join(data for source, data in chunks if source == stream)
            expected = text.split(b"\n")
            expected = expected if expected[-1] else expected[:-1]
            assert lines(Path(scratch), stream) == expected
            assert produced.lines[stream] == len(expected)
            assert produced.raw_bytes[stream] == len(text)
        seen = b"".join(line + b"\n" for line in lines(Path(scratch)))
        viewer = seen.decode(errors="replace").encode()
        assert produced.report()["sha256"] == hashlib.sha256(viewer).hexdigest()
        assert produced.text_bytes == len(viewer)


async def _write(
    directory: Path, chunks: list[tuple[Stream, bytes]], rotate_bytes: int, produced: Produced
) -> None:
    log = LogFile(directory / "0.log", rotate_bytes=rotate_bytes, rotate_files=MANY)
    writer = LogWriter(log, produced)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.tend)
        for stream, data in chunks:
            writer.write(stream, data)
            await trio.lowlevel.checkpoint()
        writer.close()
    plain = [path for path in log_files(directory)[:-1] if path.suffix != ".gz"]
    assert len(plain) <= 1
    assert not list(directory.glob("*.tmp"))


def test_interleaved_streams_are_digested_in_the_order_of_completion(tmp_path: Path) -> None:
    produced = Produced()
    log = LogFile(tmp_path / "0.log", rotate_bytes=1 << 30, rotate_files=2)
    writer = LogWriter(log, produced)
    writer.write("stdout", b"x" * 20_000)
    writer.write("stderr", b"first\n")
    writer.write("stdout", "é".encode()[:1])
    writer.write("stdout", "é".encode()[1:] + b"\n")
    writer.close()
    expected = b"first\n" + b"x" * 20_000 + "é\n".encode()
    assert produced.report()["sha256"] == hashlib.sha256(expected).hexdigest()
    assert [tag for _, _, tag, _ in records(tmp_path)] == [b"P", b"F", b"F"]


def test_time_never_goes_backwards_and_drops_trailing_zeros() -> None:
    clock = Clock(1_700_000_000 * 10**9 + 120_000_000)
    times = Timestamps(clock)
    assert times.next() == b"2023-11-14T22:13:20.12Z"
    clock.ns -= 5 * 10**9
    assert times.next() == b"2023-11-14T22:13:20.12Z"
    clock.ns = 1_700_000_001 * 10**9
    assert times.next() == b"2023-11-14T22:13:21Z"
    clock.ns += 1
    assert times.next() == b"2023-11-14T22:13:21.000000001Z"


async def test_rotation_keeps_a_bounded_number_of_bounded_files(tmp_path: Path) -> None:
    clock = Clock(step_ns=10**8)
    log = LogFile(tmp_path / "0.log", rotate_bytes=1000, rotate_files=4, clock=clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.tend)
        for number in range(200):
            log.append(b"%s stdout F %060d\n" % (AT, number))
            await trio.lowlevel.checkpoint()
            kept = [path for path in tmp_path.iterdir() if path.suffix != ".tmp"]
            assert len({path.name.removesuffix(".gz") for path in kept}) <= 4
        log.close()
    names = [path.name for path in log_files(tmp_path)]
    assert [name.endswith(".gz") for name in names] == [True, True, False, False]
    assert names[-1] == "0.log"
    assert len(names) == 4
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    numbers = [int(content) for _, _, _, content in records(tmp_path)]
    assert numbers == list(range(numbers[0], 200))


def test_names_sort_in_the_order_of_rotation(tmp_path: Path) -> None:
    clock = Clock()
    log = LogFile(tmp_path / "0.log", rotate_bytes=1, rotate_files=MANY, clock=clock)
    for number in range(12):
        log.append(b"%s stdout F %d\n" % (AT, number))
    clock.ns -= 3600 * 10**9  # a clock set back must not reorder files
    log.append(b"%s stdout F 12\n" % AT)
    log.close()
    assert [int(content) for _, _, _, content in records(tmp_path)] == list(range(13))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[:3] == ["0.log", "0.log.20231114-221320", "0.log.20231114-221321"]
    assert [path.name for path in log_files(tmp_path)] == [*names[1:], "0.log"]


def test_a_full_disk_is_an_error_not_silence(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "0.log", rotate_bytes=10**6, rotate_files=2)
    log._fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        log.append(b"x")


def test_a_line_too_long_to_hold_is_digested_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("customer_stub.produced.HELD_BYTES", 3)
    produced = Produced()
    text = "aé🧮\nb\n".encode()
    for byte in text:
        produced.stored("stdout", bytes([byte]))
    assert produced.report()["sha256"] == hashlib.sha256(text).hexdigest()
    assert produced.report()["lines"] == 2


async def test_a_file_dropped_while_it_is_compressed_stays_dropped(tmp_path: Path) -> None:
    record = b"%b stdout F %b\n" % (AT, b"x" * (3 * GZIP_BLOCK_BYTES))
    log = LogFile(tmp_path / "0.log", rotate_bytes=1, rotate_files=3, clock=Clock(step_ns=10**9))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.tend)
        for _ in range(3):
            log.append(record)
        while not list(tmp_path.glob("*.tmp")):
            await trio.lowlevel.checkpoint()
        for _ in range(3):
            log.append(record)
        log.close()
    names = [path.name for path in log_files(tmp_path)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert len(names) == 3
    assert len(records(tmp_path)) == 3


async def test_compression_cancelled_leaves_the_plain_file(tmp_path: Path) -> None:
    record = b"%b stdout F %b\n" % (AT, b"x" * (3 * GZIP_BLOCK_BYTES))
    log = LogFile(tmp_path / "0.log", rotate_bytes=1, rotate_files=9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.tend)
        for _ in range(3):
            log.append(record)
        while not list(tmp_path.glob("*.tmp")):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    log.close()
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".tmp", ".gz")]
    assert len(records(tmp_path)) == 3
