"""`planesplit get events`: what Kubernetes did with a run's pod."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from planesplit.commands.outcome import OK
from planesplit.commands.output import as_json, as_table, for_terminal, progress, stdout
from planesplit.connect_client import ConnectError
from planesplit.events import Event, open_events
from planesplit.ready import find
from planesplit.viewer import open_viewer

COLUMNS = ("time", "type", "reason", "source", "count", "message")
_WIDTHS = (20, 7, 12, 17, 5)  # of a watch, whose widest value isn't known yet


async def get_events(
    run: str, *, watch: bool, attempt: int, output: str, ready_file: Path | None
) -> int:
    """Print the events of a run's pod: those that there are, or all until it ends.

    Raises:
        ConnectError: the run is unknown, or its events cannot be read.
    """
    events: list[Event] = []
    async with open_viewer(find(ready_file)) as viewer, stdout() as out:
        if watch and output == "table":
            await out.write(_row([column.upper() for column in COLUMNS]))
        found = open_events(viewer, run, attempt=attempt, follow=watch, on_retry=_retrying)
        async with found as told:
            async for event in told:
                if output == "json":
                    await out.write(as_json(dataclasses.asdict(event)))
                elif watch:
                    await out.write(_row(_cells(event)))
                else:
                    events.append(event)
        if not watch and output == "table":
            rows = [dict(zip(COLUMNS, _cells(event), strict=True)) for event in events]
            await out.write(as_table(rows, COLUMNS))
    return OK


def _cells(event: Event) -> list[str]:
    """Return an event's values; what a cluster says may hold no control sequences."""
    values = (getattr(event, column) for column in COLUMNS)
    return [for_terminal(str(value), colour=False).replace("\n", " ") for value in values]


def _row(cells: list[str]) -> str:
    *first, last = cells
    padded = [cell.ljust(width) for cell, width in zip(first, _WIDTHS, strict=True)]
    return "   ".join([*padded, last]).rstrip() + "\n"


def _retrying(error: ConnectError) -> None:
    progress(f"{error}; trying again")
