"""A lane in a process of its own, so that two lanes have two cores: looking is hard work.

`python -P -m planesplit.proof.sabotage.lane_process` reads what to do as one JSON line, and writes
JSON lines: progress, and at last its trials. When its stdin ends it stops.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import trio

from planesplit.proof.bundle.decode import decode
from planesplit.proof.run import prepared
from planesplit.proof.sabotage.catalogue import find_leak
from planesplit.proof.sabotage.lane import Lane
from planesplit.proof.sabotage.outcome import Trial
from planesplit.proof.sabotage.own import load
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions
from planesplit.split.plane import PlaneFailed

COMMAND = (sys.executable, "-P", "-m", "planesplit.proof.sabotage.lane_process")
READ_BYTES = 65_536
STOP_S = 10.0
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Task:
    """What a lane is to do.

    Args:
        leaks: names, in their order.
        files: a reviewer's own leaks: name -> file.
        sealed: whether the relay seals itself.
        clickhouse: whether the split has its ClickHouse.
    """

    leaks: tuple[str, ...]
    files: Mapping[str, str]
    sealed: bool
    clickhouse: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a lane has found.

    Args:
        trials: controls included.
        detectors: names of all that looked.
        seal: level that the relay announced.
    """

    trials: tuple[Trial, ...]
    detectors: tuple[str, ...]
    seal: str


async def run_lane(task: Task, tell: Tell) -> Result:
    """Run a lane in a process of its own.

    Raises:
        PlaneFailed: a plane did not come up, or ended unasked; or the lane itself ended.
    """
    process = await trio.lowlevel.open_process(
        COMMAND,
        stdin=PIPE,
        stdout=PIPE,
        process_group=0,  # the terminal's Ctrl-C is ours alone
    )
    assert process.stdin
    assert process.stdout
    try:
        await process.stdin.send_all(json.dumps(dataclasses.asdict(task)).encode() + b"\n")
        last = await _read(process.stdout, tell)
    finally:
        with trio.move_on_after(STOP_S) as scope:
            scope.shield = True
            await process.stdin.aclose()  # everything ends in order
            await process.wait()
        if process.returncode is None:
            process.kill()
    if failed := last.get("failed"):
        raise PlaneFailed(*failed)
    if "trials" not in last:
        raise PlaneFailed("lane", f"ended with status {process.returncode}")
    trials = tuple(decode(Trial, each, "trial") for each in last["trials"])
    return Result(trials, tuple(last["detectors"]), last["seal"])


async def _read(stdout: trio.abc.ReceiveStream, tell: Tell) -> dict[str, Any]:
    """Pass on what is told; return the last message."""
    pending, last = b"", dict[str, Any]()
    while data := await stdout.receive_some(READ_BYTES):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            last = json.loads(line)
            if "tell" in last:
                tell(last["tell"])
    return last


async def _run(task: Task) -> dict[str, Any]:
    leaks = [load(task.files[n]) if n in task.files else find_leak(n) for n in task.leaks]
    options = SplitOptions(clickhouse=task.clickhouse, seal=task.sealed)
    with tempfile.TemporaryDirectory(prefix="planesplit-sabotage-") as workshop:
        try:
            async with Split(prepared(options, Path(workshop))) as split:
                lane = Lane(split, task.sealed, task.files, lambda text: _say(tell=text))
                trials = await lane.run(leaks)
        except PlaneFailed as error:
            return {"failed": [error.plane, error.reason, list(error.lines)]}
    plain = [dataclasses.asdict(trial) for trial in trials]
    return {"trials": plain, "detectors": lane.detectors, "seal": lane.seal}


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def _until_stopped(task: Task) -> None:
    """Run a lane until it is done, or until stdin ends: who started it wants no more, or died."""

    async def watch(scope: trio.CancelScope) -> None:
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        _say(**await _run(task))
        nursery.cancel_scope.cancel()


def _main() -> None:
    table = json.loads(sys.stdin.readline())
    leaks = tuple(table.pop("leaks"))
    trio.run(_until_stopped, Task(leaks, **table))


if __name__ == "__main__":
    _main()
