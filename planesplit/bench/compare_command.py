"""`planesplit bench compare`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from planesplit.bench import files, markdown, page, report, terminal
from planesplit.bench.compare import Row, exceeded, remarks, unfit
from planesplit.bench.compare import compare as compared
from planesplit.bench.metrics import METRICS
from planesplit.bench.units import BadQuantity, change
from planesplit.commands.outcome import FAILED, OK, UsageError

WHOLE_PERCENTS_FROM = 0.2  # a change that large needs no decimals
HEAD = ("metric", "A", "B", "change", "95 % interval", "result")


def compare(
    a: Path,
    b: Path,
    *,
    fail_on: Sequence[str],
    format: str,  # noqa: A002 - the option's name
    html: Path | None,
) -> int:
    """Compare two runs.

    Returns:
        0, or 1 if a change is too much.

    Raises:
        UsageError: a run cannot be read, a limit is not understood, a file cannot be written.
    """
    try:
        limits = [change(text, METRICS) for text in fail_on]
        before, after = files.load(a), files.load(b)
    except BadQuantity as error:
        raise UsageError(f"--fail-on {error}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    rows, notes = compared(before, after), remarks(before, after)
    failures = exceeded(rows, limits) + (unfit(before, after) if limits else [])
    lines = [f"A: {a}, {before['started']}", f"B: {b}, {after['started']}"]
    lines += [f"note: {note}" for note in notes]
    lines += [f"FAILED {failure}" for failure in failures]
    _print(rows, lines, failures, format)
    if html:
        text = page.comparison([row.as_json() for row in rows], table(rows), lines)
        try:
            html.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write '{html}': {error.strerror}") from None
    return FAILED if failures else OK


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the comparison as text; the first row is the head."""
    found: list[tuple[str, ...]] = [HEAD]
    for row in rows:
        between = "-" if row.interval is None else " to ".join(map(_share, row.interval))
        share = "-" if row.change is None else _share(row.change)
        values = report.number(row.a), report.number(row.b)
        found.append((f"{row.label}, {row.unit}", *values, share, between, row.says))
    return found


def _share(change: float) -> str:
    return f"{change:+.1%}" if abs(change) < WHOLE_PERCENTS_FROM else f"{change:+.0%}"


def _print(rows: Sequence[Row], lines: Sequence[str], failures: Sequence[str], format: str) -> None:  # noqa: A002
    if format == "json":
        document = {
            "metrics": [row.as_json() for row in rows],
            "remarks": list(lines),
            "failed": list(failures),
        }
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    elif format == "markdown":
        verdict = "FAILED" if failures else "ok"
        bullets = "".join(f"- {line}\n" for line in lines)
        sys.stdout.write(f"### planesplit bench compare: {verdict}\n\n")
        sys.stdout.write(f"{markdown.table(table(rows))}\n{bullets}")
    else:
        console = Console()
        if not console.is_terminal:
            console.width = max(console.width, terminal.MIN_COLUMNS)
        console.print(terminal.table(table(rows)))
        for line in lines:
            console.print(Text(line))
