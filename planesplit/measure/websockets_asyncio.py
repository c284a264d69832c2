"""The usual relay over one WebSocket, as one writes it with `websockets` on asyncio.

`python -m planesplit.measure.websockets_asyncio relay`
`python -m planesplit.measure.websockets_asyncio agent RELAY_PORT TARGET_PORT`
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve

from planesplit.measure.chain import MAX_MESSAGE_BYTES, READ_BYTES, join, split
from tunnel.process import announce

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Streams]]


class Joint:
    """One end of the WebSocket and the TCP connections that cross it.

    Args:
        websocket: open.
        dial: opens one that the other end has named first; None where they come from outside.
    """

    def __init__(self, websocket: Connection, dial: Dial | None = None) -> None:
        self._websocket, self._dial = websocket, dial
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection from outside until it ends."""
        number = next(self._numbers)
        self._writers[number] = writer
        await self._up(number, reader)

    async def run(self) -> None:
        """Hand out what comes, until the WebSocket ends."""
        async for message in self._websocket:
            number, data = split(message)
            writer = self._writers.get(number)
            if not data:
                if writer is not None:
                    self._writers.pop(number).close()
                continue
            if writer is None and self._dial is not None:
                writer = await self._open(number, self._dial)
            if writer is not None:
                writer.write(data)
                await writer.drain()

    async def _open(self, number: int, dial: Dial) -> asyncio.StreamWriter:
        reader, writer = await dial()
        self._writers[number] = writer
        task = asyncio.create_task(self._up(number, reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return writer

    async def _up(self, number: int, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                await self._websocket.send(join(number, data))
        except ConnectionError:
            pass
        if self._writers.pop(number, None) is not None:
            await self._websocket.send(join(number, b""))


async def relay() -> None:
    """Listen for one agent and for viewers."""
    joints: list[Joint] = []

    async def agent(websocket: ServerConnection) -> None:
        joints[:] = [Joint(websocket)]
        await joints[0].run()

    async def viewer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await joints[0].add(reader, writer)

    async with serve(
        agent, "127.0.0.1", 0, compression=None, max_size=MAX_MESSAGE_BYTES, ping_interval=None
    ) as server:
        viewers = await asyncio.start_server(viewer, "127.0.0.1", 0)
        announce(
            agent_port=next(iter(server.sockets)).getsockname()[1],
            port=viewers.sockets[0].getsockname()[1],
        )
        await viewers.serve_forever()


async def agent(relay_port: int, target_port: int) -> None:
    """Dial the relay, and the target for each connection that comes."""

    async def dial() -> Streams:
        return await asyncio.open_connection("127.0.0.1", target_port)

    async with connect(
        f"ws://127.0.0.1:{relay_port}",
        compression=None,
        max_size=MAX_MESSAGE_BYTES,
        ping_interval=None,
    ) as websocket:
        announce()
        await Joint(websocket, dial).run()


if __name__ == "__main__":
    work = relay() if sys.argv[1] == "relay" else agent(*map(int, sys.argv[2:]))
    asyncio.run(work)
