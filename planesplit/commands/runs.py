"""`planesplit run` and `planesplit get`: start runs and look at them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from planesplit.commands.outcome import FAILED, OK, UsageError
from planesplit.commands.output import as_json, as_table, progress
from planesplit.ready import find
from planesplit.viewer import RunStatus, open_viewer
from planesplit.workloads import Container, container

COLUMNS = ("name", "phase", "created", "ended")


async def run(
    *,
    exec: str | None,  # noqa: A002 - the option's name
    replay: Path | None,
    workload: str | None,
    image: str | None,
    arguments: tuple[str, ...],
    name: str,
    cluster: str,
    wait: bool,
    ready_file: Path | None,
) -> int:
    """Start a run and print its name; with `wait`, return its command's exit code.

    Raises:
        UsageError: not exactly one thing to run, or a file that is not there.
    """
    made = _container(exec, replay, workload, image, arguments)
    async with open_viewer(find(ready_file)) as viewer:
        started = await viewer.run(made, name, cluster=cluster)
        sys.stdout.write(started + "\n")
        sys.stdout.flush()
        return _exit_code(await viewer.wait(started)) if wait else OK


async def get_runs(*, output: str, ready_file: Path | None) -> int:
    """Print the newest runs."""
    async with open_viewer(find(ready_file)) as viewer:
        runs = [dataclasses.asdict(run) for run in await viewer.runs()]
    rows = [{column: run[column] for column in COLUMNS} for run in runs]
    sys.stdout.write(as_json(rows) if output == "json" else as_table(rows, COLUMNS))
    return OK


def _container(
    exec: str | None,  # noqa: A002
    replay: Path | None,
    workload: str | None,
    image: str | None,
    arguments: tuple[str, ...],
) -> Container:
    if replay is not None and not replay.is_file():
        raise UsageError(f"--replay '{replay}' is not a file; name one that can be read")
    try:
        return container(exec=exec, replay=replay, workload=workload, image=image, args=arguments)
    except ValueError:
        raise UsageError("give exactly one of --exec, --replay, --workload and --image") from None


def _exit_code(status: RunStatus) -> int:
    progress(f"run {status.name}: {status.phase}" + (f", {status.message}" * bool(status.message)))
    return FAILED if status.exit_code is None else status.exit_code
