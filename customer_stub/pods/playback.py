"""Containers that are played instead of executed: lines written at their times, no process.

They wait with `trio.sleep_until` only, so they run in simulated time too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn

import trio

from customer_stub.pods.container import SIGTERM_EXIT, Exit, Output, Stop
from customer_stub.produced import Stream

BATCH_BYTES = 65_536  # what is due at once is written at once, up to this
USAGE_EXIT = 2


class Piece(NamedTuple):
    """Output that is due `at_s` seconds after the container's start."""

    at_s: float
    stream: Stream
    data: bytes


class UsageError(Exception):
    """The container's arguments make no sense; the message goes to its stderr."""


class Arguments(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` instead of ending the process."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog=prog, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise UsageError(f"{self.prog}: {message}")


async def run_playback(
    plan: Callable[[], tuple[Iterable[Piece], int]],
    output: Output,
    stop: Stop,
    started: Callable[[], None],
) -> Exit:
    """Play the pieces that `plan` returns and end with its exit code.

    Args:
        plan: makes the pieces and the exit code; raises UsageError.
        output: where they go.
        stop: ends the playback at once.
        started: called before the first piece.
    """
    started()
    try:
        pieces, code = plan()
    except UsageError as error:
        output.write("stderr", f"{error}\n".encode())
        return Exit(USAGE_EXIT)
    result = Exit(SIGTERM_EXIT)
    async with trio.open_nursery() as nursery:

        async def play_to_the_end() -> None:
            nonlocal result
            await play(pieces, output)
            result = Exit(code)
            nursery.cancel_scope.cancel()

        nursery.start_soon(play_to_the_end)
        await stop.requested.wait()
        nursery.cancel_scope.cancel()
    return result


async def play(pieces: Iterable[Piece], output: Output) -> None:
    """Write each piece when it is due, or as soon as possible when late."""
    start = trio.current_time()
    batch = bytearray()
    stream: Stream = "stdout"
    for piece in pieces:
        waits = start + piece.at_s > trio.current_time()
        if batch and (waits or piece.stream != stream or len(batch) >= BATCH_BYTES):
            output.write(stream, bytes(batch))
            batch.clear()
            await trio.lowlevel.checkpoint()
        if waits:
            await trio.sleep_until(start + piece.at_s)
        stream = piece.stream
        batch += piece.data
    if batch:
        output.write(stream, bytes(batch))
    await trio.lowlevel.checkpoint()
