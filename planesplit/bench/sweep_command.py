"""`planesplit bench sweep`."""

from __future__ import annotations

import sys

from rich.console import Console

from planesplit.bench import files, markdown, page, report, terminal
from planesplit.bench.command import INVALID, Outputs, argv, interruptible
from planesplit.bench.document import Json, Progress
from planesplit.bench.run import Interrupt
from planesplit.bench.sweep import INVALID_STEP, Sweep, SweepPlan, result, rows
from planesplit.commands.outcome import FAILED, OK


async def sweep(plan: SweepPlan, outputs: Outputs) -> int:
    """Run a sweep and report it.

    Returns:
        0; 1 if no rate was good; 4 if the generator failed before one was bad; 130 or 143 after a
        signal.

    Raises:
        UsageError: a file is impossible.
        MeasureError: something did not start.
    """
    outputs.check()
    interrupt = Interrupt()

    async def work(progress: Progress) -> Json:
        return await Sweep(plan, argv(), progress, interrupt).run()

    document = await interruptible(work, interrupt, progress=outputs.progress)
    if not document:
        return 128 + interrupt.number
    outputs.write(document, html=html_of, markdown=markdown_of)
    if outputs.json:
        sys.stdout.write(files.as_json(document))
    else:
        _show(document)
    if interrupt.number:
        return 128 + interrupt.number
    if document["sweep"]["beyond"] == INVALID_STEP:
        return INVALID
    return OK if document["sweep"]["knee_per_s"] else FAILED


def load(document: Json) -> str:
    """Return what all steps have in common, in one line."""
    plan = document["plan"]
    text = f"lines of {plan['line_bytes']} bytes over {plan['streams']} streams"
    text += f", {plan['duration_s']:g} s each; {report.agent(plan)}; {report.link(plan)}"
    return f"{text}; CPU and RSS are the relay's"


def html_of(document: Json) -> str:
    """Return a sweep's HTML report."""
    return page.sweep(document, rows(document), result(document), load(document))


def markdown_of(document: Json) -> str:
    """Return a sweep's markdown report."""
    notes = "".join(f"- {note}\n" for note in document["verdict"]["notes"])
    text = f"## planesplit bench sweep\n\n**{result(document)}**\n\n"
    return f"{text}{load(document)}\n\n{markdown.table(rows(document))}\n{notes}"


def _show(document: Json) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, terminal.MIN_COLUMNS)
    console.print(result(document), highlight=False)
    console.print(load(document), highlight=False)
    console.print(terminal.table(rows(document)))
    for note in document["verdict"]["notes"]:
        console.print(f"  note: {note}", markup=False, highlight=False)
    if document["partial"]:
        console.print("  PARTIAL: interrupted", markup=False)
