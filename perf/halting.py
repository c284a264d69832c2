"""A planted fault: a process that halts at times."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import trio


async def halt_at_times(
    pid: int,
    halted_s: float,
    thawed_s: float,
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Halt and thaw a process in turns until it is gone or the scope given back is cancelled."""
    with trio.CancelScope() as scope, suppress(ProcessLookupError):
        task_status.started(scope)
        while True:
            await trio.sleep(thawed_s)
            os.kill(pid, signal.SIGSTOP)
            try:
                await trio.sleep(halted_s)
            finally:
                os.kill(pid, signal.SIGCONT)
