"""Every listener in memory, and a client of raw bytes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import h11
import trio
import trio.testing

from relay import http1
from relay.app import Relay
from relay.auth import CONTROL_URI
from relay.http_head import Request
from relay.metrics import Metrics
from relay.serving import serve as serve_http
from relay.settings import RelaySettings
from tunnel.errors import TunnelError
from tunnel.http.server import HttpServer
from tunnel.http.settings import HttpLimits
from tunnel.journal import Journal
from tunnel.peer import NOBODY, Peer
from tunnel.settings import TunnelSettings
from tunnel.tls import TlsStream

PIECE_BYTES = 101  # of what is too long to be sent byte by byte
SHORT_BYTES = 600
Serve = Callable[[trio.abc.Stream], Awaitable[None]]


async def echo(http: http1.Http1, _: Request) -> None:
    """Answer with the request's body."""
    await http.answer(200, (), await http.whole_body(1_000_000))


async def echo_app(scope: Any, receive: Any, send: Any) -> None:
    """The same as an ASGI application."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    length = str(len(body)).encode()
    headers = [(b"content-length", length), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def serving(listener: str, *, reads: bool = False) -> Serve:
    """What runs a connection of a listener; with `reads` one that echoes bodies."""
    if listener in ("control plane", "customer"):
        journal = Journal("customer", write=lambda line: None)
        server = HttpServer(echo_app, HttpLimits(), None, journal, store=listener == "customer")
        return partial(_behind_the_guard, server)
    if reads:
        return lambda stream: serve_http(stream, RelaySettings(), Metrics(), echo)
    relay = Relay(RelaySettings(), TunnelSettings(), insecure=listener == "agent")
    serves: dict[str, Serve] = {
        "viewer": relay.serve_viewer,
        "control": partial(relay.serve_control, peer=Peer((CONTROL_URI,))),
        "ops": relay.serve_ops,
        "agent": partial(relay.serve_agent, peer=NOBODY),
    }
    return serves[listener]


async def _behind_the_guard(server: HttpServer, stream: trio.abc.Stream) -> None:
    await server._serve_stream(stream, local=True)
    await trio.aclose_forcefully(stream)


@asynccontextmanager
async def connection(
    serve: Serve, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
) -> AsyncIterator[trio.abc.Stream]:
    """A client's end of a connection that is served, inside TLS if there are contexts."""
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        if contexts is None:
            nursery.start_soon(serve, far)
            yield near
        else:
            outer = TlsStream(near, contexts[0], server_hostname="localhost")
            inner = TlsStream(far, contexts[1], server_side=True)
            async with trio.open_nursery() as shaking:
                shaking.start_soon(outer.handshake)
                shaking.start_soon(inner.handshake)
            nursery.start_soon(serve, inner)
            yield outer
        nursery.cancel_scope.cancel()


def pieces(data: bytes, *, split: bool) -> list[bytes]:
    """Cut what is sent: not at all, or byte by byte unless it is long."""
    if not split:
        return [data]
    size = 1 if len(data) <= SHORT_BYTES else PIECE_BYTES
    return [data[at : at + size] for at in range(0, len(data), size)]


async def exchange(client: trio.abc.Stream, parts: list[bytes]) -> bytes:
    """Send bytes, each when the last has been looked at; return all that comes until the end."""
    received = bytearray()

    async def send() -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for part in parts:
                await client.send_all(part)
                await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with suppress(trio.BrokenResourceError, TunnelError):
            while piece := await client.receive_some(65_536):
                received += piece
        nursery.cancel_scope.cancel()
    return bytes(received)


def bodies(answers: bytes, count: int) -> list[bytes]:
    """Read answers as h11 does; each must be a 200."""
    client, found = h11.Connection(h11.CLIENT), []
    client.receive_data(answers)
    for _ in range(count):
        client.send(h11.Request(method="POST", target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        body = b""
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                assert event.status_code == 200
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        found.append(body)
        client.start_next_cycle()
    return found


class Clockwork:
    """Counts the turns of the loop that others get."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.turns += 1
