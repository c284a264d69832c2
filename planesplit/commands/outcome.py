"""How a command ends: exit codes, signals, and one-line errors instead of tracebacks.

Exit codes: 0 ok, 1 failed, 2 usage, 3 environment unusable, 4 an invalid measurement, 128 + n after
signal n.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import trio

from planesplit.connect_client import ConnectError
from planesplit.measure.lab import MeasureError
from planesplit.ready import NoSplit
from planesplit.residency import CountersAway
from planesplit.split.plane import PlaneFailed
from planesplit.split.sole import sole
from planesplit.split.steering import SteeringFailed

OK, FAILED, USAGE, UNUSABLE = 0, 1, 2, 3
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BROKEN_PIPE = 128 + signal.SIGPIPE
HUNG_UP = 128 + signal.SIGHUP  # the terminal is gone

_CONNECT_EXITS = {
    "unavailable": UNUSABLE,
    "deadline_exceeded": UNUSABLE,
    "invalid_argument": USAGE,
}


_REMEDIES = {
    "no such run": "'planesplit get runs' lists those that there are",
    "no such cluster": "'planesplit get clusters' lists those that there are",
    "no such subject": "'planesplit get principals' lists those that there are",
}


class UsageError(Exception):
    """The command line asks for something that cannot be; the message names value and remedy."""


async def settle(command: Callable[[], Awaitable[int]]) -> int:
    """Run a command to its end and return the exit code.

    SIGINT, SIGTERM and SIGHUP cancel it, so that it ends in order; a second one ends the process
    at once (the kernel then kills the planes that it started).
    """
    received = 0
    code, scope = OK, trio.CancelScope()

    async def watch(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal received
        with trio.open_signal_receiver(*ENDING_SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                if received:
                    os._exit(128 + number)
                received = number
                scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch)
            with scope:
                code = await command()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        return _explain(sole(group))
    return 128 + received if received else code


def _explain(error: BaseException) -> int:
    """Print what went wrong and return the exit code; what nobody foresaw is raised."""
    match error:
        case ConnectError():
            code = _CONNECT_EXITS.get(error.code, FAILED)
        case UsageError():
            code = USAGE
        case NoSplit() | PlaneFailed() | SteeringFailed() | FileExistsError():
            code = UNUSABLE
        case CountersAway() | MeasureError():
            code = UNUSABLE
        case BrokenPipeError():
            return BROKEN_PIPE
        case OSError(errno=errno.EIO):
            return HUNG_UP
        case AssertionError():
            code = FAILED
        case _:
            raise error
    remedy = _REMEDIES.get(error.message) if isinstance(error, ConnectError) else None
    sys.stderr.write(f"planesplit: {error}" + (f"; {remedy}\n" if remedy else "\n"))
    return code
