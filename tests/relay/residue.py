"""A relay process of its own, what is driven through it, and what its memory holds afterwards."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from stage import ANSWER, Client, agent_token, bearer, bound, message, policy

from planesplit.pki import Authority
from tunnel.errors import TunnelError
from tunnel.events import Data, End, Reset
from tunnel.exchange import ResponseHead
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.tls import client_context, start_tls
from tunnel.websocket import connect_websocket

SCOPE = "/r/acme/p/d/c1"
PIECE_BYTES = 1_048_576
SETTLE_S = 5.0
UNARY = ResponseHead(200, (("content-type", "application/proto"),))
Play = Callable[[Stream], Awaitable[None]]


@dataclass(frozen=True)
class Found:
    """Where in a process a canary lies; never the canary itself."""

    region: str
    address: int
    before: str  # the 8 octets in front of it

    def __str__(self) -> str:
        return f"{self.region} {self.address:#x} after {self.before}"


class Canary:
    """Payload that can be recognised: a random word every 32 octets."""

    def __init__(self) -> None:
        self.word = secrets.token_hex(8).encode()

    def __call__(self, size: int) -> bytes:
        text = b"".join(self.word + b"%015d\n" % i for i in range(size // 32 + 1))
        return text[:size]


def scan(pid: int, word: bytes) -> list[Found]:
    """Look for a word in all writable memory of a process."""
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, _, _, inode, *path = line.split(maxsplit=5)
            if not rights.startswith("rw") or inode != "0":
                continue
            low, high = (int(end, 16) for end in span.split("-"))
            region = path[0].strip() if path else "anonymous"
            for start in range(low, high, PIECE_BYTES):
                with suppress(OSError):
                    size = min(PIECE_BYTES + len(word), high - start)
                    data = os.pread(memory.fileno(), size, start)
                    found += [
                        Found(
                            region, start + hit.start(), data[max(hit.start() - 8, 0) :][:8].hex()
                        )
                        for hit in re.finditer(re.escape(word), data)
                    ]
    return found


class Bench:
    """A relay, an agent that plays what it is told, and viewers.

    Args:
        nursery: where the agent runs.
        process, ready: the relay.
        pki: directory of certificates, None without TLS.
    """

    def __init__(self, nursery, process, ready, pki: Path | None) -> None:
        self._nursery, self._ready, self._pki = nursery, ready, pki
        self.pid = process.pid
        self.play: Play = trio.lowlevel.checkpoint  # type: ignore[assignment]
        self.session: Session | None = None
        self.wire: trio.abc.Stream | None = None

    async def push(self) -> None:
        """Give the relay a policy in which ann may do everything."""
        admin = {"role": "Admin", "org": "acme", "project": "*", "domain": "*"}
        bindings = [{"subject": who, **admin} for who in ("ann", "demo")]
        clusters = [{"org": "acme", "cluster": "c1", "enabled": True}]
        body = json.dumps(policy(bindings=bindings, clusters=clusters)).encode()
        control = Client(await self.connect("control_port", "control-client"))
        assert (await control.ask("PUT", "/v1/policy", body)).status_code == 204

    async def connect(self, port: str, name: str | None = None) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream("127.0.0.1", self._ready[port])
        if self._pki is None:
            return stream
        files = (str(self._pki / f"{name}.pem"), str(self._pki / f"{name}.key")) if name else ()
        context = client_context(str(self._pki / "ca.pem"), *files)
        return await start_tls(stream, context, server_hostname="localhost")

    async def dial(self) -> None:
        """Open the agent's tunnel, again if there was one."""
        self.wire = await self.connect("agent_port", "agent-acme-c1")
        transport = await connect_websocket(self.wire, host="localhost")
        claims = bound(self._pki) if self._pki else {}
        token = Payload(agent_token(**times(), **claims).encode())
        hello = Hello("acme", "c1", "agent-1", epoch=time.time_ns())
        self.session = Session(transport, hello=hello, settings=TunnelSettings(), token=token)
        await self._nursery.start(self.session.serve, self._handle)

    async def _handle(self, stream: Stream) -> None:
        with suppress(TunnelError):
            await self.play(stream)

    async def ask(self, path: str, body: bytes, kind: str, **headers: str) -> Client:
        """Send a request as a viewer."""
        client = Client(await self.connect("viewer_port"))
        fields = bearer(content_type=kind, **times()) | headers
        await client.send("POST", path, body, fields)
        return client

    async def clean(self, word: bytes) -> list[Found]:
        """Scan until nothing is found, for a few seconds; what is left then stays."""
        give_up = time.monotonic() + SETTLE_S
        while (found := scan(self.pid, word)) and time.monotonic() < give_up:
            await trio.sleep(0.1)
        return found


def times() -> dict[str, int]:
    return {"iat": int(time.time()), "exp": int(time.time()) + 60}


def config(pki: Path | None) -> str:
    """Return a relay's configuration; unsealed, so that an ordinary user may look."""
    sealing = '[seal]\nmode = "off"\n'
    if pki is None:
        return "insecure = true\n" + sealing
    authority = Authority(pki)
    authority.server("relay")
    authority.agent("acme", "c1")
    authority.control()
    files = {"cert_file": "relay.pem", "key_file": "relay.key", "ca_file": "ca.pem"}
    return sealing + "[tls]\n" + "".join(f'{k} = "{pki / name}"\n' for k, name in files.items())


@asynccontextmanager
async def bench(
    directory: Path,
    *,
    tls: bool,
    program: tuple[str, ...] = ("-m", "relay"),
    environment: tuple[str, ...] = (),
) -> AsyncIterator[Bench]:
    """Start a relay and its agent; `program` may be another relay than ours."""
    pki = directory / "pki" if tls else None
    file = directory / "relay.toml"
    file.write_text(config(pki))
    command = ["env", *environment, sys.executable, *program, "--config", str(file)]
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        start = partial(trio.run_process, command, stdout=-1, stderr=-3, check=False)
        process = await nursery.start(start)
        line = b""
        while not line.endswith(b"\n"):
            piece = await process.stdout.receive_some(1)
            assert piece, "the relay said nothing"
            line += piece
        theatre = Bench(nursery, process, json.loads(line), pki)
        await theatre.push()
        await theatre.dial()
        try:
            yield theatre
        finally:
            process.send_signal(signal.SIGKILL)
            nursery.cancel_scope.cancel()


async def request_of(stream: Stream) -> bytes:
    """Read a whole request."""
    body = b""
    while True:
        await stream.ready()
        for event in stream.take():
            if isinstance(event, (End, Reset)):
                return body
            if isinstance(event, Data):
                body += event.view
                stream.release(len(event.view))


def tail_of(units: list[bytes], *, end: bool = True) -> Play:
    """An agent that answers a tail with units."""

    async def play(stream: Stream) -> None:
        await request_of(stream)
        stream.head(ANSWER)
        for number, unit in enumerate(units):
            await stream.send(message(unit))
            stream.mark(str(number).encode())
        if end:
            stream.end()
            await stream.flushed()
        else:
            await trio.sleep_forever()

    return play


def answer_with(body: bytes, asked: list[bytes]) -> Play:
    """An agent that answers with a body and notes what it was asked."""

    async def play(stream: Stream) -> None:
        asked.append(await request_of(stream))
        stream.head(UNARY)
        await stream.send(body)
        stream.end()
        await stream.flushed()

    return play
