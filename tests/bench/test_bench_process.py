"""The command with real processes: a whole run, and one that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

QUICK = [
    "bench",
    "--rate",
    "500/s",
    "--streams",
    "2",
    "--duration",
    "0.5",
    "--warmup",
    "0",
    "--repeat",
    "1",
    "--rtt",
    "20ms",
    "--policy",
    "latency",
    "--viewers",
    "2",
    "--stalled",
    "1",
]
LONG = [
    "bench",
    "--rate",
    "500/s",
    "--streams",
    "2",
    "--duration",
    "60",
    "--warmup",
    "0",
    "--repeat",
    "1",
]
PATIENCE_S = 15.0


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory in whose depths Unix sockets still have a place: 108 bytes are all they get."""
    with tempfile.TemporaryDirectory(prefix="b") as directory:
        yield Path(directory)


def environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(directory)}


def test_a_run_measures_both_paths_and_writes_every_file(short_path: Path) -> None:
    out = short_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "planesplit", *QUICK, "--json", "-o", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(short_path),
    )
    assert done.returncode in (0, 4), done.stderr  # 4: a machine too busy to say anything
    document = json.loads(done.stdout)
    assert document == json.loads((out / "run.json").read_text())
    assert (done.returncode == 4) is not document["verdict"]["valid"]
    split, bare = sorted(document["turns"], key=lambda turn: turn["path"], reverse=True)
    for turn in (split, bare):
        assert turn["lines"] == turn["sent_lines"] == 250
        assert turn["misplaced"] == turn["early"] == turn["missing"] == 0
        assert turn["p50"] > 10  # half of the round trip
    assert split["relay_rss_bytes"] > 10_000_000
    assert document["first_line_ms"]["median"] > 20
    assert document["resume"]["cuts"] == 1
    assert (document["plan"]["policy"], document["plan"]["viewers"]) == ("latency", 2)
    assert "latency, 2 viewers" in (out / "report.md").read_text()
    assert "stalled viewers beside them: 1" in (out / "report.md").read_text()
    assert document["resume"]["missing"] == document["resume"]["misplaced"] == 0
    hops = {hop["name"]: hop["mean_ms"] for hop in document["hops"]["hops"]}
    assert hops["link"] > 10
    assert sum(hops.values()) == pytest.approx(document["hops"]["total_mean_ms"])
    assert {file.name for file in out.iterdir()} == {
        "run.json", "run.csv", "run.hlog", "report.md", "report.html"
    }  # fmt: skip
    assert "repeat 1 of 1: through the split" in done.stderr
    assert [file.name for file in short_path.iterdir()] == ["run"]


def test_an_interrupted_run_leaves_a_partial_result_and_no_orphans(short_path: Path) -> None:
    out = short_path / "run"
    command = [sys.executable, "-m", "planesplit", *LONG, "--json", "-o", str(out)]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(short_path),
        start_new_session=True,
    )
    try:
        assert child.stderr
        while "repeat 1" not in child.stderr.readline():
            assert child.poll() is None
        time.sleep(1.0)  # some lines are through: this is what the test is about
        children = _children(child.pid)
        child.send_signal(signal.SIGINT)
        text, _ = child.communicate(timeout=PATIENCE_S)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130
    document = json.loads(text)
    assert document == json.loads((out / "run.json").read_text())
    assert document["partial"]
    assert 0 < document["turns"][0]["lines"] < 500 * 60
    assert "PARTIAL" in (out / "report.html").read_text()
    assert children
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--rate fast", "--rate 'fast'"),
        ("--bandwidth 10mbit", "more than 80% of a link"),
        ("sweep --rate 9..5", "the first rate must be the smaller one"),
        ("compare nowhere nothing", "nowhere: No such file"),
        ("--html nowhere/report.html", "its directory does not exist"),
    ],
)
def test_usage_errors_exit_with_2_before_anything_starts(arguments: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "planesplit", "bench", *arguments.split()],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "starting" not in done.stderr
