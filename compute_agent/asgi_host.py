"""Runs an ASGI application over one stream of the tunnel.

The stream's events become `http.request` and `http.disconnect`, the application's answer becomes
HEAD, DATA and END. Answers are in identity encoding: what encodings a client accepts is not passed
on, but for streams that may be compressed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any

from compute_agent.exchange import Body, current_answer, current_body, current_exchange
from tunnel.errors import Code, StreamReset
from tunnel.events import Data, End, Event, Reset
from tunnel.exchange import RESPONSE_HEADERS, RequestHead, ResponseHead, allowed
from tunnel.messages.rpc import AsgiApp, AsgiScope
from tunnel.row_counts import Direction
from tunnel.stream import Stream

STREAM_ENCODINGS = "connect-accept-encoding"
STREAM_TYPE, STREAM_ENCODING = "application/connect+proto", "connect-content-encoding"
IDENTITY = "identity"
NOT_PASSED_ON = frozenset({"accept-encoding", STREAM_ENCODINGS})

Message = MutableMapping[str, Any]
Count = Callable[[Direction, int], None]


async def serve(app: AsgiApp, stream: Stream, count: Count, *, compressed: bool = False) -> None:
    """Let `app` answer one exchange. The session cancels it when the stream is reset.

    Args:
        app: the application.
        stream: the exchange.
        count: told direction and size of every piece of body.
        compressed: whether messages of a stream may be compressed, if the client asks for it.

    Raises:
        Exception: whatever the application raises; the stream is reset then.
    """
    current_exchange.set(stream)
    checked = Body(stream.request.path)
    current_body.set(checked)
    request, response = _Request(stream, count, checked), _Response(stream, count)
    current_answer.set(response)
    try:
        await app(_scope(stream.request, compressed), request.receive, response.send)
    except StreamReset:
        pass  # the other side is gone; there is nobody to tell
    except Exception:
        stream.reset(Code.INTERNAL)
        raise
    else:
        if not response.ended:
            stream.reset(Code.INTERNAL)


class _Request:
    """The request's body, from the stream's events."""

    def __init__(self, stream: Stream, count: Count, checked: Body) -> None:
        self._stream, self._count, self._checked = stream, count, checked
        self._events: deque[Event] = deque()
        self._gone = False

    async def receive(self) -> Message:
        """ASGI receive."""
        while not self._gone:
            while not self._events:
                await self._stream.ready()
                self._events += self._stream.take()
            match self._events.popleft():
                case Data(view=view):
                    body = bytes(view)
                    self._stream.release(len(body))
                    self._count("up", len(body))
                    self._checked.feed(body)
                    return {"type": "http.request", "body": body, "more_body": True}
                case End():
                    self._checked.close()
                    return {"type": "http.request", "body": b"", "more_body": False}
                case Reset():
                    self._gone = True
        return {"type": "http.disconnect"}


class _Response:
    """The answer, into the stream."""

    def __init__(self, stream: Stream, count: Count) -> None:
        self._stream, self._count = stream, count
        self.open = self.ended = False

    def post(self, message: bytes, mark: bytes) -> bool:
        """See Answer."""
        if not self._stream.post(message, mark):
            return False
        self._count("down", len(message))
        return True

    def push(self) -> None:
        """See Answer."""
        self._stream.push()

    async def send(self, message: Message) -> None:
        """ASGI send."""
        if message["type"] == "http.response.start":
            headers = tuple((k.decode("ascii"), v.decode("latin-1")) for k, v in message["headers"])
            head = ResponseHead(message["status"], allowed(headers, RESPONSE_HEADERS))
            self._stream.head(head)
            encoding = head.get(STREAM_ENCODING, IDENTITY)
            self.open = head.get("content-type") == STREAM_TYPE and encoding == IDENTITY
        else:
            body = message.get("body", b"")
            await self._stream.send(body)
            self._count("down", len(body))
            if not message.get("more_body", False):
                self.open, self.ended = False, True
                self._stream.end()


def _scope(request: RequestHead, compressed: bool) -> AsgiScope:
    headers = [
        (name.encode("ascii"), value.encode("ascii"))
        for name, value in request.headers
        if name not in NOT_PASSED_ON or (compressed and name == STREAM_ENCODINGS)
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": request.path,
        "raw_path": request.path.encode("ascii"),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
    }
