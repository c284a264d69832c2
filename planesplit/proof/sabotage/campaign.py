"""A campaign: every leak in a sealed split and in an unsealed one, side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import trio

from planesplit.proof.sabotage.catalogue import Leak
from planesplit.proof.sabotage.lane import relay_first
from planesplit.proof.sabotage.lane_process import Result, Task, run_lane
from planesplit.proof.sabotage.outcome import Matrix
from planesplit.proof.sabotage.sink import listening
from planesplit.split.sole import sole

Tell = Callable[[str], None]


async def campaign(
    leaks: Sequence[Leak],
    files: Mapping[str, str] | None = None,
    tell: Tell = lambda text: None,
) -> Matrix:
    """Try leaks sealed and unsealed, in splits without ClickHouse: no leak needs one.

    Args:
        leaks: what is planted, one after another.
        files: a reviewer's own: name -> file.
        tell: shows progress.

    Raises:
        PlaneFailed: a plane did not come up, or ended unasked.
    """
    began = time.monotonic()
    names = tuple(leak.name for leak in relay_first(leaks))
    results: dict[bool, Result] = {}

    async def run(sealed: bool) -> None:
        results[sealed] = await run_lane(Task(names, files or {}, sealed), tell)

    with tempfile.TemporaryDirectory(prefix="planesplit-sabotage-") as place:
        try:
            async with listening(Path(place)), trio.open_nursery() as nursery:
                for sealed in (True, False):
                    nursery.start_soon(run, sealed)
        except BaseExceptionGroup as group:
            raise sole(group) from None
    return Matrix(
        trials=(*results[True].trials, *results[False].trials),
        detectors=results[True].detectors,
        seal=results[True].seal,
        seconds=round(time.monotonic() - began, 1),
    )
