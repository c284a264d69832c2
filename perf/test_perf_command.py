"""`python -m perf`: its output, its errors, and that nothing is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perf.__main__ import main

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
WITHIN_S = 60.0


def perf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perf", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def test_json_goes_to_stdout_and_progress_to_stderr() -> None:
    done = perf("--quick", "--json", "--rounds", "2", "--parts", "rtt", "--subjects", "floor")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["round_trips"][0]["subject"] == "floor"
    assert document["environment"]["cores"] >= 1
    assert "round 2 of 2" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--subjects", "telnet"), "'telnet' is none of floor, pair, haproxy"),
        (("--parts", "everything"), "'everything' is none of bulk"),
        (("--rounds", "0"), "'0' is not a number from 1 to 1000"),
    ],
)
def test_usage_errors_name_the_value_and_the_remedy(
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["perf", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, errors = capsys.readouterr()
    assert words in errors
    assert out == ""


def test_ctrl_c_ends_it_cleanly_and_leaves_no_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "perf", "--quick", "--parts", "bulk", "--subjects", "floor,relay"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_from_a_terminal,
    )
    try:
        assert process.stderr
        for line in process.stderr:
            if "round 1" in line:
                break
        children = descendants(process.pid)
        assert children
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def _as_from_a_terminal() -> None:
    """A shell's background jobs ignore SIGINT, and so would what they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found
