"""The event loop of the helper processes: epoll and callbacks, since they have to cost little.

A helper takes commands from whoever measures: JSON lines over a Unix socket in a private directory.
It ends when that connection does.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunnel.process import announce

READABLE, WRITABLE = select.EPOLLIN, select.EPOLLOUT
READ_BYTES = 262_144
ATTACH_S = 30.0

Command = Callable[..., "dict[str, Any] | None"]


class Reactor:
    """Waits for descriptors and calls who is registered for them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._running = True

    def register(self, descriptor: int, events: int, handler: Callable[[], None]) -> None:
        """Call `handler` whenever a descriptor is ready."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, events)

    def unregister(self, descriptor: int) -> None:
        """Forget a descriptor; harmless when it is unknown."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def run(self) -> None:
        """Serve until `stop`."""
        while self._running:
            for descriptor, _ in self._epoll.poll():
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    handler()

    def stop(self) -> None:
        """End `run`."""
        self._running = False


class Commands:
    """Takes commands one after the other; a command that answers None answers later by `reply`.

    Args:
        reactor: ends with the connection.
        path: where to listen.
        table: what each command does; its keywords are the command's fields.
    """

    def __init__(self, reactor: Reactor, path: Path, table: dict[str, Command]) -> None:
        self._reactor, self._table = reactor, table
        self._pending = b""
        self._socket = attached(path)
        reactor.register(self._socket.fileno(), READABLE, self._receive)

    def reply(self, **fields: object) -> None:
        """Answer the command under way."""
        self._socket.sendall(json.dumps(fields, separators=(",", ":")).encode() + b"\n")

    def _receive(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if not data:
            self._reactor.stop()
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._run(**json.loads(line))

    def _run(self, do: str, **arguments: Any) -> None:
        try:
            answer = self._table[do](**arguments)
        except (OSError, ValueError) as error:
            answer = {"error": f"{do}: {error}"}
        if answer is not None:
            self.reply(**answer)


def attached(path: Path) -> socket.socket:
    """Listen on a Unix socket, announce that, and return the one connection to it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(ATTACH_S)
        announce()
        connection, _ = listener.accept()
    connection.settimeout(None)
    return connection
