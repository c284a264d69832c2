"""The plain HTTP side of the public listener: routing and small answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tunnel.messages.rpc import AsgiApp, AsgiReceive, AsgiScope, AsgiSend

MAX_FORM_BYTES = 8192  # a grant, an id, a secret and a scope are a few hundred

Answer = tuple[int, Mapping[str, Any] | str, Mapping[str, str]]  # a mapping becomes JSON
Endpoint = Callable[[AsgiScope, AsgiReceive], Awaitable[Answer]]


class BodyTooLarge(Exception):
    """A form over MAX_FORM_BYTES, or a client that left before it was complete."""


def routes(endpoints: Mapping[tuple[str, str], Endpoint], otherwise: AsgiApp) -> AsgiApp:
    """Return an application that answers (method, path) itself and leaves the rest to another."""

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        endpoint = endpoints.get((scope.get("method", ""), scope.get("path", "")))
        if scope["type"] != "http" or endpoint is None:
            await otherwise(scope, receive, send)
            return
        status, body, headers = await endpoint(scope, receive)
        await _send(send, status, body, headers)

    return app


def fixed(document: Callable[[], Mapping[str, Any]]) -> Endpoint:
    """Return an endpoint that answers with a public document."""

    async def endpoint(_scope: AsgiScope, _receive: AsgiReceive) -> Answer:
        return 200, document(), {"cache-control": "max-age=60"}

    return endpoint


def header(scope: AsgiScope, name: bytes) -> str:
    """Return a request header, or an empty string."""
    return str(dict(scope["headers"]).get(name, b""), "latin-1")


async def read_form(receive: AsgiReceive) -> str:
    """Return a small body as text.

    Raises:
        BodyTooLarge: it is not small, or it never ended.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BodyTooLarge
        body += message.get("body", b"")
        if len(body) > MAX_FORM_BYTES:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return str(body, "latin-1")


async def _send(
    send: AsgiSend, status: int, content: Mapping[str, Any] | str, more: Mapping[str, str]
) -> None:
    text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":"))
    body = text.encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **more}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
