"""Results on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from planesplit.bench import report

MIN_COLUMNS = 160  # a pipe has no width of its own
WORDS = ("what", "result")  # columns that hold no numbers


def show(document: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a bench's report to stdout."""
    out = console or Console()
    if not out.is_terminal:
        out.width = max(out.width, MIN_COLUMNS)
    verdict = document["verdict"]
    style = "bold green" if verdict["valid"] else "bold red"
    out.print(Text.assemble((f"[{report.verdict(document)}] ", style), report.headline(document)))
    out.print(report.load(document), highlight=False)
    for reason in verdict["reasons"]:
        out.print(Text(f"  invalid: {reason}", "red"))
    out.print(Text("  " + "; ".join(verdict["evidence"])))
    for note in verdict["notes"]:
        out.print(Text(f"  note: {note}", "yellow"))
    for rows in (report.latency_rows(document), report.hop_rows(document)):
        if len(rows) > 1:
            out.print(table(rows))
    for name, value in report.facts(document):
        out.print(Text(f"  {name:<20} {value}"))


def table(rows: Sequence[Sequence[str]]) -> Table:
    """Lay out rows, the first of which is the head. Words are wrapped, numbers never cut off."""
    head, *rest = rows
    found = Table(box=None, pad_edge=False)
    for number, name in enumerate(head):
        found.add_column(
            Text(name),
            justify="left" if number == 0 or name in WORDS else "right",
            no_wrap=number > 0 and name not in WORDS,
        )
    for row in rest:
        found.add_row(*map(Text, row))
    return found
