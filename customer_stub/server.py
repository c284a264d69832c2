"""Serves an ASGI application over HTTP/1.1, with TLS unless insecure, behind the store's guard.

The customer's infrastructure takes any method and bodies of any size, but no request that two
parsers could read differently; what one connection does wrong ends that connection only.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from customer_stub.asgi import Receive, Scope, Send
from customer_stub.settings import TlsFiles
from tunnel.http.listening import listener_context
from tunnel.http.server import HttpServer
from tunnel.http.settings import HttpLimits
from tunnel.journal import Journal
from tunnel.settings import SettingError

BACKLOG = 128
CONNECTIONS = 1024  # more are closed at once
KEEP_ALIVE_S = 15.0  # also the time for a request's head

App = Callable[..., Awaitable[None]]


class Listening(Protocol):
    """What a listener needs to know; the settings of every process that serves have it."""

    @property
    def host(self) -> str:
        """Address to listen on."""

    @property
    def port(self) -> int:
        """Port; 0 lets the system choose."""

    @property
    def insecure(self) -> bool:
        """Plain HTTP."""

    @property
    def tls(self) -> TlsFiles | None:
        """Certificate and key, unless insecure."""

    @property
    def stalled_reader_s(self) -> float:
        """Seconds after which a client that takes nothing is cut off."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A bound port, and how it is served.

    Args:
        listener: bound, not yet listening.
        context: TLS context, or None for plain HTTP.
        limits: of connections.
    """

    listener: socket.socket
    context: ssl.SSLContext | None
    limits: HttpLimits

    @property
    def port(self) -> int:
        """The port that the system chose."""
        return int(self.listener.getsockname()[1])

    async def serve(
        self,
        app: App,
        journal: Journal | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve an ASGI application until cancelled. Once only: the server owns the socket then.

        Args:
            journal: told when a connection fails by our own fault.
        """
        journal = journal or Journal("customer")
        self.listener.listen(BACKLOG)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self.listener))
        server = HttpServer(http_only(app), self.limits, self.context, journal, store=True)
        await server.serve(listener, trio.Event(), task_status=task_status)


def http_only(app: App) -> App:
    """Wrap an application that knows HTTP requests only: WebSockets are refused."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    return wrapped


def bind(settings: Listening) -> Endpoint:
    """Bind the listener's port.

    Raises:
        SettingError: the address or the TLS files can't be used.
    """
    limits = HttpLimits(
        connections=CONNECTIONS, idle_s=KEEP_ALIVE_S, send_s=settings.stalled_reader_s
    )
    context = _context(settings)
    return Endpoint(_listener(settings), context, limits)


def _listener(settings: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another port, or 0"
        ) from None
    return listener


def _context(settings: Listening) -> ssl.SSLContext | None:
    if settings.tls is None or settings.insecure:
        return None
    return listener_context(settings.tls.cert_file, settings.tls.key_file)
