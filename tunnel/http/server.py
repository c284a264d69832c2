"""Serves an ASGI application over HTTP/1.1: anycorn's connection handler behind our guard.

anycorn has no hook between socket and parser, so its per-connection `TCPServer` is run on a stream
of ours, which also gives sends a deadline (anycorn shields them from cancellation).
"""

from __future__ import annotations

import ipaddress
import math
import socket
import ssl
from typing import Any

import anyio
import trio
from anycorn.app_wrappers import ASGIWrapper
from anycorn.config import Config
from anycorn.tcp_server import TCPServer
from anycorn.worker_context import WorkerContext

from tunnel.errors import HandshakeFailed
from tunnel.http.guard import MAX_BODY_BYTES, STORE, Dialect, HttpGuard
from tunnel.http.patience import Patience
from tunnel.http.settings import HttpLimits
from tunnel.journal import Journal
from tunnel.messages.rpc import AsgiApp, AsgiReceive, AsgiScope, AsgiSend
from tunnel.process import accept
from tunnel.tls import start_tls

# h11 refuses a NUL as the start of a request, a header or a chunk: anycorn then answers 400 in its
# own turn, after the responses that are still due on this connection.
_POISON = b"\0\r\n\r\n"

LOOPBACK = "127.0.0.1"


async def open_listener(host: str, port: int) -> trio.SocketListener:
    """Bind and listen; port 0 lets the system choose."""
    [listener] = await trio.open_tcp_listeners(port, host=host)
    return listener


class HttpServer:
    """Serves `app` on a listener until cancelled.

    Args:
        app: an ASGI application; requests of clients that left are cancelled. It learns of a
            client's address only whether it is on loopback: `127.0.0.1`, else empty.
        limits: bounds of connections and times.
        context: TLS context, or None for plain HTTP.
        body_max_bytes: largest body of a request, as it is sent.
        store: for an application that takes any method and any body, and watches for clients that
            leave itself; `request_s` and `body_max_bytes` then bound nothing, but a body that does
            not move is cut off all the same.
    """

    def __init__(
        self,
        app: AsgiApp,
        limits: HttpLimits,
        context: ssl.SSLContext | None,
        journal: Journal,
        body_max_bytes: int = MAX_BODY_BYTES,
        *,
        store: bool = False,
    ) -> None:
        self._dialect = STORE if store else Dialect(max_body_bytes=body_max_bytes)
        served = app if store else cancel_when_left(app, limits.request_s)
        self._app = ASGIWrapper(served)  # type: ignore[arg-type]
        self._limits, self._context, self._journal = limits, context, journal
        self._config = Config()
        self._config.accesslog = self._config.errorlog = None  # they would quote requests
        self._config.keep_alive_timeout = limits.idle_s
        self._config.include_server_header = False
        self._worker = WorkerContext(None)
        self._slots = trio.CapacityLimiter(limits.connections)

    async def serve(
        self,
        listener: trio.abc.Listener[trio.abc.Stream],
        stopping: trio.Event,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve; after `stopping` accept no more and give requests `grace_s` to end."""
        async with trio.open_nursery() as connections:
            task_status.started()
            async with listener, trio.open_nursery() as accepting:
                accepting.start_soon(self._accept, listener, connections)
                await stopping.wait()
                accepting.cancel_scope.cancel()
            await self._worker.terminated.set()  # keep-alive ends with the current response
            connections.cancel_scope.deadline = trio.current_time() + self._limits.grace_s

    async def _accept(
        self, listener: trio.abc.Listener[trio.abc.Stream], connections: trio.Nursery
    ) -> None:
        while True:
            stream = await accept(listener)
            if self._slots.available_tokens <= 0:
                await trio.aclose_forcefully(stream)
                continue
            connections.start_soon(self._connection, stream)

    async def _connection(self, stream: trio.abc.Stream) -> None:
        async with self._slots:
            try:
                local = _is_loopback(stream)
                await self._serve_stream(await self._secured(stream), local)
            except (OSError, trio.BrokenResourceError, trio.TooSlowError, HandshakeFailed):
                pass
            except Exception as error:  # one connection's fault is nobody else's
                self._journal.event("connection_failed", error=type(error).__name__)
            finally:
                await trio.aclose_forcefully(stream)

    async def _serve_stream(self, stream: trio.abc.Stream, local: bool) -> None:
        guard = HttpGuard(self._dialect)
        with trio.CancelScope() as connection:
            guarded: Any = GuardedStream(stream, guard, self._limits, connection, local)
            await _Connection(self._app, self._config, self._worker, {}, guarded).run()

    async def _secured(self, stream: trio.abc.Stream) -> trio.abc.Stream:
        if self._context is None:
            return stream
        with trio.fail_after(self._limits.handshake_s):
            return await start_tls(stream, self._context, server_side=True)


class _Connection(TCPServer):
    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()  # or it would hold the connection's slot for `idle_s` more


class GuardedStream:
    """What anycorn uses of an anyio stream, over a trio stream and behind a guard.

    Args:
        guard: sees every byte first.
        limits: `send_s` is the time for one send, `body_idle_s` a slow sender's patience.
        connection: cancelled when a send fails.
        local: whether the client is on loopback.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        guard: HttpGuard,
        limits: HttpLimits,
        connection: trio.CancelScope,
        local: bool,
    ) -> None:
        self._stream, self._guard, self._send_s = stream, guard, limits.send_s
        self._connection, self._local = connection, local
        self._patience = Patience(limits.body_idle_s, limits.body_rate_bytes_s)

    async def receive(self, max_bytes: int) -> bytes:
        """Return the next clean bytes; after a refusal, poison and then the end."""
        while not self._guard.refused:
            data = await self._receive(max_bytes)
            if not data:
                break
            clean = self._guard.feed(data)
            if self._guard.refused:
                return clean + _POISON
            if clean:
                return clean
        raise anyio.EndOfStream

    async def _receive(self, max_bytes: int) -> bytes:
        """Return what comes next; nothing when the client has left, or sends a body too slowly."""
        if not self._guard.in_body:
            self._patience.renew()
            return await self._some(max_bytes)
        data = b""
        with self._patience.scope():
            data = await self._some(max_bytes)
        self._patience.got(len(data))
        return data

    async def _some(self, max_bytes: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError:
            raise anyio.BrokenResourceError from None
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None

    async def send(self, data: bytes) -> None:
        """Send, or break the connection of a client that does not read for `send_s`."""
        try:
            with trio.fail_after(self._send_s):
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.TooSlowError):
            self._connection.cancel()  # and with it what still produces for this client
            raise anyio.BrokenResourceError from None
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None

    async def send_eof(self) -> None:
        """End the sending direction, where the stream can."""
        if isinstance(self._stream, trio.SocketStream):
            try:
                await self._stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise anyio.ClosedResourceError from None

    async def aclose(self) -> None:
        """Close; a TLS goodbye may take `send_s` at most."""
        with trio.move_on_after(self._send_s):
            await self._stream.aclose()

    def extra(self, attribute: Any, default: Any = None) -> Any:
        """No TLS attributes, so that HTTP/2 is never chosen; an address that names nobody."""
        if attribute is anyio.abc.SocketAttribute.raw_socket:
            return _NoSocket(self._local)
        raise anyio.TypedAttributeLookupError


class _NoSocket:
    """Stands in where anycorn looks for addresses (and for a socket to bypass TLS with)."""

    def __init__(self, local: bool) -> None:
        self.family = socket.AF_INET if local else None

    def getpeername(self) -> tuple[str, int]:
        return LOOPBACK if self.family else "", 0

    getsockname = getpeername


def _is_loopback(stream: trio.abc.Stream) -> bool:
    """Whether a client is on this machine; asked while it is connected."""
    if not isinstance(stream, trio.SocketStream):
        return False
    address = ipaddress.ip_address(stream.socket.getpeername()[0])
    return address.is_loopback


def cancel_when_left(app: AsgiApp, request_s: float) -> AsgiApp:
    """Wrap an application: cancelled when its client leaves, even from a quiet stream.

    connectrpc on trio looks at a disconnect only between two messages. A body that does not arrive
    within `request_s` reads as a client that left.
    """

    async def wrapped(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] != "http":
            return
        body_deadline = trio.current_time() + request_s
        request = trio.CancelScope()

        async def watched() -> Any:
            nonlocal body_deadline
            message: Any = {"type": "http.disconnect"}
            with trio.CancelScope(deadline=body_deadline):
                message = await receive()
            if message["type"] == "http.disconnect":
                request.cancel()
            elif not message.get("more_body", False):
                body_deadline = math.inf
            return message

        with request:
            await app(scope, watched, send)

    return wrapped
