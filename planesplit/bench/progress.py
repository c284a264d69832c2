"""A progress bar on stderr; without a terminal a line for each new step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from planesplit.bench.document import Progress as Told
from planesplit.commands.output import progress as tell


@contextmanager
def shown(*, wanted: bool = True) -> Iterator[Told]:
    """Show how far something is; gives what is to be told of it.

    Args:
        wanted: False for silence.
    """
    if not wanted:
        yield lambda text, share: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share)
    sys.stderr.flush()


def _lines() -> Told:
    last = ""

    def told(text: str, share: float) -> None:
        nonlocal last
        if text != last:
            last = text
            tell(text)

    return told
