"""Notices that the client of an ASGI application has gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio


async def until_disconnected(
    receive: Callable[[], Awaitable[dict[str, Any]]], scope: trio.CancelScope
) -> None:
    """Cancel the scope when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
