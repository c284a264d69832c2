"""The accomplice: listens on loopback for what leaks send, so that there is somebody to dial."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from planesplit.proof.sabotage.leaks.network import HOST, Addresses

BLOCK_BYTES = 65_536


@asynccontextmanager
async def listening(directory: Path) -> AsyncIterator[None]:
    """Listen for as long as the context is open; planes started meanwhile know where.

    Args:
        directory: where the Unix socket goes.
    """
    path = directory / f"sink-{os.getpid()}"
    async with trio.open_nursery() as nursery:
        tcp, *_ = await trio.open_tcp_listeners(0, host=HOST)
        local = trio.socket.socket(trio.socket.AF_UNIX)
        datagrams = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        with datagrams:
            await local.bind(str(path))
            local.listen()
            await datagrams.bind((HOST, 0))
            nursery.start_soon(trio.serve_listeners, _swallow, [tcp, trio.SocketListener(local)])
            nursery.start_soon(_receive, datagrams)
            port = tcp.socket.getsockname()[1]
            Addresses(port, datagrams.getsockname()[1], str(path)).announce()
            try:
                yield
            finally:
                Addresses.withdraw()
                nursery.cancel_scope.cancel()


async def _swallow(stream: trio.SocketStream) -> None:
    try:
        async for _ in stream:
            pass
    except trio.BrokenResourceError:
        pass  # the leak was killed


async def _receive(datagrams: trio.socket.SocketType) -> None:
    while True:
        await datagrams.recv(BLOCK_BYTES)
