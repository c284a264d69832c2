"""The usual relay over one WebSocket, as one writes it with `websockets.trio`.

Connections share the WebSocket, each message names its own; there are no windows, so one viewer
that does not read stops them all.
`python -m planesplit.measure.websockets_trio relay`
`python -m planesplit.measure.websockets_trio agent RELAY_PORT TARGET_PORT`
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from websockets.trio.client import connect
from websockets.trio.connection import Connection
from websockets.trio.server import ServerConnection, serve

from planesplit.measure.chain import MAX_MESSAGE_BYTES, READ_BYTES, join, split
from tunnel.process import announce

Dial = Callable[[], Awaitable[trio.SocketStream]]


class Joint:
    """One end of the WebSocket and the TCP connections that cross it.

    Args:
        websocket: open.
        nursery: where connections are read.
        dial: opens one that the other end has named first; None where they come from outside.
    """

    def __init__(
        self, websocket: Connection, nursery: trio.Nursery, dial: Dial | None = None
    ) -> None:
        self._websocket, self._nursery, self._dial = websocket, nursery, dial
        self._streams: dict[int, trio.SocketStream] = {}
        self._numbers = itertools.count()

    async def add(self, stream: trio.SocketStream) -> None:
        """Carry one connection from outside until it ends."""
        number = next(self._numbers)
        self._streams[number] = stream
        await self._up(number, stream)

    async def run(self) -> None:
        """Hand out what comes, until the WebSocket ends."""
        async for message in self._websocket:
            number, data = split(message)
            stream = self._streams.get(number)
            if not data:
                if stream is not None:
                    await self._streams.pop(number).aclose()
                continue
            if stream is None and self._dial is not None:
                stream = self._streams[number] = await self._dial()
                self._nursery.start_soon(self._up, number, stream)
            if stream is not None:
                await stream.send_all(data)

    async def _up(self, number: int, stream: trio.SocketStream) -> None:
        try:
            while data := await stream.receive_some(READ_BYTES):
                await self._websocket.send(join(number, data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if self._streams.pop(number, None) is not None:
            await self._websocket.send(join(number, b""))


async def relay() -> None:
    """Listen for one agent and for viewers."""
    async with trio.open_nursery() as nursery:
        joints: list[Joint] = []

        async def agent(websocket: ServerConnection) -> None:
            joints[:] = [Joint(websocket, nursery)]
            await joints[0].run()

        async def viewer(stream: trio.SocketStream) -> None:
            stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
            await joints[0].add(stream)

        server = await nursery.start(
            partial(
                serve,
                agent,
                0,
                host="127.0.0.1",
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                ping_interval=None,
            )
        )
        viewers = await trio.open_tcp_listeners(0, host="127.0.0.1")
        announce(
            agent_port=server.listeners[0].socket.getsockname()[1],
            port=viewers[0].socket.getsockname()[1],
        )
        await trio.serve_listeners(viewer, viewers)


async def agent(relay_port: int, target_port: int) -> None:
    """Dial the relay, and the target for each connection that comes."""

    async def dial() -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", target_port)

    async with (
        trio.open_nursery() as nursery,
        connect(
            f"ws://127.0.0.1:{relay_port}",
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            ping_interval=None,
        ) as websocket,
    ):
        announce()
        await Joint(websocket, nursery, dial).run()


if __name__ == "__main__":
    if sys.argv[1] == "relay":
        trio.run(relay)
    else:
        trio.run(agent, int(sys.argv[2]), int(sys.argv[3]))
