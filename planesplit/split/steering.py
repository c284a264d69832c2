"""Asks a running split to do something that only its supervisor can: its authority's key is there.

A Unix socket in the private directory, so whoever may enter that may ask. One word, one answer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from planesplit.connect_client import ConnectError
from planesplit.split.plane import PlaneFailed

SOCKET = "steering"
MAX_BYTES = 4096
ASKED_S = 5.0  # for the one word
ANSWER_S = 60.0
DONE = "done"


class Steered(Protocol):
    """What can be asked of a split."""

    async def rotate_certs(self) -> None:
        """See Split."""

    async def rotate_keys(self) -> None:
        """See Split."""

    async def revoke_control(self) -> None:
        """See Split."""


class SteeringFailed(Exception):
    """The split did not do it; the message says why."""


async def serve_steering(
    split: Steered,
    directory: Path,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Do what is asked until cancelled.

    Args:
        split: does it.
        directory: the private one, where the socket is made.
        task_status: `started()` when it can be asked.
    """
    actions = {
        "rotate certs": split.rotate_certs,
        "rotate keys": split.rotate_keys,
        "revoke control": split.revoke_control,
    }
    with socket.socket(socket.AF_UNIX) as plain:
        _at(plain.bind, directory)
        plain.listen()
        plain.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(plain))
        task_status.started()
        await trio.serve_listeners(partial(_serve, actions), [listener])


async def _serve(
    actions: Mapping[str, Callable[[], Awaitable[None]]], stream: trio.SocketStream
) -> None:
    async with stream:
        try:
            with trio.fail_after(ASKED_S):
                asked = (await stream.receive_some(MAX_BYTES)).decode(errors="replace").strip()
            answer = await _do(actions, asked)
            await stream.send_all(answer.encode())
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # who asked has left


async def _do(actions: Mapping[str, Callable[[], Awaitable[None]]], asked: str) -> str:
    if asked not in actions:
        return f"known: {', '.join(actions)}"
    try:
        await actions[asked]()
    except (PlaneFailed, ConnectError, ValueError, OSError) as error:
        return str(error)
    return DONE


async def steer(directory: Path, action: str) -> None:
    """Ask a running split to do something, and wait until it is done.

    Raises:
        SteeringFailed: it did not do it.
    """
    try:
        with trio.fail_after(ANSWER_S), socket.socket(socket.AF_UNIX) as plain:
            _at(plain.connect, directory)
            plain.setblocking(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(plain))
            await stream.send_all(action.encode())
            answer = (await stream.receive_some(MAX_BYTES)).decode(errors="replace")
    except (OSError, trio.BrokenResourceError, trio.TooSlowError):
        raise SteeringFailed("the split does not answer; was it started by another user?") from None
    if answer != DONE:
        raise SteeringFailed(answer or "the split has ended")


def _at(use: Callable[[str], None], directory: Path) -> None:
    """Name the socket by a descriptor of its directory: a path may be longer than 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        use(f"/proc/self/fd/{descriptor}/{SOCKET}")
    finally:
        os.close(descriptor)
