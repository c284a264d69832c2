"""The seeded generator, and playing it in simulated time."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing
from customer_cast import NAMESPACE, cluster, directory_of, ended, lines, pod, records, terminated
from hypothesis import given, settings
from hypothesis import strategies as st

from customer_stub.pods.playback import Piece, UsageError, play
from customer_stub.pods.workload import NAMES, PLAIN_BYTES, Workload, generate, parse, sequence


def digest(workload: Workload) -> str:
    sha = hashlib.sha256()
    for piece in generate(workload):
        sha.update(repr((piece.at_s, piece.stream)).encode() + piece.data)
    return sha.hexdigest()


@given(st.sampled_from(NAMES), st.integers(0, 2**32), st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_one_seed_one_output(name: str, seed: int, count: int) -> None:
    workload = Workload(name, seed=seed, lines=count, huge_bytes=1000)
    pieces = list(generate(workload))
    assert digest(workload) == digest(workload)
    assert [sequence(piece.data) for piece in pieces] == list(range(count))
    assert all(piece.data.count(b"\n") == 1 and piece.data.endswith(b"\n") for piece in pieces)
    times = [piece.at_s for piece in pieces]
    assert times == sorted(times)


def test_seeds_differ() -> None:
    assert digest(Workload(seed=1, lines=50)) != digest(Workload(seed=2, lines=50))


def test_training_has_every_feature() -> None:
    pieces = list(generate(Workload(seed=3, lines=1000)))
    text = b"".join(piece.data for piece in pieces)
    for feature in (b"loss=", b"Traceback (most", b"\x1b[1;", "学習率".encode(), "🚀".encode()):
        assert feature in text
    text.decode()
    assert {piece.stream for piece in pieces} == {"stdout", "stderr"}
    assert max(len(piece.data) for piece in pieces) > 2_000_000
    assert max(Counter(piece.at_s for piece in pieces).values()) > 50


def test_binary_is_not_utf8_and_plain_has_its_size() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"".join(piece.data for piece in generate(Workload("binary", lines=20))).decode()
    assert {len(piece.data) for piece in generate(Workload("plain", lines=20))} == {PLAIN_BYTES}


@pytest.mark.parametrize("line", [b"", b"0000001", b"000000x y", b"00000012 x", b"hello world"])
def test_other_lines_have_no_number(line: bytes) -> None:
    assert sequence(line) is None


def test_arguments() -> None:
    words = ["burst", "--seed", "7", "--lines", "9", "--rate", "2.5", "--exit-code", "3"]
    expected = Workload("burst", seed=7, lines=9, rate=2.5, exit_code=3)
    assert parse(words) == expected
    for bad in (
        ["nonsense"],
        ["--lines"],
        ["--lines", "many"],
        ["--what", "1"],
        ["--exit-code", "999"],
    ):
        with pytest.raises(UsageError, match="planesplit/workload"):
            parse(bad)


class Tape:
    """Remembers what was written and when."""

    def __init__(self) -> None:
        self.writes: list[tuple[float, str, bytes]] = []

    def write(self, stream: str, data: bytes) -> None:
        self.writes.append((trio.current_time(), stream, data))


async def test_pieces_are_written_when_due(autojump_clock: trio.testing.MockClock) -> None:
    tape, start = Tape(), trio.current_time()
    pieces = [
        Piece(1.0, "stdout", b"a\n"),
        Piece(1.0, "stdout", b"b\n"),
        Piece(1.0, "stderr", b"c\n"),
        Piece(61.0, "stderr", b"d\n"),
    ]
    await play(pieces, tape)
    assert [(at - start, *rest) for at, *rest in tape.writes] == [
        (pytest.approx(1), "stdout", b"a\nb\n"),
        (pytest.approx(1), "stderr", b"c\n"),
        (pytest.approx(61), "stderr", b"d\n"),
    ]


async def test_a_pod_plays_an_hour_in_no_time(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    words = ["training", "--seed", "5", "--rate", "0.5", "--lines", "1800", "--exit-code", "1"]
    async with cluster(tmp_path) as target:
        start = trio.current_time()
        target.pods.create(NAMESPACE, pod("p", "planesplit/workload:v1", *words))
        (found,) = await ended(target, "p", timeout_s=7200)
        assert 3400 < trio.current_time() - start <= 3600
        assert terminated(found)["exitCode"] == 1
        assert found["status"]["phase"] == "Failed"
        expected = [piece.data[:-1] for piece in generate(parse(words))]
        assert lines(directory_of(target, found)) == expected
        account = target.kubelet.produced(NAMESPACE, "p")
        assert account is not None
        whole = b"".join(line + b"\n" for line in expected)
        assert account["sha256"] == hashlib.sha256(whole).hexdigest()
        assert (account["lines"], account["complete"]) == (1800, True)
        assert account["bytes"] == account["textBytes"] == len(whole)


async def test_replay(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_bytes(b"one\n\n" + b"x" * 200_000 + b"\nlast without newline")
    async with cluster(tmp_path / "logs") as target:
        start = trio.current_time()
        target.pods.create(NAMESPACE, pod("p", "planesplit/replay", str(source), "0.1"))
        target.pods.create(NAMESPACE, pod("absent", "planesplit/replay", str(tmp_path / "no")))
        found, absent = await ended(target, "p", "absent", timeout_s=100)
        assert trio.current_time() - start == pytest.approx(30)
        assert lines(directory_of(target, found)) == source.read_bytes().split(b"\n")
        assert terminated(absent)["exitCode"] == 2
        (message,) = lines(directory_of(target, absent), "stderr")
        assert message.endswith(b"cannot read the file: No such file or directory")


async def test_a_playback_stops_at_once_when_its_pod_is_deleted(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with cluster(tmp_path) as target:
        created = target.pods.create(NAMESPACE, pod("p", "planesplit/workload", "plain"))
        await trio.sleep(1.01)
        target.pods.delete(NAMESPACE, "p", grace_s=30)
        events = []
        async for event in target.pods.watch(
            NAMESPACE, since=int(created["metadata"]["resourceVersion"])
        ):
            events.append(event)
            if event["type"] == "DELETED":
                break
        state = terminated(events[-1]["object"])
        assert (state["exitCode"], state["reason"]) == (143, "Error")
        assert len(records(directory_of(target, created))) == 51
