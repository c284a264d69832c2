"""`planesplit residency`: the white paper's table, live."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from planesplit.commands.outcome import FAILED, OK
from planesplit.commands.tables import as_json, as_table, folded
from planesplit.ready import find
from planesplit.residency import CLAIMS, Counted, count

COLUMNS = (
    "row",
    "data",
    "stored in",
    "transits?",
    "relay",
    "control plane",
    "direct",
    "as claimed",
)
REFRESH_S = 1.0
_STEP = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


async def residency(*, json: bool, watch: bool, ready_file: Path | None) -> int:
    """Print the table, once or every second; exit 1 if a row is not as claimed.

    Raises:
        NoSplit: nothing runs.
        CountersAway: a hop does not answer.
    """
    ready = find(ready_file)
    while True:
        rows = await count(ready)
        sys.stdout.write(_json(rows) if json else _screen(rows, clear=watch))
        sys.stdout.flush()
        if not watch:
            return OK if all(row.as_claimed for row in rows) else FAILED
        await trio.sleep(REFRESH_S)


def _json(rows: Sequence[Counted]) -> str:
    return as_json(
        {"ok": all(row.as_claimed for row in rows), "rows": [row.table() for row in rows]}
    )


def _screen(rows: Sequence[Counted], *, clear: bool) -> str:
    home = "\x1b[H\x1b[2J" if clear and sys.stdout.isatty() else ""
    broken = [row.row.id for row in rows if not row.as_claimed]
    verdict = f"NOT as claimed: {', '.join(broken)}" if broken else "every row is as claimed"
    note = "bytes of bodies since the start of each plane; direct: past relay and control plane"
    table = as_table([_cells(row) for row in rows], COLUMNS)
    return f"{home}{table}{folded(f'{verdict} ({note})', '')}"


def _cells(row: Counted) -> dict[str, str]:
    return {
        "row": row.row.id,
        "data": row.row.data,
        "stored in": row.row.stored_in,
        "transits?": CLAIMS[row.row.transits],
        "relay": in_units(row.relay),
        "control plane": in_units(row.control),
        "direct": in_units(row.direct),
        "as claimed": "yes" if row.as_claimed else "NO",
    }


def in_units(amount: int) -> str:
    """Return a number of bytes for people; zero is `0`, so that it stands out."""
    if not amount:
        return "0"
    scaled, unit = float(amount), 0
    while scaled >= _STEP and unit < len(_UNITS) - 1:
        scaled, unit = scaled / _STEP, unit + 1
    return f"{scaled:.3g} {_UNITS[unit]}" if unit else f"{amount} B"
