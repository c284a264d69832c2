"""The main job: what a run prints in the compute plane arrives at a viewer, exactly and at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from planesplit.harness import Harness

pytestmark = pytest.mark.integration


@pytest.fixture(params=["planesplit", "insecure"])
def split(request: pytest.FixtureRequest) -> Harness:
    """A split with TLS and one without."""
    harness: Harness = request.getfixturevalue(request.param)
    return harness


def gated(file: Path) -> str:
    """A command that prints `first`, and `second` when the file is there."""
    return f"echo first; while [ ! -e {file} ]; do sleep 0.02; done; echo second >&2; exit 3"


def test_lines_arrive_while_the_command_runs(split: Harness, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = split.run(exec=gated(gate))
    with split.tail(run) as lines:
        assert lines.next(timeout=10) == "first"
        gate.touch()
        assert lines.next(timeout=10) == "second"
        delivery = split.assert_delivered(run, lines)
    assert (delivery.produced, delivery.delivered) == (2, 2)
    assert split.wait(run).exit_code == 3
    assert split.wait(run).phase == "FAILED"


def test_a_tail_without_follow_ends_while_the_command_runs(
    planesplit: Harness, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = planesplit.run(exec=gated(gate))
    with planesplit.tail(run) as live:
        assert live.next(timeout=10) == "first"
        with planesplit.tail(run, follow=False) as lines:
            assert [line.text for line in lines.all()] == ["first\n"]
        gate.touch()
        live.all()


@pytest.mark.parametrize(
    ("workload", "options"),
    [
        ("training", ["--lines", "1500", "--huge-bytes", "3000000"]),
        ("plain", ["--lines", "5000"]),
        ("huge", ["--lines", "4", "--huge-bytes", "5000000"]),
        ("binary", ["--lines", "2000"]),
    ],
)
def test_workloads_are_delivered_exactly(
    planesplit: Harness, workload: str, options: list[str]
) -> None:
    run = planesplit.run(workload=workload, args=[*options, "--rate", "0", "--seed", "7"])
    with planesplit.tail(run) as lines:
        delivery = planesplit.assert_delivered(run, lines)
    assert delivery.produced == int(options[1])


def test_two_viewers_and_a_late_one_see_the_same(planesplit: Harness) -> None:
    run = planesplit.run(workload="training", args=["--lines", "400", "--rate", "800"])
    with planesplit.tail(run) as one, planesplit.tail(run) as two:
        planesplit.assert_delivered(run, one)
        planesplit.assert_delivered(run, two)
    planesplit.assert_delivered(run)  # after the end, from the rotated files


def test_a_log_that_was_rotated_is_delivered_whole(planesplit: Harness) -> None:
    run = planesplit.run(workload="huge", args=["--lines", "8", "--rate", "0"])
    planesplit.wait(run)
    delivery = planesplit.assert_delivered(run)  # 16 MiB: more than one file
    assert delivery.produced == 8


def test_replay_of_a_file(planesplit: Harness, tmp_path: Path) -> None:
    file = tmp_path / "replayed.log"
    file.write_bytes("eins\n\nzwölf\tdrei\r\n".encode() + b"\xff\xfe broken\nno newline at the end")
    run = planesplit.run(replay=file, args=["0"])
    with planesplit.tail(run) as lines:
        planesplit.assert_delivered(run, lines)
        assert "".join(line.text for line in lines.received) == (
            "eins\n\nzwölf\tdrei\r\n\ufffd\ufffd broken\nno newline at the end\n"
        )


def test_the_last_lines_and_since(planesplit: Harness) -> None:
    run = planesplit.run(exec="for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.02; done")
    planesplit.wait(run)
    with planesplit.tail(run, lines=3) as last:
        assert list(last) == ["7", "8", "9"]
    with planesplit.tail(run) as lines:
        every = lines.all()
    fifth = every[4]
    since = [line.text.rstrip("\n") for line in every if line.at_ns >= fifth.at_ns]
    with planesplit.tail(run, since=_rfc3339(fifth.at_ns)) as newer:
        assert list(newer) == since  # a line that was read at once with another has its time
    with planesplit.tail(run, since=3600) as hour:
        assert list(hour) == [str(number) for number in range(1, 10)]


def test_environment_and_arguments_reach_the_command(planesplit: Harness) -> None:
    run = planesplit.run(
        exec=["sh", "-c", 'echo "$GREETING $1"'], args=["arg0", "you"], env={"GREETING": "hello"}
    )
    with planesplit.tail(run) as lines:
        assert list(lines) == ["hello you"]


def _rfc3339(at_ns: int) -> str:
    from datetime import UTC, datetime

    seconds, nanos = divmod(at_ns, 10**9)
    return datetime.fromtimestamp(seconds, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{nanos:09d}Z")


@pytest.mark.parametrize("compress", [True, False])
def test_lines_are_the_same_compressed_or_not(insecure: Harness, compress: bool) -> None:
    run = insecure.run(workload="training", args=["--lines", "800", "--huge-bytes", "300000"])
    with insecure.tail(run, compress=compress) as lines:
        delivery = insecure.assert_delivered(run, lines)
    assert delivery.delivered == delivery.produced == 800
