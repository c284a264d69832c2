"""The command line without a split: help in no time, usage errors, output that is safe to show."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from planesplit.commands import doctor
from planesplit.commands.outcome import settle
from planesplit.commands.output import for_terminal
from planesplit.commands.tail import as_record
from planesplit.connect_client import ConnectError
from planesplit.ready import NoSplit
from planesplit.split.plane import PlaneFailed
from planesplit.tail import Line

HELP_S = 0.5
COMMANDS = (
    "up",
    "run",
    "tail",
    "query",
    "get",
    "get runs",
    "get clusters",
    "get principals",
    "cluster",
    "cluster enable",
    "cluster disable",
    "bind",
    "unbind",
    "revoke",
    "revoke agent",
    "revoke viewer",
    "revoke control",
    "rotate",
    "get events",
    "get io",
    "get report",
    "put bundle",
    "residency",
    "prove",
    "verify",
    "demo",
    "doctor",
    "bench",
    "bench sweep",
    "bench compare",
    "policy",
    "policy show",
    "policy can-i",
    "policy matrix",
    "policy export",
    "policy diff",
)


def planesplit(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": "/nonexistent", "COLUMNS": "100"}
    environment.pop("PLANESPLIT_READY", None)
    return subprocess.run(
        [sys.executable, "-m", "planesplit", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=20,
        check=False,
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    def once() -> float:
        """Seconds of CPU: what it takes on a machine that does nothing else."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert planesplit("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) < HELP_S
    code = "import sys, planesplit.cli; print(*({'trio', 'httpx', 'rich.live'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = planesplit(*command.split(), "--help")
    assert done.returncode == 0
    assert f"planesplit {command}" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonesuch"],
        ["tail"],
        ["tail", "r1", "--lines", "many"],
        ["tail", "r1", "--lines", "-1"],
        ["demo", "--seconds", "0"],
        ["get", "runs", "-o", "yaml"],
        ["get", "clusters", "-o", "yaml"],
        ["cluster", "enable"],
        ["bind", "zoe", "Owner"],
        ["bind", "zoe"],
        ["run"],
        ["run", "--workload", "nonesuch"],
        ["up", "--cluster", "c1"],
        ["up", "--cluster", "c2", "--cluster", "c2"],
        ["up", "--cluster", "../c2"],
        ["policy", "can-i", "get", "pods"],
        ["policy", "can-i", "--as", "nobody", "get", "pods"],
        ["policy", "matrix", "--plane", "both"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    done = planesplit(*arguments)
    assert done.returncode == 2
    assert done.stdout + done.stderr != ""
    assert "Traceback" not in done.stderr


def test_without_a_split_the_environment_is_unusable() -> None:
    for arguments in (["get", "runs"], ["tail", "r1"], ["run", "--exec", "true"]):
        done = planesplit(*arguments)
        assert done.returncode == 3
        assert done.stderr.startswith("planesplit: no running split was found; start one with")


def test_doctor_answers_for_machines() -> None:
    done = planesplit("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["usable"] is (done.returncode == 0)
    checks = {check["name"]: check for check in report["checks"]}
    assert {
        "kernel",
        "landlock",
        "seccomp",
        "seal",
        "memory",
        "no swap",
        "netns",
        "tbf",
        "netem",
        "C masking",
    } <= set(checks)
    assert {"chromium", "haproxy", "sshd", "flyte"} <= set(checks)
    assert checks["kernel"]["ok"]
    assert "landlock" in planesplit("doctor").stdout


def test_doctor_finds_the_client_that_make_flyte_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLANESPLIT_FLYTE", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(shutil, "which", partial(shutil.which, path=str(tmp_path)))
    assert "make flyte" in doctor._flyte().detail
    client = tmp_path / ".venv-flyte" / "bin" / "flyte"
    client.parent.mkdir(parents=True)
    client.write_text("#!/bin/sh\n")
    client.chmod(0o755)
    assert doctor._flyte().ok
    assert doctor._flyte().detail == str(client)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectError("not_found", "no such run"), 1),
        (ConnectError("unavailable"), 3),
        (ConnectError("invalid_argument"), 2),
        (NoSplit("none"), 3),
        (PlaneFailed("relay", "died"), 3),
        (AssertionError("lost 1"), 1),
    ],
)
async def test_errors_become_one_line_and_a_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def command() -> int:
        raise error

    assert await settle(command) == code
    told = capsys.readouterr().err
    assert told.startswith(f"planesplit: {error}")
    assert "Traceback" not in told


async def test_what_nobody_foresaw_is_raised() -> None:
    async def command() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await settle(command)


async def test_a_signal_ends_a_command_in_order() -> None:
    ended = trio.Event()

    async def command() -> int:
        try:
            os.kill(os.getpid(), 15)
            await trio.sleep_forever()
        finally:
            ended.set()
        return 0

    assert await settle(command) == 128 + 15
    assert ended.is_set()


def test_control_sequences_of_a_log_do_not_reach_the_terminal() -> None:
    text = "\x1b[31mred\x1b[0m\ta\x1b[2Jb\x1b]0;title\x07c\x9bd\r\n"
    assert for_terminal(text) == "\x1b[31mred\x1b[0m\tabcd\n"


def test_without_colours_nothing_but_text_is_left() -> None:
    assert for_terminal("\x1b[1;31mred\x1b[0m\n", colour=False) == "red\n"


@pytest.mark.parametrize("arguments", [["policy", "matrix"], ["doctor"], ["get", "runs"]])
def test_a_full_or_closed_stdout_is_no_traceback(arguments: list[str]) -> None:
    command = f"{sys.executable} -m planesplit {' '.join(arguments)}"
    for where, codes in (">/dev/full", {3}), (">&-", {0, 3}), ("<&- >&- 2>&-", {0, 3}):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} {where}"],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": "/nonexistent", "PLANESPLIT_READY": "/none"},
            timeout=60,
            check=False,
        )
        assert done.returncode in codes, where
        assert "Traceback" not in done.stderr


def test_records_keep_nanoseconds() -> None:
    record = as_record(Line("x\n", 1_700_000_000_000_000_007, originator="USER", pod="a0-1"))
    assert record == {
        "time": "2023-11-14T22:13:20.000000007Z",
        "text": "x\n",
        "originator": "USER",
        "pod": "a0-1",
    }
