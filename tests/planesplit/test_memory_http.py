"""HTTP in memory: answers stream, clients that leave are noticed, absent servers are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from planesplit.split.memory_http import AsgiTransport, StreamTransport
from planesplit.split.memory_stream import MemoryStream, memory_stream_pair

PATIENCE_S = 5


class App:
    """An application that echoes, streams, breaks or waits, by path."""

    def __init__(self) -> None:
        self.go_on, self.left = trio.Event(), trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"x-path", scope["raw_path"])],
            }
        )
        if scope["path"] == "/echo":
            await send({"type": "http.response.body", "body": body + scope["query_string"]})
            return
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        if scope["path"] == "/breaks":
            raise ZeroDivisionError
        try:
            await self.go_on.wait()
        finally:
            self.left.set()
        await send({"type": "http.response.body", "body": b"second"})


@asynccontextmanager
async def calling(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with trio.open_nursery() as nursery:
        transport = AsgiTransport(lambda: app, nursery.start_soon)
        with trio.fail_after(PATIENCE_S):
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
                yield http
        nursery.cancel_scope.cancel()


async def test_a_whole_answer() -> None:
    async with calling(App()) as http:
        answer = await http.post("/echo?q=1", content=b"body ")
        assert (answer.status_code, answer.content) == (200, b"body q=1")
        assert answer.headers["x-path"] == "/echo"


async def test_an_answer_streams_as_it_is_made() -> None:
    app = App()
    async with calling(app) as http, http.stream("GET", "/stream") as answer:
        chunks = answer.aiter_raw()
        assert await anext(chunks) == b"first"
        app.go_on.set()
        assert await anext(chunks) == b"second"
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_a_client_that_leaves_ends_the_application() -> None:
    app = App()
    async with calling(app) as http:
        async with http.stream("GET", "/stream") as answer:
            assert await anext(answer.aiter_raw()) == b"first"
        await app.left.wait()


async def test_an_application_that_breaks_breaks_its_answer() -> None:
    async with calling(App()) as http:
        with pytest.raises(httpx.ReadError):
            await http.get("/breaks")


async def test_a_silent_application_times_out() -> None:
    async with calling(App()) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/stream", timeout=0.02)


async def test_an_absent_server_refuses() -> None:
    def nowhere(*_: object) -> None:
        raise ConnectionRefusedError

    async def no_stream() -> trio.abc.Stream:
        raise ConnectionRefusedError

    for transport in (AsgiTransport(App, nowhere), StreamTransport(no_stream)):
        async with httpx.AsyncClient(transport=transport) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("http://server/")


@asynccontextmanager
async def served(answer: bytes, *, reset: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that reads one request and answers with these bytes."""
    async with trio.open_nursery() as nursery:

        async def serve(stream: MemoryStream) -> None:
            await stream.receive_some()
            await stream.send_all(answer)
            if reset:
                await trio.testing.wait_all_tasks_blocked()
                stream.reset_on_close()
                await stream.aclose()

        async def connect() -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            nursery.start_soon(serve, theirs)
            return ours

        with trio.fail_after(PATIENCE_S):
            async with httpx.AsyncClient(transport=StreamTransport(connect)) as http:
                yield http
        nursery.cancel_scope.cancel()


async def test_http_over_a_stream() -> None:
    async with served(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok") as http:
        answer = await http.get("http://server/path")
        assert (answer.status_code, answer.content, answer.headers["x-a"]) == (201, b"ok", "b")


async def test_a_stream_that_breaks() -> None:
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", reset=True) as http:
        with pytest.raises(httpx.ReadError):
            await http.get("http://server/")
    async with served(b"nonsense\r\n\r\n") as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("http://server/")
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok") as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.get("http://server/", timeout=0.02)
