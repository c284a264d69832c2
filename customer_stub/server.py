"""Serves the Kubernetes API over HTTP/1.1, with TLS unless insecure, on anycorn's trio worker."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anycorn
import trio

from customer_stub.settings import CustomerSettings
from tunnel.settings import SettingError

BACKLOG = 128
HEAD_BYTES = 16_384
KEEP_ALIVE_S = 15.0  # also the time for a request's head
FINISH_S = 1.0  # for requests under way when the server is stopped

App = Callable[..., Awaitable[None]]


def listen(settings: CustomerSettings) -> socket.socket:
    """Bind the API's port.

    A client that stops reading is cut off by the kernel (TCP_USER_TIMEOUT, inherited by accepted
    connections), because the server shields its sends from cancellation.

    Raises:
        SettingError: the address can't be used.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def server_config(settings: CustomerSettings, listener: socket.socket) -> anycorn.Config:
    """Return the HTTP server's configuration; it then owns the listener.

    Raises:
        SettingError: the TLS files can't be used.
    """
    config = anycorn.Config()
    config.bind = [f"fd://{listener.detach()}"]
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
        except (OSError, ssl.SSLError):
            raise SettingError(
                f"setting 'tls': cannot use '{config.certfile}' with '{config.keyfile}'"
            ) from None
    return config


async def serve(
    app: App,
    settings: CustomerSettings,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until cancelled; `started` gives the port.

    Raises:
        SettingError: the address or the TLS files can't be used.
    """
    listener = listen(settings)
    port: int = listener.getsockname()[1]
    config = server_config(settings, listener)
    async with trio.open_nursery() as nursery:
        run: Callable[..., Any] = partial(anycorn.serve, mode="asgi")
        await nursery.start(run, app, config)
        task_status.started(port)
