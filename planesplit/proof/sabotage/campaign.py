"""A campaign: every leak in a sealed split and in an unsealed one, side by side."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from planesplit.proof.run import prepared
from planesplit.proof.sabotage.catalogue import Leak
from planesplit.proof.sabotage.lane import Lane, relay_first
from planesplit.proof.sabotage.outcome import Matrix, Trial
from planesplit.proof.sabotage.sink import listening
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions

Tell = Callable[[str], None]


async def campaign(
    leaks: Sequence[Leak],
    files: Mapping[str, str] | None = None,
    tell: Tell = lambda text: None,
    options: SplitOptions | None = None,
) -> Matrix:
    """Try leaks sealed and unsealed.

    Args:
        leaks: what is planted, one after another.
        files: a reviewer's own: name -> file.
        tell: shows progress.
        options: of the splits; without ClickHouse by default, for no leak needs it.

    Raises:
        PlaneFailed: a plane did not come up, or ended unasked.
    """
    began = time.monotonic()
    base = options or SplitOptions(clickhouse=False)
    trials: dict[bool, list[Trial]] = {}
    lanes: dict[bool, Lane] = {}
    with tempfile.TemporaryDirectory(prefix="planesplit-sabotage-") as workshop:
        place = Path(workshop)

        async def run(sealed: bool) -> None:
            own = place / ("sealed" if sealed else "unsealed")
            own.mkdir()
            async with Split(prepared(with_seal(base, sealed), own)) as split:
                lanes[sealed] = Lane(split, sealed, files or {}, tell)
                trials[sealed] = await lanes[sealed].run(relay_first(leaks))

        async with listening(place), trio.open_nursery() as nursery:
            for sealed in (True, False):
                nursery.start_soon(run, sealed)
    return Matrix(
        trials=(*trials[True], *trials[False]),
        detectors=lanes[True].detectors,
        seal=lanes[True].seal,
        seconds=round(time.monotonic() - began, 1),
    )


def with_seal(options: SplitOptions, sealed: bool) -> SplitOptions:
    """Return options for a relay that seals itself, or does not."""
    changes: dict[str, Any] = {"seal": sealed}
    return dataclasses.replace(options, **changes)
