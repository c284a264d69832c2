"""HTTP within one process: httpx clients whose peers are stream servers or ASGI apps in memory.

httpx's own ASGITransport holds a whole answer back, so it cannot carry a watch or a tail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import httpcore
import httpx
import trio

from tunnel.messages.rpc import AsgiApp

QUEUED_CHUNKS = 1  # an app runs ahead of its reader by one chunk
HTTP_VERSION = "1.1"

Connect = Callable[[], Awaitable[trio.abc.Stream]]
Starter = Callable[..., None]


class StreamTransport(httpx.AsyncBaseTransport):
    """Speaks HTTP/1.1 on streams that `connect` makes.

    Args:
        connect: opens a connection to the server; raises OSError if there is none.
    """

    def __init__(self, connect: Connect) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=None, network_backend=_Backend(connect)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        url = request.url
        asked = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._pool.handle_async_request(asked)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.ConnectError(type(error).__name__) from None
        except httpcore.TimeoutException as error:
            raise httpx.ReadTimeout(type(error).__name__) from None
        body = _StreamBody(answer)
        return httpx.Response(answer.status, headers=answer.headers, stream=body)

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._pool.aclose()


class _StreamBody(httpx.AsyncByteStream):
    """An answer's body; what breaks it is an httpx error."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.aiter_stream():
                yield chunk
        except httpcore.TimeoutException as error:
            raise httpx.ReadTimeout(type(error).__name__) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.ReadError(type(error).__name__) from None

    async def aclose(self) -> None:
        await self._answer.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._connect())
        except OSError:
            raise httpcore.ConnectError("there is no server in this process") from None


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with trio.fail_after(_seconds(timeout)):
                return bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError:
            raise httpcore.ReadTimeout from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise httpcore.ReadError from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            with trio.fail_after(_seconds(timeout)):
                await self._stream.send_all(buffer)
        except trio.TooSlowError:
            raise httpcore.WriteTimeout from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise httpcore.WriteError from None

    async def aclose(self) -> None:
        await self._stream.aclose()


def _seconds(timeout: float | None) -> float:
    return float("inf") if timeout is None else timeout


class AsgiTransport(httpx.AsyncBaseTransport):
    """Calls an ASGI application, whose answer streams as it is made.

    Args:
        app: returns the application to call now.
        start: starts a task of the application's; raises OSError if it is not running.
    """

    def __init__(self, app: Callable[[], AsgiApp], start: Starter) -> None:
        self._app, self._start = app, start

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        body = await request.aread()
        exchange = _Exchange(request.extensions.get("timeout", {}).get("read"))
        try:
            self._start(exchange.run, self._app(), scope_of(request), body)
        except OSError:
            raise httpx.ConnectError("there is no server in this process") from None
        return await exchange.response()


def scope_of(request: httpx.Request) -> dict[str, Any]:
    """Return the ASGI scope of a request."""
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": HTTP_VERSION,
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (url.host, url.port),
        "client": ("127.0.0.1", 0),
    }


class _Exchange(httpx.AsyncByteStream):
    """One call of an application; closing it is the client's hanging up."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = _seconds(timeout_s)
        self._send, self._receive = trio.open_memory_channel[bytes](QUEUED_CHUNKS)
        self._begun, self._left = trio.Event(), trio.Event()
        self._scope = trio.CancelScope()
        self._status, self._headers = 0, list[tuple[bytes, bytes]]()
        self._complete = False

    async def run(self, app: AsgiApp, scope: dict[str, Any], body: bytes) -> None:
        """Call the application; what it raises breaks the answer, as it would a connection."""
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if pending:
                return pending.pop()
            await self._left.wait()
            return {"type": "http.disconnect"}

        try:
            with self._scope:
                await app(scope, receive, self._on_message)
        except Exception:  # noqa: S110 - the client sees an answer that is not complete
            pass
        finally:
            self._begun.set()
            self._send.close()

    async def response(self) -> httpx.Response:
        """Wait for the head of the answer."""
        with trio.move_on_after(self._timeout_s):
            await self._begun.wait()
        if not self._status:
            await self.aclose()
            raise httpx.ReadError("no answer")
        return httpx.Response(self._status, headers=self._headers, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                with trio.fail_after(self._timeout_s):
                    chunk = await self._receive.receive()
                yield chunk
        except trio.TooSlowError:
            raise httpx.ReadTimeout("no more of the answer") from None
        except trio.EndOfChannel:
            if not self._complete:
                raise httpx.ReadError("the answer broke off") from None

    async def aclose(self) -> None:
        self._left.set()
        self._scope.cancel()
        self._receive.close()

    async def _on_message(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message.get("headers", ()))
            self._begun.set()
        elif message["type"] == "http.response.body":
            if chunk := bytes(message.get("body", b"")):
                await self._send.send(chunk)
            if not message.get("more_body", False):
                self._complete = True
                self._send.close()
