"""Attackers of a relay, each in a process of its own: `python attackers.py NAME PORTS DIRECTORY`.

They know what an outsider knows, or what a hostile viewer or agent with good papers has.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import trio
from websockets.frames import Frame, Opcode

from tunnel.connection import Connection, Role
from tunnel.errors import TunnelError
from tunnel.exchange import RequestHead, Scope
from tunnel.frames import U16, FrameType, frame
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.settings import TunnelSettings
from tunnel.tls import TlsStream, client_context, start_tls
from tunnel.websocket import connect_websocket
from tunnel.websocket_codec import encode

NICE = 10  # attackers have machines of their own; here they share two cores with the attacked
HOST = "127.0.0.1"
SOURCES = cycle([f"127.0.0.{number}" for number in range(2, 255)])
ENDED = (OSError, TunnelError, trio.BrokenResourceError, trio.ClosedResourceError)
BLOCK_BYTES = 65_536


@dataclass(frozen=True)
class Target:
    """Where the relay listens, and the papers that an attacker has.

    Args:
        viewer_port, agent_port: the relay's.
        pki: directory with the authority's certificates.
        viewer_token, agent_token: good ones.
        forged_token: one with a stranger's signature.
        unknown_token: one with a key id that nobody knows.
        path: of a tail.
    """

    viewer_port: int
    agent_port: int
    pki: str
    viewer_token: str
    agent_token: str
    forged_token: str
    unknown_token: str
    path: str

    async def plain(self) -> trio.SocketStream:
        """A bare connection to the viewers' listener, each from the next address.

        One address has 28,000 ports: a flood from there alone runs dry after some seconds.
        """
        return await trio.open_tcp_stream(HOST, self.viewer_port, local_address=next(SOURCES))

    async def viewer(self) -> TlsStream:
        """A viewer's connection."""
        context = client_context(f"{self.pki}/ca.pem")
        return await start_tls(await self.plain(), context, server_hostname="localhost")

    def request(self, token: str, length: int, more: str = "") -> bytes:
        """The head of a tail's request."""
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/connect+proto\r\nContent-Length: {length}\r\n{more}\r\n"
        ).encode()

    async def agent(self) -> TlsStream:
        """A hostile agent's connection, its tunnel authenticated; raw WebSocket frames follow."""
        names = ("ca.pem", "agent-globex-c1.pem", "agent-globex-c1.key")
        context = client_context(*(f"{self.pki}/{name}" for name in names))
        stream = await start_tls(
            await trio.open_tcp_stream(HOST, self.agent_port),
            context,
            server_hostname="localhost",
        )
        await connect_websocket(stream, host="localhost")
        token = Payload(self.agent_token.encode())
        hello = Hello("globex", "c1", "attacker")
        core = Connection(Role.DIALER, hello, TunnelSettings(), now=0.0, token=token)
        await stream.send_all(b"".join(encode(core.frames_to_send(), mask=True)))
        await stream.receive_some()
        return stream


async def crowd(count: int, one: Callable[[], Awaitable[None]]) -> None:
    """Run so many of the same, each again and again."""

    async def for_ever() -> None:
        while True:
            with suppress(*ENDED, ExceptionGroup):
                await one()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(for_ever)


async def drip(stream: trio.abc.Stream, data: bytes) -> None:
    """Send a byte now and then."""
    for at in range(len(data)):
        await stream.send_all(data[at : at + 1])
        await trio.sleep(0.1)


async def slow_heads(target: Target) -> None:
    async def one() -> None:
        await drip(await target.viewer(), target.request(target.unknown_token, 5))

    await crowd(150, one)


async def slow_bodies(target: Target) -> None:
    async def one() -> None:
        stream = await target.viewer()
        await stream.send_all(target.request(target.viewer_token, 10_000))
        await drip(stream, bytes(10_000))

    await crowd(100, one)


async def slow_readers(target: Target) -> None:
    async def one() -> None:
        stream = await target.viewer()
        await stream.send_all(target.request(target.viewer_token, 5) + b"flood")
        await trio.sleep_forever()

    await crowd(20, one)


async def connections(target: Target) -> None:
    async def one() -> None:
        await trio.aclose_forcefully(await target.plain())

    await crowd(20, one)


async def tls_garbage(target: Target) -> None:
    async def one() -> None:
        stream = await target.plain()
        await stream.send_all(b"\x16\x03\x01\x20\x00" + os.urandom(8_192))
        await stream.receive_some()

    await crowd(20, one)


async def handshakes(target: Target) -> None:
    async def one() -> None:
        await trio.aclose_forcefully(await target.viewer())

    await crowd(20, one)


async def unknown_keys(target: Target) -> None:
    await requests(target, target.request(target.unknown_token, 1) + b"x")


async def forged_tokens(target: Target) -> None:
    await requests(target, target.request(target.forged_token, 1) + b"x")


async def nonsense(target: Target) -> None:
    await requests(target, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


async def requests(target: Target, request: bytes) -> None:
    """Pipeline a request without end, reading what is answered."""

    async def one() -> None:
        stream = await target.viewer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on, stream)
            while True:
                await stream.send_all(request * (BLOCK_BYTES // len(request)))

    await crowd(3, one)


async def read_on(stream: trio.abc.Stream) -> None:
    """Read and forget, as long as there is something."""
    while await stream.receive_some(BLOCK_BYTES):
        pass
    raise trio.BrokenResourceError


async def frames(target: Target, block: Callable[[], bytes], *, reads: bool = True) -> None:
    """Send frames on a tunnel without end; a new one when it is ended."""

    async def one() -> None:
        stream = await target.agent()
        async with trio.open_nursery() as nursery:
            if reads:
                nursery.start_soon(read_on, stream)
            while True:
                await stream.send_all(block())

    await crowd(1, one)


def raw(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked WebSocket frame."""
    return bytes(Frame(opcode, data, fin).serialize(mask=True))


def repeated(one: bytes) -> Callable[[], bytes]:
    """About 64 KiB of the same."""
    block = one * max(1, BLOCK_BYTES // len(one))
    return lambda: block


def resets() -> Callable[[], bytes]:
    """Streams that are opened and reset at once, each a new one."""
    head = RequestHead("POST", "/a.B/C", Scope("globex", "-", "-", "c1"), "agent:c1", ()).encode()
    opened = U16.pack(len(head)) + head
    last = 1

    def block() -> bytes:
        nonlocal last
        data = b""
        for _ in range(200):
            data += raw(Opcode.BINARY, bytes(frame(FrameType.OPEN, last, opened)))
            data += raw(Opcode.BINARY, bytes(frame(FrameType.RESET, last, U16.pack(11))))
            last += 2
        return data

    return block


FLOODS: dict[str, Callable[[Target], Awaitable[None]]] = {
    "slow heads": slow_heads,
    "slow bodies": slow_bodies,
    "slow readers": slow_readers,
    "connections": connections,
    "tls garbage": tls_garbage,
    "handshakes": handshakes,
    "unknown keys": unknown_keys,
    "forged tokens": forged_tokens,
    "nonsense": nonsense,
    "pings": partial(frames, block=repeated(raw(Opcode.PING, bytes(8)))),
    "pings, deaf": partial(frames, block=repeated(raw(Opcode.PING, bytes(125))), reads=False),
    "tiny frames": partial(
        frames,
        block=repeated(raw(Opcode.BINARY, bytes(frame(FrameType.PING, payload=bytes(8))))),
    ),
    "empty fragments": partial(frames, block=repeated(raw(Opcode.BINARY, fin=False))),
    "big frames": partial(frames, block=repeated(raw(Opcode.BINARY, bytes(100_000)))),
    "resets": lambda target: frames(target, resets()),
}


async def main(name: str, target: Target) -> None:
    """Attack until standard input ends."""
    print(json.dumps({"attacking": name}), flush=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(FLOODS[name], target)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    os.nice(NICE)
    trio.run(main, sys.argv[1], Target(**json.loads(Path(sys.argv[2]).read_text())))
