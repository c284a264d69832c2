"""The processes of a measurement: started, asked, and gone afterwards, whatever happens."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from planesplit.split.plane import PlaneFailed, PlaneProcess

READY_S = 20.0
ASK_S = 30.0
STOP_S = 3.0
RECEIVE_BYTES = 262_144


class MeasureError(Exception):
    """A measurement could not be made; the message says which helper failed at what."""


class Helper:
    """A helper process and the connection that it takes commands from.

    Args:
        process: running.
        connection: to its Unix socket.
    """

    def __init__(self, process: PlaneProcess, connection: trio.SocketStream) -> None:
        self._process, self._connection = process, connection
        self._pending = bytearray()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, do: str, *, within_s: float = ASK_S, **arguments: object) -> dict[str, Any]:
        """Have a command carried out and return its answer.

        Args:
            do: the command.
            within_s: how long that may take.
            arguments: of the command.

        Raises:
            MeasureError: it failed, took too long, or the helper has ended.
        """
        name = self._process.name
        command = json.dumps({"do": do, **arguments}, separators=(",", ":")).encode()
        line = b""
        with trio.move_on_after(within_s) as limit:
            try:
                await self._connection.send_all(command + b"\n")
                line = await self._line()
            except trio.BrokenResourceError:
                pass
        if limit.cancelled_caught:
            raise MeasureError(f"{name} did not finish '{do}' within {within_s:g} s")
        if not line:
            lines = "\n  ".join(("", *self._process.last_lines()))
            raise MeasureError(f"{name} ended during '{do}'{lines}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasureError(f"{name}: {answer['error']}")
        return answer

    async def _line(self) -> bytes:
        """Return the next answer, b"" at the end of the connection."""
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0:
            searched = len(self._pending)
            data = await self._connection.receive_some(RECEIVE_BYTES)
            if not data:
                return b""
            self._pending += data
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return line


class Lab:
    """Starts processes; all end with it.

    Args:
        nursery: where they are watched.
        directory: private, for sockets and configuration.
    """

    def __init__(self, nursery: trio.Nursery, directory: Path) -> None:
        self._nursery = nursery
        self.directory = directory
        self._numbers = itertools.count(1)
        self._processes: list[PlaneProcess] = []

    def path(self, name: str) -> Path:
        """Return a path in the private directory that nobody else has got."""
        return self.directory / f"{next(self._numbers)}-{name}"

    async def start(self, name: str, *command: str) -> PlaneProcess:
        """Start `python -m COMMAND...` and wait until it is ready.

        Raises:
            MeasureError: it did not get ready.
        """
        python = (sys.executable, "-P", "-m", *command)
        process = PlaneProcess(name, self.directory, command=python)
        self._processes.append(process)
        try:
            await process.start(self._nursery, ready_s=READY_S)
        except PlaneFailed as error:
            raise MeasureError(str(error)) from None
        return process

    async def start_relay(self, config: Path, *, module: str = "relay") -> PlaneProcess:
        """Start our relay as a split does by default.

        Args:
            config: its configuration.
            module: what runs it.

        Raises:
            MeasureError: it did not get ready.
        """
        return await self.start("relay", module, "--config", str(config))

    async def helper(self, module: str) -> Helper:
        """Start one of this package's helper processes."""
        control = self.path("control")
        process = await self.start(module, f"planesplit.measure.{module}", str(control))
        connection = await trio.open_unix_socket(str(control))
        return Helper(process, connection)

    async def stop(self, processes: Sequence[PlaneProcess] | None = None) -> None:
        """End processes, all of them by default."""
        async with trio.open_nursery() as nursery:
            for process in self._processes if processes is None else processes:
                nursery.start_soon(process.stop, STOP_S)


@asynccontextmanager
async def open_lab() -> AsyncIterator[Lab]:
    """Open a lab: a private directory and the processes in it."""
    with tempfile.TemporaryDirectory(prefix="planesplit-measure-") as directory:
        async with trio.open_nursery() as nursery:
            lab = Lab(nursery, Path(directory))
            try:
                yield lab
            finally:
                with trio.CancelScope(shield=True):
                    await lab.stop()
                nursery.cancel_scope.cancel()
