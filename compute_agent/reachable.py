"""Whether the parts of the customer's plane answer: cheap requests, any answer counts."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx

from compute_agent.clickhouse import ClickHouseSettings
from compute_agent.health import Check
from compute_agent.objects.settings import ObjectSettings
from tunnel.health import CLICKHOUSE_UNREACHABLE, OBJECT_STORE_UNREACHABLE
from tunnel.tls import client_context

PING = "/ping"  # ClickHouse answers it without a password
PING_ANSWER = b"Ok."


def checks(clickhouse: ClickHouseSettings, objects: ObjectSettings | None) -> dict[str, Check]:
    """Return a check of each part that is configured."""
    made: dict[str, Check] = {}
    if clickhouse.url:
        url = clickhouse.url.rstrip("/") + PING
        made[CLICKHOUSE_UNREACHABLE] = _check(
            url, clickhouse.ca_file, lambda answer: answer.content.startswith(PING_ANSWER)
        )
    if objects is not None and objects.endpoint_url:
        # Unsigned, so it is refused; whoever refuses is there.
        made[OBJECT_STORE_UNREACHABLE] = _check(
            objects.endpoint_url, objects.ca_file, lambda answer: not answer.is_server_error
        )
    return made


def _check(url: str, ca_file: str, good: Callable[[httpx.Response], bool]) -> Check:
    context: ssl.SSLContext | bool = (
        client_context(ca_file or None) if url[:5] == "https" else False
    )

    async def check() -> bool:
        try:
            async with httpx.AsyncClient(verify=context, trust_env=False) as http:
                return good(await http.get(url))
        except httpx.HTTPError:
            return False

    return check
