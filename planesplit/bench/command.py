"""The commands `bench`, `bench sweep` and `bench compare`: what they run, write and return."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from planesplit.bench import files, page, terminal
from planesplit.bench import markdown as md
from planesplit.bench.document import Json, Progress
from planesplit.bench.plan import BenchPlan, PlanImpossible
from planesplit.bench.progress import shown
from planesplit.bench.run import Bench, Interrupt
from planesplit.commands.outcome import FAILED, OK, UsageError

INVALID = 4  # the run says nothing of the product
Render = Callable[[Json], str]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go, besides stdout.

    Args:
        directory: all files; must not hold a run already.
        json: print the document instead of a report.
        html, markdown, csv: single files.
        progress: whether stderr shows how far it is.
    """

    directory: Path | None = None
    json: bool = False
    html: Path | None = None
    markdown: Path | None = None
    csv: Path | None = None
    progress: bool = True

    def check(self) -> None:
        """Refuse before the run what would fail after it.

        Raises:
            UsageError: names the file.
        """
        if self.directory and (self.directory / files.RUN).exists():
            raise UsageError(f"-o '{self.directory}' holds a run already; choose another directory")
        for file in (self.html, self.markdown, self.csv):
            if file and not file.absolute().parent.is_dir():
                raise UsageError(f"'{file}': its directory does not exist; make it first")

    def write(
        self, document: Json, *, html: Render = page.bench, markdown: Render = md.bench
    ) -> None:
        """Write the files that are wanted.

        Args:
            document: of a bench or a sweep.
            html, markdown: make its reports.

        Raises:
            UsageError: one cannot be written.
        """
        makers: list[tuple[Path | None, Render]] = [
            (self.html, html),
            (self.markdown, markdown),
            (self.csv, files.as_csv),
        ]
        if self.directory:
            makers += [
                (self.directory / "report.html", html),
                (self.directory / "report.md", markdown),
                (self.directory / "run.csv", files.as_csv),
                (self.directory / "run.hlog", files.as_hlog),
                (self.directory / files.RUN, files.as_json),
            ]
        try:
            if self.directory:
                self.directory.mkdir(parents=True, exist_ok=True)
            for file, make in makers:
                if file:
                    file.write_text(make(document), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write '{error.filename}': {error.strerror}") from None


async def bench(plan: BenchPlan, outputs: Outputs) -> int:
    """Run a bench and report it.

    Returns:
        0; 1 if the load was not carried, or a line not over a cut; 4 if the run is invalid; 130 or
        143 after a signal, with what there was by then written all the same.

    Raises:
        UsageError: the plan or a file is impossible.
        MeasureError: something did not start.
    """
    outputs.check()
    try:
        plan.check()
    except PlanImpossible as error:
        raise UsageError(str(error)) from None
    interrupt = Interrupt()

    async def work(progress: Progress) -> Json:
        return await Bench(plan, argv(), progress, interrupt).run()

    document = await interruptible(work, interrupt, progress=outputs.progress)
    if not document:
        return 128 + interrupt.number
    outputs.write(document)
    if outputs.json:
        sys.stdout.write(files.as_json(document))
    else:
        terminal.show(document)
    return exit_code(document, interrupt)


def exit_code(document: Json, interrupt: Interrupt) -> int:
    """Return how a run ends."""
    if interrupt.number:
        return 128 + interrupt.number
    if not document["verdict"]["valid"]:
        return INVALID
    resume = document["resume"] or {}
    lost = resume.get("missing") or resume.get("misplaced")
    return FAILED if document["overloaded"] or lost else OK


async def interruptible(
    work: Callable[[Progress], Awaitable[Json]], interrupt: Interrupt, *, progress: bool
) -> Json:
    """Do some work that ends in order at the first SIGINT or SIGTERM; {} at the second."""
    found: Json = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(_listen, interrupt, nursery.cancel_scope)
        with shown(wanted=progress) as told:
            found = await work(told)
        nursery.cancel_scope.cancel()
    return found


async def _listen(
    interrupt: Interrupt,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if interrupt.number:
                scope.cancel()
            interrupt.number = number


def argv() -> list[str]:
    """Return the command as it was typed."""
    return ["planesplit", *sys.argv[1:]]
