"""What a part of the drive waited for when its time was up: its tasks, and the planes' last words.

It goes to whoever watches the run, not into the report: it names code and events, no payload.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from planesplit.proof.stage import Stage

MAX_FRAMES = 8  # of a task, from where it waits outwards
JOURNAL_LINES = 8


def explain(stage: Stage, task: trio.lowlevel.Task) -> None:
    """Tell where a task and its children wait, and what each plane said last."""
    for line in waiting(task):
        stage.alarm(f"waits: {line}")
    for plane in stage.split.options.planes:
        for line in stage.split.journal(plane).lines[-JOURNAL_LINES:]:
            stage.alarm(f"{plane} said: {line}")


def waiting(task: trio.lowlevel.Task, depth: int = 0) -> Iterator[str]:
    """Yield a line for a task and each one below it: its name, and where it waits."""
    places = [f"{frame.f_code.co_qualname}:{line}" for frame, line in task.iter_await_frames()]
    yield f"{'  ' * depth}{' < '.join(places[: -MAX_FRAMES - 1 : -1])}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from waiting(child, depth + 1)
