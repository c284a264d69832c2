"""Whether the parts of the customer's plane answer: cheap requests, a refusal counts too."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial

import httpx

from compute_agent.clickhouse import ClickHouseSettings
from compute_agent.health import Check
from compute_agent.objects.objects import Objects
from compute_agent.objects.signer import Identity
from compute_agent.objects.store import StoreError, StoreRefused
from tunnel.health import CLICKHOUSE_UNREACHABLE, OBJECT_STORE_UNREACHABLE
from tunnel.tls import client_context

PING = "/ping"  # ClickHouse answers it without a password
PING_ANSWER = b"Ok."


def checks(clickhouse: ClickHouseSettings, objects: Objects | None) -> dict[str, Check]:
    """Return a check of each part that is configured."""
    made: dict[str, Check] = {}
    if clickhouse.url:
        url = clickhouse.url.rstrip("/") + PING
        made[CLICKHOUSE_UNREACHABLE] = _check(
            url, clickhouse.ca_file, lambda answer: answer.content.startswith(PING_ANSWER)
        )
    if objects is not None:
        made[OBJECT_STORE_UNREACHABLE] = partial(_answers, objects)
    return made


async def _answers(objects: Objects) -> bool:
    """Look at the bucket, as Appendix E lets proxy-system; whoever refuses is there."""
    try:
        await objects.store.head_bucket(Identity.PROXY_SYSTEM, objects.layout.metadata)
    except StoreRefused:
        return True
    except StoreError:
        return False
    return True


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
