"""The public listener on real sockets: attacks get an error, clients beside them notice nothing."""

from __future__ import annotations

import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from test_control_guard import ATTACKS, CHUNK_ATTACKS, GET
from trio.testing import MockClock

from planesplit.pki import Authority
from planesplit.split.memory_http import StreamTransport
from planesplit.split.memory_stream import memory_stream_pair
from tunnel.http.server import HttpServer, open_listener
from tunnel.http.settings import HttpLimits
from tunnel.journal import Journal
from tunnel.tls import client_context, server_context, start_tls


class App:
    """Answers what it can: an echo, a stream without end, a wait."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.cancelled = trio.Event()
        self.waiting = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        if scope["path"] == "/unread":
            await _answer(send, b"did not read the body")
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        match scope["path"]:
            case "/flood":
                await _flood(send)
            case "/wait":
                self.waiting.set()
                try:
                    await receive()  # returns when the client has left
                    await trio.sleep(60)
                finally:
                    self.cancelled.set()
            case _:
                await _answer(send, body or b"ok")


async def _answer(send: Any, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _flood(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts streams in memory, so that a server's limits run in simulated time."""

    def __init__(self) -> None:
        self._opened, self._accepted = trio.open_memory_channel[trio.abc.Stream](0)

    async def connect(self) -> trio.abc.Stream:
        near, far = memory_stream_pair()
        await self._opened.send(far)
        return near

    async def accept(self) -> trio.abc.Stream:
        return await self._accepted.receive()

    async def aclose(self) -> None:
        self._accepted.close()
        await trio.lowlevel.checkpoint()


class Served:
    """A server that runs, on a socket or in memory."""

    def __init__(self, listener: Any, app: App, stopping: trio.Event, stopped: trio.Event) -> None:
        self._memory = listener if isinstance(listener, MemoryListener) else None
        self.port = 0 if self._memory else listener.socket.getsockname()[1]
        self.app, self.stopping, self.stopped = app, stopping, stopped

    async def connect(self) -> Any:
        """Open a bare connection."""
        if self._memory:
            return await self._memory.connect()
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    def transport(self) -> httpx.AsyncBaseTransport | None:
        """Return what carries httpx's requests; None for sockets."""
        return StreamTransport(self.connect) if self._memory else None

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes, return everything that comes back until the server closes."""
        stream, received = await self.connect(), b""
        with trio.fail_after(60):
            async with stream:
                try:
                    await stream.send_all(data)
                    while piece := await stream.receive_some():
                        received += piece
                except trio.BrokenResourceError:
                    pass
        return received


@asynccontextmanager
async def serving(
    limits: HttpLimits | None = None,
    context: ssl.SSLContext | None = None,
    listener: MemoryListener | None = None,
) -> AsyncIterator[Served]:
    app, stopping, stopped = App(), trio.Event(), trio.Event()
    at: Any = listener or await open_listener("127.0.0.1", 0)
    journal = Journal("control_stub", write=lambda line: None)
    server = HttpServer(app, limits or HttpLimits(), context, journal)

    async def serve(*, task_status: Any) -> None:
        await server.serve(at, stopping, task_status=task_status)
        stopped.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield Served(at, app, stopping, stopped)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def healthy_client(served: Served, pause_s: float = 0.005) -> AsyncIterator[None]:
    """Use one kept-alive connection all the while; fails if it notices anything."""
    transport = served.transport()
    base = f"http://127.0.0.1:{served.port}"
    done = False
    async with httpx.AsyncClient(base_url=base, transport=transport, trust_env=False) as client:

        async def call() -> None:
            count = 0
            while not done or count == 0:
                response = await client.post("/healthy", content=str(count))
                assert (response.status_code, response.text) == (200, str(count))
                count += 1
                await trio.sleep(pause_s)

        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                yield
                done = True


async def test_attacks_are_refused_beside_a_healthy_client() -> None:
    async with serving() as served, healthy_client(served):
        for name, attack in ATTACKS.items():
            answer = await served.exchange(attack)
            assert answer.startswith(b"HTTP/1.1 400 "), name
            assert b"connection: close" in answer.lower(), name
            assert answer.count(b"HTTP/1.1") == 1, name
        assert set(served.app.paths) == {"/healthy"}


async def test_attacks_on_a_kept_alive_connection_are_refused() -> None:
    async with serving() as served, healthy_client(served):
        for name, attack in ATTACKS.items():
            answer = await served.exchange(GET + attack)
            assert answer.startswith(b"HTTP/1.1 200 "), name
            assert answer.count(b"HTTP/1.1 400 ") == 1, name
        assert set(served.app.paths) == {"/healthy", "/livez"}


async def test_broken_chunks_end_the_request() -> None:
    async with serving() as served, healthy_client(served):
        for name, attack in CHUNK_ATTACKS.items():
            answer = await served.exchange(attack)
            assert b"200 OK" not in answer.partition(b"\r\n")[0], name


async def test_the_request_that_kills_other_servers() -> None:
    """HTTP/2 by preface, answered before its body is read; and the same in HTTP/1.1."""
    settings_frame = b"\0\0\0\x04\0\0\0\0\0"
    headers_frame = b"\0\0\x04\x01\x04\0\0\0\x01\x83\x84\x86\x41"
    async with serving() as served, healthy_client(served):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings_frame + headers_frame
        assert (await served.exchange(preface)).startswith(b"HTTP/1.1 400 ")
        unread = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000
        stream = await served.connect()
        await stream.send_all(unread)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        await stream.aclose()


async def test_requests_are_answered_in_order_on_one_connection() -> None:
    chunked = (
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    )
    last = b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nend"
    async with serving() as served:
        answer = await served.exchange(chunked + GET + last)
        assert answer.count(b"HTTP/1.1 200") == 3
        assert answer.index(b"onetwo") < answer.index(b"ok") < answer.index(b"end")


async def test_silent_clients_are_cut_off(autojump_clock: MockClock) -> None:
    async with serving(listener=MemoryListener()) as served, healthy_client(served, 1.0):
        assert await served.exchange(b"") == b""
        assert await served.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n") == b""


SLOW_BODY = {
    "time": HttpLimits(body_idle_s=600, idle_s=600),
    "patience": HttpLimits(request_s=600, idle_s=600),
}


@pytest.mark.parametrize("limits", SLOW_BODY.values(), ids=SLOW_BODY)
async def test_a_slow_body_is_cut_off(limits: HttpLimits, autojump_clock: MockClock) -> None:
    """By the time for a body, and by the patience with one that does not move."""
    half = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"
    async with serving(limits, listener=MemoryListener()) as served, healthy_client(served, 1.0):
        assert b" 200 " not in await served.exchange(half)


async def test_a_client_that_never_reads_is_cut_off(autojump_clock: MockClock) -> None:
    async with serving(listener=MemoryListener()) as served, healthy_client(served, 1.0):
        stream = await served.connect()
        await stream.send_all(GET.replace(b"/livez", b"/flood"))
        with trio.fail_after(60):
            await _until_reset(stream)
        await stream.aclose()


async def _read_until(stream: trio.abc.Stream, end: bytes) -> None:
    received = b""
    with trio.fail_after(10):
        while not received.endswith(end):
            piece = await stream.receive_some()
            assert piece
            received += piece


async def _until_reset(stream: trio.abc.Stream) -> None:
    """Wait until the server has given a connection up."""
    try:
        while True:
            await stream.send_all(b"x")
            await trio.sleep(1)
    except trio.BrokenResourceError:
        pass


async def test_a_request_is_cancelled_when_its_client_leaves() -> None:
    async with serving() as served:
        stream = await served.connect()
        await stream.send_all(GET.replace(b"/livez", b"/wait"))
        with trio.fail_after(5):
            await served.app.waiting.wait()
            await stream.aclose()
            await served.app.cancelled.wait()


class Scarce(MemoryListener):
    """Has no descriptor for the next connection, now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 3

    async def accept(self) -> trio.abc.Stream:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return await super().accept()


async def test_a_lack_of_descriptors_is_waited_out(autojump_clock: MockClock) -> None:
    listener = Scarce()
    async with serving(listener=listener) as served:
        assert (await served.exchange(GET)).startswith(b"HTTP/1.1 200")
        listener.failures = 3
        assert (await served.exchange(GET)).startswith(b"HTTP/1.1 200")


async def test_connections_are_bounded() -> None:
    async with serving(HttpLimits(connections=2)) as served:
        first, second = await served.connect(), await served.connect()
        for stream in (first, second):
            await stream.send_all(GET)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        assert await served.exchange(GET) == b""
        await first.aclose()
        with trio.fail_after(5):
            while not (await served.exchange(GET[:-2] + b"Connection: close\r\n\r\n")):
                await trio.sleep(0.01)
        await second.aclose()


async def test_stopping_lets_requests_end_and_closes_idle_connections() -> None:
    async with serving(HttpLimits(grace_s=20)) as served:
        idle, busy = await served.connect(), await served.connect()
        await idle.send_all(GET)
        await _read_until(idle, b"ok")
        await busy.send_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha")
        await trio.sleep(0.02)
        served.stopping.set()
        await trio.sleep(0.02)
        with pytest.raises(OSError, match="connect"):
            await served.connect()
        await busy.send_all(b"lf")
        await _read_until(busy, b"half")
        with trio.fail_after(10):  # of the 20 s of grace: nothing waited for them
            await served.stopped.wait()
            assert await idle.receive_some() == b""
        await idle.aclose()
        await busy.aclose()


async def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    leaf = authority.server("control")
    context = server_context(str(leaf.cert_file), str(leaf.key_file))
    trust = client_context(str(authority.ca_file))
    async with serving(HttpLimits(handshake_s=0.2), context) as served:
        assert await served.exchange(b"") == b""  # no handshake in time
    async with serving(context=context) as served:
        base = f"https://localhost:{served.port}"
        async with httpx.AsyncClient(base_url=base, verify=trust, trust_env=False) as client:
            response = await client.post("/a", content=b"x" * 100_000)
            assert response.content == b"x" * 100_000
            assert response.http_version == "HTTP/1.1"
            assert await served.exchange(GET) == b""  # plain HTTP at a TLS port
            stream = await start_tls(await served.connect(), trust, server_hostname="localhost")
            await stream.send_all(ATTACKS["content-length and transfer-encoding"])
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")
            await stream.aclose()
            assert (await client.get("/b")).status_code == 200
