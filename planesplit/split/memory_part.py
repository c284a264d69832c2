"""A plane that runs in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class Part:
    """A plane's tasks, and the tasks of its connections.

    Attributes:
        scope: cancelled to kill it.
        ended: set when it has ended.
        connections: where its connections are served; None while it doesn't run.
    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.connections: trio.Nursery | None = None

    async def run(
        self, plane: Callable[..., Awaitable[None]], *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Run the plane to its end."""
        try:
            with self.scope:
                async with trio.open_nursery() as self.connections:
                    await plane(task_status=task_status)
                    self.connections.cancel_scope.cancel()
        finally:
            self.connections = None
            self.ended.set()
