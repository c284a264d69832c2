"""A stage without a split: just what one detector looks at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio

from planesplit.proof.canaries import Canaries
from planesplit.proof.options import ALL_ROWS
from planesplit.proof.stage import Stage
from planesplit.split.options import CONTROL, RELAY, SplitOptions


class FakeSplit:
    """A split's outside.

    Args:
        directory: its private directory.
        pids: of its planes.
    """

    def __init__(self, directory: Path, pids: dict[str, int]) -> None:
        self.options = SplitOptions()
        urls = SimpleNamespace(relay="http://h:1", ops="http://h:1", control="http://h:2")
        self.ready = SimpleNamespace(directory=str(directory), urls=urls, ca_file="", clusters=())
        self.pids = pids
        self.listeners: list[Callable[[str, str], None]] = []
        self.memories: dict[str, Any] = {}
        self.counted: list[Any] = []

    @contextmanager
    def hear(self, listener: Callable[[str, str], None]) -> Iterator[None]:
        """As of a split."""
        self.listeners.append(listener)
        yield
        self.listeners.remove(listener)

    def memory(self, plane: str) -> Any:
        """As of a split."""
        return self.memories.get(plane)

    async def residency(self) -> list[Any]:
        """As of a split."""
        return self.counted


@asynccontextmanager
async def staged(tmp_path: Path, **pids: int) -> AsyncIterator[Stage]:
    """A stage; `relay` and `control` are process ids."""
    directory, workshop = tmp_path / "split", tmp_path / "workshop"
    for path in (directory / "control", directory / "clusters" / "c1" / "logs", workshop):
        path.mkdir(parents=True)
    names = {"relay": RELAY, "control": CONTROL}
    split = FakeSplit(directory, {names[name]: pid for name, pid in pids.items()})
    with ExitStack() as exits:
        async with trio.open_nursery() as nursery:
            yield Stage(split, Canaries(), ALL_ROWS, workshop, nursery, exits)  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()


@contextmanager
def child(script: str) -> Iterator[int]:
    """A Python process that runs a script, says `ready`, and waits."""
    code = f"{script}\nprint('ready', flush=True)\nimport sys; sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        process.communicate()


@contextmanager
def waiting_child(script: str) -> Iterator[tuple[int, Callable[[], None]]]:
    """A Python process, and what lets it run its script; returns when it has run, and waits."""
    code = f"{script}\nprint('done', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdin
    assert process.stdout
    stdin, stdout = process.stdin, process.stdout

    def go_on() -> None:
        stdin.write(b"go\n")
        stdin.flush()
        assert b"done\n" in iter(stdout.readline, b"")

    try:
        yield process.pid, go_on
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        process.communicate()
