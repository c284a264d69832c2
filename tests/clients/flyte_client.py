"""The unmodified flyte CLI, as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from planesplit.ready import Ready

ROOT = Path(__file__).parents[2]
FLYTE = Path(os.environ.get("PLANESPLIT_FLYTE", ROOT / ".venv-flyte" / "bin" / "flyte"))
MISSING = f"{FLYTE} is missing; `make flyte` installs it, or set PLANESPLIT_FLYTE"
CLI_S = 90
ALREADY = "already exists"
ABORTED = -signal.SIGABRT


def need_flyte() -> None:
    """Skip the test where the CLI is not installed."""
    if not FLYTE.exists():
        pytest.skip(MISSING)


def run_as_user(
    ready: Ready, command: Sequence[str | Path], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of flyte's environment with the ready file's variables.

    Args:
        command: program and arguments.
        cwd: the user's directory.
    """
    return unless_it_aborts(lambda: _run(ready, command, cwd))


def unless_it_aborts(
    call: Callable[[], subprocess.CompletedProcess[str]],
) -> subprocess.CompletedProcess[str]:
    """Call the client, and once more if it aborts.

    The client itself was seen to abort (SIGABRT) as it exits, its work done and its output lost,
    once in some 150 calls on a busy machine. That what it wanted exists already is then no failure.
    """
    done = call()
    if done.returncode != ABORTED:
        return done
    again = call()
    if again.returncode and ALREADY in (again.stdout + again.stderr).lower():
        again.returncode = 0
    return again


def flyte(ready: Ready, *arguments: str, cwd: Path | None = None, code: int = 0) -> str:
    """Run the CLI, assert its exit code and return what it said.

    Raises:
        AssertionError: another exit code, with the end of the output.
    """
    need_flyte()
    done = run_as_user(ready, [FLYTE, "--config", ready.flyte.config, *arguments], cwd)
    output = done.stdout + done.stderr
    assert done.returncode == code, output[-2000:]
    return output


def _run(
    ready: Ready, command: Sequence[str | Path], cwd: Path | None
) -> subprocess.CompletedProcess[str]:
    plain = {"PATH": os.environ["PATH"], "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "500"}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**plain, "PYTHONFAULTHANDLER": "1", **ready.flyte.env},
        capture_output=True,
        text=True,
        timeout=CLI_S,
        check=False,
    )
