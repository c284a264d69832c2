"""Counts what the control plane serves, each byte under its row of the white paper."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from tunnel.messages.rpc import AsgiApp, AsgiReceive, AsgiScope, AsgiSend
from tunnel.row_counts import RowCounts
from tunnel.rows import control_row

# Of no row: they say how the process fares, and nothing of anybody's data.
OPERATIONAL = frozenset({"/livez", "/readyz", "/metrics"})


def counted(app: AsgiApp, rows: RowCounts) -> AsgiApp:
    """Wrap an application: bodies are counted per row, and a path without a row does not exist."""

    async def wrapped(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OPERATIONAL:
            await app(scope, receive, send)
            return
        row = control_row(path)
        if row is None:
            await _not_found(send)
            return

        async def received() -> MutableMapping[str, Any]:
            message = await receive()
            rows.add(row, "up", len(message.get("body", b"")))
            return message

        async def sent(message: MutableMapping[str, Any]) -> None:
            await send(message)
            rows.add(row, "down", len(message.get("body", b"")))

        await app(scope, received, sent)

    return wrapped


async def _not_found(send: AsgiSend) -> None:
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
