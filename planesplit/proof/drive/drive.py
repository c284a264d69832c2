"""The whole drive: which part belongs to which rows, all parts at once, then faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from planesplit.connect_client import ConnectError
from planesplit.proof import claims
from planesplit.proof.drive.diagnosis import explain
from planesplit.proof.drive.faults import disturbed, restarted
from planesplit.proof.drive.images import images
from planesplit.proof.drive.logs import events, logs
from planesplit.proof.drive.metadata import cluster_state, identity
from planesplit.proof.drive.objects import objects
from planesplit.proof.drive.provoke import fail_run, provoke
from planesplit.proof.drive.recorder import open_owner
from planesplit.proof.drive.samples import samples
from planesplit.proof.drive.secret_values import secret_values
from planesplit.proof.stage import Stage
from planesplit.viewer import Viewer

PART_S = 60.0
Part = Callable[[Stage, Viewer], Awaitable[None]]

PARTS: tuple[tuple[str, frozenset[str], Part], ...] = (
    ("logs", frozenset({"A1", "A2", "A8"}), logs),
    ("events", frozenset({"A3", "A8"}), events),
    ("secrets", frozenset({"A9"}), secret_values),
    ("metrics", frozenset({"A10"}), samples),
    ("objects", frozenset({"A4", "A5", "A6", "B"}), objects),
    ("images", frozenset({"A7"}), images),
    ("identity", frozenset({"A11"}), identity),
    ("cluster state", frozenset({"A12"}), cluster_state),
)
# Only with faults: they take longer.
FAULTS: tuple[tuple[str, frozenset[str], Part], ...] = (
    ("errors on purpose", frozenset(claims.ROWS_OF_ERRORS), provoke),
    ("a task that fails", frozenset({"A8"}), fail_run),
)


async def drive(stage: Stage, *, with_faults: bool) -> None:
    """Push canaries through every part that a wanted row belongs to.

    Args:
        with_faults: provoke errors too, then cut, stall and restart under load.
    """
    parts = (*PARTS, *FAULTS) if with_faults else PARTS
    async with open_owner(stage) as viewer:
        async with trio.open_nursery() as nursery:
            for name, rows, part in parts:
                if rows & stage.rows:
                    nursery.start_soon(_run, stage, viewer, name, part)
        if with_faults and "A8" in stage.rows:
            await _run(stage, viewer, "load and faults", disturbed)
            await _run(stage, viewer, "the relay's restart", restarted)


async def _run(stage: Stage, viewer: Viewer, name: str, part: Part) -> None:
    """Run a part; what fails is noted, so that the others still show what they show."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_limit, stage, name, trio.lowlevel.current_task(), nursery)
        try:
            await part(stage, viewer)
        except ConnectError as error:
            stage.failures.append(f"{name}: {error.code}")
        nursery.cancel_scope.cancel()
    stage.tell(f"driven: {name}")


async def _limit(stage: Stage, name: str, task: trio.lowlevel.Task, nursery: trio.Nursery) -> None:
    """End a part that is not done in time, and say what it was waiting for."""
    await trio.sleep(PART_S)
    told = f" (last refusal: {stage.refusal})" if stage.refusal else ""
    stage.failures.append(f"{name}: not done within {PART_S:g} s{told}")
    explain(stage, task)
    nursery.cancel_scope.cancel()
