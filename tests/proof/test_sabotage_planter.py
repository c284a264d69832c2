"""Leaks are a table, the planter starts a plane with one, and what they try is counted."""

from __future__ import annotations

import errno
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from planesplit.proof.sabotage.catalogue import UnknownLeak, all_leaks, find_leak
from planesplit.proof.sabotage.own import BadModule, load
from planesplit.proof.sabotage.taps import Longest
from planesplit.proof.sabotage.tries import MAX_TRIES, Tries
from planesplit.split.options import SplitOptions
from planesplit.split.processes import Processes
from tunnel.rows import ROWS

LINE = b"a line of a log, long enough"


class Clock:
    """A clock that a test turns."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def journal(text: str) -> list[dict[str, int]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_catalogue_is_long_enough_and_complete() -> None:
    leaks = all_leaks()
    assert len(leaks) >= 24
    assert all(leak.text and all(leak.by) and leak.rows <= set(ROWS) for leak in leaks.values())
    assert {plane for leak in leaks.values() for plane in leak.planes} == {
        "relay",
        "control_stub",
        "compute_agent",
    }


def test_an_unknown_leak_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UnknownLeak, match="temp-file"):
        find_leak("temp")


def test_errors_of_a_leak_are_swallowed_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(payload: bytes) -> None:
        raise OSError(errno.EFBIG, "no")

    tries = Tries("relay", Clock())
    tries.guard(refused)(LINE)
    (told,) = journal(capsys.readouterr().err)
    assert (told["event"], told["tries"], told["refused"]) == ("leak_tried", 1, 1)
    assert told["errno"] == errno.EFBIG


def test_a_database_that_cannot_be_opened_is_a_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(payload: bytes) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    tries = Tries("relay", Clock())
    tries.guard(refused)(LINE)
    assert journal(capsys.readouterr().err)[0]["refused"] == 1


def test_a_bug_of_a_leak_is_no_refusal() -> None:
    def broken(payload: bytes) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        Tries("relay", Clock()).guard(broken)(LINE)


def test_the_first_success_is_told_at_once_and_the_rest_once_a_second(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fails = [True, True, False, False, False]

    def sometimes(payload: bytes) -> None:
        if fails.pop(0):
            raise PermissionError

    clock = Clock()
    tries = Tries("relay", clock)
    guarded = tries.guard(sometimes)
    for _ in range(4):
        guarded(LINE)
    clock.now_s = 2.0
    guarded(LINE)
    told = [(each["tries"], each["refused"]) for each in journal(capsys.readouterr().err)]
    assert told == [(1, 1), (3, 2), (5, 2)]


def test_a_leak_tries_only_so_often() -> None:
    seen: list[bytes] = []
    guarded = Tries("relay", Clock()).guard(seen.append)
    for _ in range(MAX_TRIES + 5):
        guarded(LINE)
    assert len(seen) == MAX_TRIES


def own(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_reviewers_own_leak(tmp_path: Path) -> None:
    leak = load(own(tmp_path, '"""Mine."""\nROWS = {"A9"}\ndef leak(payload): ...\n'))
    assert (leak.name, leak.text, leak.planes) == ("mine", "Mine.", ("relay",))
    assert leak.rows == {"A9"}


@pytest.mark.parametrize(
    "text",
    ["", "def leak(", 'PLANE = "moon"', 'ROWS = {"Z"}\ndef leak(p): ...', 'PLANE = "control_stub"'],
    ids=["nothing", "syntax", "plane", "rows", "no plant"],
)
def test_a_reviewers_file_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadModule):
        load(own(tmp_path, text))


PLANTER = [sys.executable, "-P", "-m", "planesplit.proof.sabotage.plant"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["temp-file", "relay"], "usage"),
        (["nothing", "--", "relay"], "there is no leak"),
        (["temp-file", "--", "control_stub"], "not of control_stub"),
        (["missing.py", "--", "relay"], "no Python file"),
        (["temp-file", "--", "relay", "--config", "missing.toml"], "cannot read configuration"),
    ],
    ids=["no dashes", "unknown", "other plane", "no file", "the plane itself"],
)
def test_the_planter_tells_what_it_cannot_do(arguments: list[str], message: str) -> None:
    done = subprocess.run([*PLANTER, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_split_builds_the_planters_command() -> None:
    options = SplitOptions(planted={"relay": "temp-file"})
    planes = Processes(options, None, None)  # type: ignore[arg-type] - only commands are asked for
    assert planes._command("relay", "F")[1:] == [
        "-P",
        "-m",
        "planesplit.proof.sabotage.plant",
        "temp-file",
        "--",
        "relay",
        "--config",
        "F",
    ]
    planes.plant({})
    assert planes._command("relay", "F")[1:] == ["-P", "-m", "relay", "--config", "F"]


def test_what_has_little_room_shows_the_middle_of_the_longest_payload() -> None:
    longest = Longest(4)
    for payload in (b"short", b"0123456789", b"less"):
        longest.add(payload)
    assert longest.piece == b"3456"
