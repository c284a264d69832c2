"""Serves an ASGI application over HTTP/1.1, with TLS unless insecure, on anycorn's trio worker."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import anycorn
import trio

from customer_stub.settings import TlsFiles
from tunnel.settings import SettingError

BACKLOG = 128
HEAD_BYTES = 16_384
KEEP_ALIVE_S = 15.0  # also the time for a request's head
FINISH_S = 1.0  # for requests under way when the server is stopped

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
    """A bound port, and the HTTP server's configuration for it."""

    port: int
    config: anycorn.Config

    async def serve(
        self, app: App, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve an ASGI application until cancelled. Once only: the server owns the socket then."""
        async with trio.open_nursery() as nursery:
            run: Callable[..., Any] = partial(anycorn.serve, mode="asgi")
            await nursery.start(run, app, self.config)
            task_status.started()


def bind(settings: Listening) -> Endpoint:
    """Bind the listener's port.

    Raises:
        SettingError: the address or the TLS files can't be used.
    """
    config = _config(settings)
    listener = _listener(settings)
    port: int = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    return Endpoint(port, config)


def _listener(settings: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Accepted connections inherit this: the kernel cuts off a client that stops reading, because
    # the server can't, which shields its sends from cancellation.
    stalled_ms = int(settings.stalled_reader_s * 1000)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_ms)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another port, or 0"
        ) from None
    return listener


def _config(settings: Listening) -> anycorn.Config:
    config = anycorn.Config()
    config.alpn_protocols = ["http/1.1"]
    config.accesslog = config.errorlog = None  # a request's path or body must reach no log
    config.backlog = BACKLOG
    config.h11_max_incomplete_size = HEAD_BYTES
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.graceful_timeout = FINISH_S
    config.include_server_header = False
    if settings.tls is not None and not settings.insecure:
        config.certfile, config.keyfile = settings.tls.cert_file, settings.tls.key_file
        try:
            config.create_ssl_context()
        except OSError:  # ssl.SSLError is one
            raise SettingError(
                f"setting 'tls': cannot use '{config.certfile}' with '{config.keyfile}'"
            ) from None
    return config
