"""The customer's operator: fetches the agent's token and the issuer's keys, and keeps them fresh.

The agent never talks to the control plane itself; it polls the files that are written here. So what
it trusts does not come through the relay.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import trio

from planesplit.connect_client import ConnectError
from planesplit.pki import Renewal
from planesplit.ready import write_atomically
from planesplit.split.site import THUMBPRINT, Site
from planesplit.tokens import FRESH_FRACTION, Token, Tokens

TUNNEL_SCOPE = "tunnel"
JWKS_PATH = "/.well-known/jwks.json"
KEYS_POLL_S = 20.0  # a new key is published for a minute before it signs
TOKEN_POLL_S = 20.0  # so an agent that was shut out is back soon after it is let in again
RETRY_S = 0.2
RETRY_MOST_S = 5.0


async def operate(
    http: httpx.AsyncClient,
    control_url: str,
    site: Site,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep everything fresh that a cluster's agent reads, until cancelled.

    Args:
        http: client that trusts the control plane's CA.
        control_url: base URL of the control plane.
        site: the cluster.
        task_status: `started()` when all of it is there.
    """
    tokens = _tokens(http, control_url, site, site.binding)
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_issuer, http, control_url, site.issuer_file)
        await nursery.start(keep_token, tokens, site.agent_token, site.token_lock)
        task_status.started()


async def renew_certificate(
    http: httpx.AsyncClient, control_url: str, site: Site, renewal: Renewal
) -> None:
    """Put another certificate of a cluster's agent in place, and a token that belongs to it.

    Raises:
        ConnectError: there is no token to be had; everything stays as it was.
    """
    tokens = _tokens(http, control_url, site, lambda: {THUMBPRINT: renewal.thumbprint})
    async with site.token_lock:
        token = await tokens.fetch()
        renewal.install()
        write_atomically(site.agent_token, token.value + "\n")


def _tokens(
    http: httpx.AsyncClient, control_url: str, site: Site, binding: Callable[[], dict[str, str]]
) -> Tokens:
    client = site.agent_client
    secret_file = site.secret_file(client)
    return Tokens(http, control_url, client, secret_file, scope=TUNNEL_SCOPE, parameters=binding)


async def keep_token(
    tokens: Tokens,
    file: Path,
    lock: trio.Lock,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Write a token to a file, and a new one at half of its life or sooner, until cancelled.

    Args:
        tokens: fetches for the agent's client.
        file: replaced as a whole; mode 0600.
        lock: held from asking for a token until it is written.
        task_status: `started()` when the first token is there.
    """
    while True:
        token = await _fetch(tokens, file, lock)
        task_status.started()
        task_status = trio.TASK_STATUS_IGNORED
        await trio.sleep(min(token.life_s * FRESH_FRACTION, TOKEN_POLL_S))


async def keep_issuer(
    http: httpx.AsyncClient,
    control_url: str,
    file: Path,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Write the issuer and its public keys to a file whenever they change, until cancelled.

    Args:
        http: client that trusts the control plane's CA.
        control_url: base URL of the control plane, which is the issuer.
        file: replaced as a whole; mode 0600.
        task_status: `started()` when the first keys are there.
    """
    written, pause_s = "", RETRY_S
    while True:
        with suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
            answer = (await http.get(control_url + JWKS_PATH)).raise_for_status().json()
            text = json.dumps({"issuer": control_url, "keys": answer["keys"]}) + "\n"
            if text != written:
                write_atomically(file, text)
                written = text
            task_status.started()
            task_status, pause_s = trio.TASK_STATUS_IGNORED, KEYS_POLL_S
        await trio.sleep(pause_s)


async def _fetch(tokens: Tokens, file: Path, lock: trio.Lock) -> Token:
    """Fetch and write as often as it takes; a refused secret may be put right: tried again too."""
    pause_s = RETRY_S
    while True:
        try:
            async with lock:
                token = await tokens.fetch()
                write_atomically(file, token.value + "\n")
                return token
        except ConnectError:
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_MOST_S)
