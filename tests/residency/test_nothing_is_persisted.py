"""Nothing that users' programs write comes to rest on the vendor's side (Appendix A, task logs).

Random programs of runs, tails, cuts and viewers that leave go through a split of real processes.
Afterwards every place in the relay's and the control plane's reach is searched for the canaries
that the run printed. The same search must find each planted leak.
"""

from __future__ import annotations

import base64
import gzip
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reach import Reach

from planesplit.harness import open_portal
from planesplit.portal import Portal
from planesplit.proof.canaries import Canaries
from planesplit.proof.find import Find
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions
from planesplit.tail import Line

pytestmark = pytest.mark.integration

Fault = Literal["none", "cut", "leave", "two viewers"]
Session = tuple[Portal[Split], Split]


@dataclass(frozen=True)
class Program:
    """What one example does: so many lines of so many canaries, and a fault in mid-tail."""

    lines: int
    width: int
    fault: Fault


@pytest.fixture(scope="module")
def running() -> Iterator[Session]:
    """A split of this module's own: nobody restarts its planes."""
    portal, split = open_portal(SplitOptions())
    yield portal, split
    portal.stop()


programs = st.builds(
    Program,
    lines=st.integers(1, 400),
    width=st.integers(1, 60),
    fault=st.sampled_from(["none", "cut", "leave", "two viewers"]),
)


def customers_logs(split: Split) -> Path:
    """The customer's log store."""
    return Path(split.ready.directory) / "clusters" / "c1" / "logs"


async def run_program(split: Split, program: Program, canary: Canaries, source: Path) -> None:
    """Replay canaries in a pod, tail them under the program's fault, check that they arrived."""
    source.write_text("".join(f"{canary.line(program.width)}\n" for _ in range(program.lines)))
    run = await split.run(replay=source)
    received: list[Line] = []
    async with trio.open_nursery() as nursery:
        if program.fault == "two viewers":
            nursery.start_soon(_tail, split, run, [])
        await _tail(split, run, received, program.fault)
    if program.fault != "leave":
        split.assert_delivered(run, received)
    await split.wait(run)


async def _tail(split: Split, run: str, received: list[Line], fault: Fault = "none") -> None:
    async with split.tail(run) as lines:
        async for line in lines:
            received.append(line)
            if len(received) == 1 and fault == "cut":
                split.cut()
            if fault == "leave":
                return


async def run_and_look(split: Split, program: Program, canary: Canaries) -> list[Find]:
    started_s = time.time() - 1.0
    source = customers_logs(split) / "canaries.txt"
    await run_program(split, program, canary, source)
    source.unlink()
    return await Reach(split, started_s).look(canary)


@given(program=programs)
@settings(max_examples=8, phases=[Phase.generate])  # real processes: shrinking would take minutes
def test_no_program_leaves_a_trace(running: Session, program: Program) -> None:
    portal, split = running
    finds = portal.call(run_and_look, split, program, Canaries(), timeout_s=60)
    assert finds == []


def test_the_customers_own_store_does_hold_the_lines(running: Session) -> None:
    """Without this, a scan that reads nothing would pass for a clean one."""
    portal, split = running
    canary = Canaries()
    portal.call(run_and_look, split, Program(20, 4, "none"), canary, timeout_s=60)
    assert canary.scan_tree(customers_logs(split))


Plant = Callable[[Split, bytes], Path | None]


def _file(name: str, encode: Callable[[bytes], bytes]) -> Plant:
    def plant(split: Split, secret: bytes) -> Path:
        path = Path(tempfile.gettempdir()) / name
        path.write_bytes(encode(secret))
        return path

    return plant


def _shared_memory(split: Split, secret: bytes) -> Path:
    path = Path("/dev/shm") / "planesplit-leak"
    path.write_bytes(secret)
    return path


def _file_name(split: Split, secret: bytes) -> Path:
    path = Path(tempfile.gettempdir()) / f"leak-{secret.decode()}"
    path.touch()
    return path


def _database(split: Split, secret: bytes) -> Path:
    path = Path(split.ready.directory) / "control" / "leak.db"
    with sqlite3.connect(path) as database:
        database.execute("create table leak (line text)")
        database.execute("insert into leak values (?)", (secret.decode(),))
    database.close()
    return path


def _journal(split: Split, secret: bytes) -> None:
    split.journal("relay").append(secret.decode())


PLANTS: dict[str, Plant] = {
    "temporary file": _file("leak.txt", bytes),
    "gzip file": _file("leak.gz", gzip.compress),
    "base64 file": _file("leak.b64", base64.encodebytes),
    "hex file": _file("leak.hex", lambda secret: secret.hex().encode()),
    "UTF-16 file": _file("leak.utf16", lambda secret: secret.decode().encode("utf-16")),
    "file name": _file_name,
    "shared memory": _shared_memory,
    "database row": _database,
    "journal line": _journal,
}


@pytest.fixture
def leaks() -> Iterator[list[Path]]:
    planted: list[Path] = []
    yield planted
    for path in planted:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_a_planted_leak_is_found(running: Session, leaks: list[Path], name: str) -> None:
    portal, split = running
    canary = Canaries()
    path = PLANTS[name](split, canary.make().encode())
    leaks += [path] if path else []
    finds = portal.call(Reach(split, time.time() - 5.0).look, canary, timeout_s=30)
    assert finds
