"""Answers of the object store, and how they are sent: XML, nothing, or a part of a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from xml.sax.saxutils import escape

import trio

from customer_stub.objects.errors import S3Error
from customer_stub.objects.request import Receive, Send

BLOCK_BYTES = 262_144  # read and sent at once; what a download holds in memory
XML = "application/xml"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# Children of an XML element: text, or elements in order.
Xml = str | int | list[tuple[str, "Xml"]]


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


def xml(name: str, children: Xml, *, status: int = 200, namespace: bool = True) -> Answer:
    """Return an answer that is an XML document."""
    attribute = f' xmlns="{NAMESPACE}"' if namespace else ""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}{attribute}>{_inner(children)}</{name}>'
    return Answer(status, {"content-type": XML}, text.encode())


def error(problem: S3Error, request_id: str) -> Answer:
    """Return S3's XML of an error; it repeats nothing of the request."""
    children: Xml = [
        ("Code", problem.code),
        ("Message", problem.message),
        ("RequestId", request_id),
    ]
    return xml("Error", children, status=problem.status, namespace=False)


def http_date(at_s: int) -> str:
    """Format seconds since the epoch for HTTP."""
    return formatdate(at_s, usegmt=True)


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
        nursery.start_soon(_until_disconnected, receive, nursery.cancel_scope)
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


async def _until_disconnected(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _body(data: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _inner(children: Xml) -> str:
    if isinstance(children, list):
        return "".join(f"<{name}>{_inner(child)}</{name}>" for name, child in children)
    return escape(str(children))
