"""Pairs of connected transports of every kind, and pairs of sessions over them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
import trio.testing
from cast import AGENT, ANSWER, RELAY, SETTINGS, TOKEN, VALID_S

from planesplit.pki import Authority
from tunnel.events import Closed, Data, End, Event, Mark, Reset
from tunnel.hello import Hello
from tunnel.memory import MemoryLink, memory_transport_pair
from tunnel.payload import Payload
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.tls import TlsStream, client_context, server_context, start_tls
from tunnel.transport import Transport
from tunnel.websocket import accept_websocket, connect_websocket

Ends = tuple[Transport, Transport]
Handler = Callable[[Stream], Awaitable[None]]


async def together(one: Callable[[], Awaitable[Any]], two: Callable[[], Awaitable[Any]]) -> Any:
    """Run both at once and return both results."""
    results: dict[int, Any] = {}

    async def run(key: int, call: Callable[[], Awaitable[Any]]) -> None:
        results[key] = await call()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 0, one)
        nursery.start_soon(run, 1, two)
    return results[0], results[1]


async def socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two ends of a TCP connection on loopback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        return await together(partial(trio.open_tcp_stream, "127.0.0.1", port), listener.accept)


@dataclass(frozen=True)
class Contexts:
    """TLS of an agent and of a relay that asks for the agent's certificate."""

    client: ssl.SSLContext
    server: ssl.SSLContext

    @classmethod
    def of(cls, authority: Authority) -> Contexts:
        """Issue both certificates."""
        ca = str(authority.ca_file)
        agent, server = authority.agent("acme", "c1"), authority.server("relay")
        return cls(
            client_context(ca, str(agent.cert_file), str(agent.key_file)),
            server_context(str(server.cert_file), str(server.key_file), ca),
        )


async def tls_over(
    contexts: Contexts, near: trio.abc.Stream, far: trio.abc.Stream
) -> tuple[TlsStream, TlsStream]:
    """TLS between the two ends of a byte stream."""
    return await together(
        partial(start_tls, near, contexts.client, server_hostname="localhost"),
        partial(start_tls, far, contexts.server, server_side=True),
    )


async def websocket_over(near: trio.abc.Stream, far: trio.abc.Stream) -> Ends:
    """A WebSocket on a connected byte stream."""
    return await together(
        partial(connect_websocket, near, host="relay:1"), partial(accept_websocket, far)
    )


async def websocket_pair() -> Ends:
    """A WebSocket on memory streams: no sockets, so simulated time works."""
    return await websocket_over(*trio.testing.memory_stream_pair())


async def memory_pair() -> tuple[Ends, MemoryLink | None]:
    """Transports in memory, and the link between them."""
    near, far, link = memory_transport_pair()
    return (near, far), link


async def plain_websocket_pair() -> tuple[Ends, MemoryLink | None]:
    """The same for a WebSocket, which has no link."""
    return await websocket_pair(), None


default_ends = memory_pair  # what `tunnel` uses; a fixture changes it


async def drained(transport: Transport, count: int) -> list[bytes]:
    """Receive `count` frames."""
    frames: list[bytes] = []
    while len(frames) < count:
        frames += [bytes(frame) for frame in await transport.receive()]
    return frames


# Sessions.


@dataclass
class Tunnel:
    """A tunnel with both ends at hand."""

    agent: Session
    relay: Session
    link: MemoryLink | None
    nursery: trio.Nursery
    closed: dict[str, Closed] = field(default_factory=dict)
    closed_at: dict[str, float] = field(default_factory=dict)

    async def over(self) -> None:
        """Wait until both ends have returned."""
        while len(self.closed) < 2:
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.01)

    async def serve(
        self,
        name: str,
        handler: Handler,
        *,
        task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run one end and keep what it returned, and when."""
        session: Session = getattr(self, name)
        self.closed[name] = await session.serve(handler, task_status=task_status)
        self.closed_at[name] = trio.current_time()


async def refuse_all(stream: Stream) -> None:
    """A handler for an end that expects no streams."""
    raise AssertionError(f"nobody should open stream {stream.id}")


def accept_any(_hello: Hello, _token: Payload) -> float:
    """An authenticator that is content with anything."""
    return VALID_S


def agent_session(transport: Transport, settings: TunnelSettings = SETTINGS) -> Session:
    """The dialer's session."""
    return Session(transport, hello=AGENT, settings=settings, token=Payload(TOKEN))


def relay_session(
    transport: Transport,
    settings: TunnelSettings = SETTINGS,
    authenticate: Callable[[Hello, Payload], float] = accept_any,
) -> Session:
    """The acceptor's session."""
    return Session(transport, hello=RELAY, settings=settings, authenticate=authenticate)


@asynccontextmanager
async def tunnel(
    handler: Handler = refuse_all,
    *,
    relay_handler: Handler = refuse_all,
    settings: TunnelSettings = SETTINGS,
    authenticate: Callable[[Hello, Payload], float] = accept_any,
    ends: Ends | None = None,
) -> AsyncIterator[Tunnel]:
    """An established tunnel, by default in memory; it is closed at the end of the block."""
    link = None
    if ends is None:
        ends, link = await default_ends()
    agent = agent_session(ends[0], settings)
    relay = relay_session(ends[1], settings, authenticate)
    async with trio.open_nursery() as nursery:
        made = Tunnel(agent, relay, link, nursery)
        await together(
            partial(nursery.start, made.serve, "agent", handler),
            partial(nursery.start, made.serve, "relay", relay_handler),
        )
        yield made
        relay.close()
        agent.close()


async def read_all(stream: Stream, release: bool = True) -> list[Event]:
    """Take events until End or Reset, joining Data; release as they come."""
    events: list[Event] = []
    while not (events and isinstance(events[-1], (End, Reset))):
        await stream.ready()
        for event in stream.take():
            events.append(event)
            if isinstance(event, Data) and release:
                stream.release(len(event.view))
    return events


def body(events: list[Event]) -> bytes:
    """The bytes among events."""
    return b"".join(bytes(event.view) for event in events if isinstance(event, Data))


def cursors(events: list[Event]) -> list[bytes]:
    """The marks among events."""
    return [event.cursor for event in events if isinstance(event, Mark)]


# What ends do with a stream.

BLOB = bytes(range(256)) * 4096


async def echo(stream: Stream) -> None:
    """Answer with the request's body."""
    stream.head(ANSWER)
    await stream.send(body(await read_all(stream)))
    stream.mark(stream.cursor)
    stream.end()


async def pour(stream: Stream) -> None:
    """Send without end."""
    stream.head(ANSWER)
    while True:
        await stream.send(BLOB[:65_536])


async def sit(stream: Stream) -> None:
    """Answer and do nothing."""
    stream.head(ANSWER)
    await trio.sleep_forever()


async def settled() -> None:
    """Let everything happen that can happen without time passing."""
    await trio.testing.wait_all_tasks_blocked(0.001)
