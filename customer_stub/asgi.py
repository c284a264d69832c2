"""What the stores' ASGI applications share: answers, files as bodies, bodies that are drained."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from tunnel.http.disconnect import until_disconnected
from tunnel.journal import Journal

BLOCK_BYTES = 262_144  # read and sent at once; what a download holds in memory
DRAIN_BYTES = 1_048_576  # of a refused upload are read, so that its sender gets to see the answer
DRAIN_S = 1.0

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Body:
    """A request's messages, and what is left of them."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._more = receive, True

    async def __call__(self) -> dict[str, Any]:
        """Return the next message."""
        message = await self._receive()
        self._more = bool(message.get("more_body", False))
        return message

    async def drain(self) -> None:
        """Read on for a moment: who still writes would otherwise be reset before he reads."""
        left = DRAIN_BYTES
        with trio.move_on_after(DRAIN_S):
            while self._more and left > 0:
                left -= len((await self()).get("body", b""))


@dataclass(slots=True)
class FilePart:
    """A part of an open file, to be sent and closed.

    Args:
        descriptor: of the file.
        start, size_bytes: the part.
        sent: told of bytes as they go out.
    """

    descriptor: int
    start: int
    size_bytes: int
    sent: Callable[[int], None]


@dataclass(slots=True)
class Answer:
    """Status, headers (lower-case names) and body of an answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: FilePart | None = None


async def send_answer(answer: Answer, receive: Receive, send: Send, *, head: bool) -> None:
    """Send an answer; `head` leaves the body out, but not its length."""
    size = answer.file.size_bytes if answer.file else len(answer.body)
    headers = (
        answer.headers if answer.status == 304 else {"content-length": str(size), **answer.headers}
    )
    raw = [(name.encode(), value.encode("utf-8")) for name, value in headers.items()]
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        if answer.file and not head:
            await _send_file(answer.file, receive, send)
        else:
            await send(_body(b"" if head else answer.body, more=False))
    finally:
        if answer.file:
            os.close(answer.file.descriptor)


async def _send_file(part: FilePart, receive: Receive, send: Send) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_disconnected, receive, nursery.cancel_scope)
        position, end = part.start, part.start + part.size_bytes
        while position < end:
            data = os.pread(part.descriptor, min(BLOCK_BYTES, end - position), position)
            if not data:
                raise OSError("an object's file is shorter than its index says")
            position += len(data)
            await send(_body(data, more=True))
            part.sent(len(data))
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    if position == end:
        await send(_body(b"", more=False))


def _body(data: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}


class StoreApp:
    """Answers HTTP requests by what `_answer` makes of them.

    Args:
        max_requests: at once; `_free` is below 0 for those beyond.
        journal: told of our own failures.
    """

    def __init__(self, max_requests: int, journal: Journal) -> None:
        self._free, self._journal = max_requests, journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; it counts as under way until its answer has been taken."""
        body = Body(receive)
        self._free -= 1
        try:
            answer = await self._answer(scope, body)
            await send_answer(answer, receive, send, head=scope["method"] == "HEAD")
        except Exception as problem:
            self._journal.event("internal_error", kind=type(problem).__name__)
            raise  # the server answers 500
        finally:
            self._free += 1

    async def _answer(self, scope: Scope, body: Body) -> Answer:
        raise NotImplementedError
