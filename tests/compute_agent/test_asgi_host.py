from __future__ import annotations

import pytest
import trio

from compute_agent.asgi_host import serve
from compute_agent.exchange import current_answer, current_exchange
from tunnel.errors import Code, StreamReset
from tunnel.events import Data, End, Reset
from tunnel.exchange import RequestHead, Scope

HEAD = RequestHead(
    "POST",
    "/s.S/M",
    Scope("acme", "p", "d", "c1"),
    "alice",
    (("content-type", "application/proto"), ("accept-encoding", "gzip")),
)


def ignore(direction: str, count_bytes: int) -> None:
    """Count nothing."""


class FakeStream:
    """Follows tunnel.stream.Stream."""

    def __init__(self, *events) -> None:
        self.request, self.cursor = HEAD, b""
        self.inbox = list(events)
        self.arrived = trio.Event()
        self.released = 0
        self.sent: list[object] = []
        self.gone = False

    def deliver(self, event) -> None:
        self.inbox.append(event)
        self.arrived.set()

    async def ready(self) -> None:
        while not self.inbox:
            self.arrived = trio.Event()
            await self.arrived.wait()

    def take(self):
        inbox, self.inbox = self.inbox, []
        return inbox

    def release(self, count: int) -> None:
        self.released += count

    def head(self, head) -> None:
        self._put(head)

    async def send(self, data) -> None:
        self._put(bytes(data))

    def post(self, data, cursor: bytes) -> bool:
        if not self.gone:
            self._put((bytes(data), cursor))
        return not self.gone

    def push(self) -> None:
        self._put("push")

    def mark(self, cursor: bytes) -> None:
        self._put(("mark", cursor))

    def end(self) -> None:
        self._put("end")

    def reset(self, code: Code) -> None:
        self.sent.append(code)

    def _put(self, item) -> None:
        if self.gone:
            raise StreamReset
        self.sent.append(item)


START = {"type": "http.response.start", "status": 200, "headers": []}


def body(data: bytes, more: bool = False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_request_and_answer_cross():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["method"], scope["path"], scope["headers"]))
        while (message := await receive())["more_body"]:
            seen.append(message["body"])
        headers = [(b"Content-Type", b"text/x"), (b"set-cookie", b"secret")]
        await send({**START, "status": 201, "headers": headers})
        await send(body(b"hi", more=True))
        current_exchange.get().mark(b"cursor")
        await send(body(b"!"))

    stream = FakeStream(Data(memoryview(b"ab")), Data(memoryview(b"c")), End())
    counted = []
    await serve(
        app, stream, lambda direction, count_bytes: counted.append((direction, count_bytes))
    )
    assert counted == [("up", 2), ("up", 1), ("down", 2), ("down", 1)]
    assert seen == [("POST", "/s.S/M", [(b"content-type", b"application/proto")]), b"ab", b"c"]
    assert stream.released == 3
    head, *rest = stream.sent
    assert (head.status, head.headers) == (201, (("content-type", "text/x"),))
    assert rest == [b"hi", ("mark", b"cursor"), b"!", "end"]


async def test_application_learns_that_the_caller_has_left():
    messages = []

    async def app(scope, receive, send):
        messages.extend([await receive(), await receive(), await receive()])

    stream = FakeStream(End())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, app, stream, ignore)
        await trio.testing.wait_all_tasks_blocked()
        assert messages == []
        stream.deliver(Reset(Code.CANCELLED))
    assert [m["type"] for m in messages] == ["http.request", *["http.disconnect"] * 2]


async def test_answer_that_is_not_finished_is_aborted():
    async def app(scope, receive, send):
        await send(START)
        await send(body(b"half", more=True))

    stream = FakeStream()
    await serve(app, stream, ignore)
    assert stream.sent[-2:] == [b"half", Code.INTERNAL]


STREAM = (b"content-type", b"application/connect+proto")
PLAIN, PACKED = (b"connect-content-encoding", b"identity"), (b"connect-content-encoding", b"gzip")


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ([STREAM], True),
        ([STREAM, PLAIN], True),
        ([STREAM, PACKED], False),
        ([(b"content-type", b"application/connect+json")], False),
        ([(b"content-type", b"application/proto")], False),
    ],
)
async def test_messages_may_pass_the_application_while_it_waits(headers, may: bool):
    seen, counted = [], []

    async def app(scope, receive, send):
        answer = current_answer.get()
        seen.append(answer.open)
        await send({**START, "headers": headers})
        seen.append(answer.open)
        if answer.open:
            assert answer.post(b"message", b"mark")
            answer.push()
            stream.gone = True
            assert not answer.post(b"more", b"mark")
            stream.gone = False
        await send(body(b"end"))
        seen.append(answer.open)

    stream = FakeStream()
    await serve(app, stream, lambda direction, size: counted.append((direction, size)))
    assert seen == [False, may, False]
    posted = [(b"message", b"mark"), "push"] if may else []
    assert stream.sent[1:] == [*posted, b"end", "end"]
    assert counted == [("down", 7)] * may + [("down", 3)]


async def test_failing_application_aborts_and_tells():
    async def app(scope, receive, send):
        raise RuntimeError("boom")

    stream = FakeStream()
    with pytest.raises(RuntimeError):
        await serve(app, stream, ignore)
    assert stream.sent == [Code.INTERNAL]


async def test_sending_to_a_reset_stream_is_no_error():
    async def app(scope, receive, send):
        await send(START)

    stream = FakeStream()
    stream.gone = True
    await serve(app, stream, ignore)
    assert stream.sent == []
