"""`python -m compute_agent --config FILE`: the agent as a process."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from compute_agent.accounts import Accounts
from compute_agent.agent import Agent, Sources
from compute_agent.data_endpoint.endpoint import DataEndpoint, check_address
from compute_agent.dial import LOOPBACK, Dialer
from compute_agent.kubernetes import open_cluster
from compute_agent.logs.backends import open_history
from compute_agent.objects.objects import Objects
from compute_agent.objects.signer import load_signing
from compute_agent.settings import AgentSettings
from kube.client import KubernetesApi
from tunnel.errors import Code
from tunnel.http.server import open_listener
from tunnel.journal import Journal, tame_loggers
from tunnel.process import announce, main, until_signalled
from tunnel.settings import SettingError, load
from tunnel.tls import client_context
from tunnel.token import NoToken, TokenFile, TokenSource

PURPOSE = "The compute-plane agent: dials out to the relay and serves a closed list of calls."
REPLACED_EXIT = 3  # the environment is unusable: another agent has this slot


def start(config: dict[str, Any]) -> int:
    """Run the agent to its end and return the exit code.

    Raises:
        SettingError: the configuration cannot be used.
    """
    tame_loggers()
    settings = load(AgentSettings, config)
    for name in ("log_root", "state_dir"):
        if not Path(getattr(settings, name)).is_dir():
            raise SettingError(f"setting '{name}' must name a directory that exists")
    dialer, accounts, token = Dialer(settings), make_accounts(settings), make_token(settings)
    return trio.run(_run, settings, dialer, accounts, token)


async def _run(
    settings: AgentSettings, dialer: Dialer, accounts: Accounts, token: TokenSource
) -> int:
    journal = Journal("agent")
    objects = Objects.open(settings.objects, time.time) if settings.objects else None
    cluster = open_cluster(accounts, settings.kubernetes)
    sources = Sources(cluster, token, objects, open_history(settings), accounts)
    agent = Agent(settings, dial=dialer, sources=sources, journal=journal)
    data_port, serve_data = await _open_data_endpoint(agent, settings, objects, journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, agent, journal)
        nursery.start_soon(serve_data)
        if objects:
            nursery.start_soon(trio.to_thread.run_sync, load_signing)
        announce(
            org=settings.org, cluster=settings.cluster, slot=settings.slot, data_port=data_port
        )
        code = await agent.run()
        nursery.cancel_scope.cancel()
    with trio.move_on_after(settings.kubernetes.request_s):
        await accounts.aclose()
        if objects:
            await objects.store.aclose()
    return REPLACED_EXIT if code is Code.REPLACED else 0


async def _open_data_endpoint(
    agent: Agent, settings: AgentSettings, objects: Objects | None, journal: Journal
) -> tuple[int, Callable[[], Awaitable[None]]]:
    """Listen for viewers in the customer's network; return the port and what serves it.

    Raises:
        SettingError: it cannot listen there.
    """
    data = settings.data_endpoint
    if data is None:
        return 0, trio.lowlevel.checkpoint
    check_address(data, insecure=settings.tls is None)
    endpoint = DataEndpoint(
        settings.org,
        data,
        objects=objects,
        access=agent.access,
        access_wait_s=settings.access_wait_s,
        store=agent.store,
        tunnel_rows=agent.rows,
        journal=journal,
    )
    try:
        listener = await open_listener(data.host, data.port)
    except OSError as error:
        raise SettingError(
            f"setting 'data_endpoint': cannot listen on {data.host}:{data.port}: {error.strerror}"
        ) from None
    port = int(listener.socket.getsockname()[1])
    agent.data_url = endpoint.url(port)
    return port, partial(endpoint.run, listener)


async def _stop_on_signal(agent: Agent, journal: Journal) -> None:
    number = await until_signalled()
    journal.event("stopping", signal=number)
    agent.stop()


def make_token(settings: AgentSettings) -> TokenSource:
    """Return the tunnel's token source.

    Raises:
        SettingError: no token file, although the relay is not plain and on loopback.
    """
    if settings.token_file:
        return TokenFile(settings.token_file)
    if settings.relay_url.startswith("ws://"):
        return NoToken()
    raise SettingError("setting 'token_file' is missing; only ws:// on loopback needs no token")


def make_accounts(settings: AgentSettings) -> Accounts:
    """Return the clients of the cluster's API.

    Raises:
        SettingError: URL or CA file cannot be used.
    """
    url = urlsplit(settings.kubernetes_url)
    plain = url.scheme == "http" and url.hostname in LOOPBACK
    if not plain and url.scheme != "https":
        raise SettingError("setting 'kubernetes_url' must be https://, or http:// on loopback")
    context: ssl.SSLContext | None = None
    if not plain:
        try:
            context = client_context(settings.kubernetes_ca_file or None)
        except OSError:
            raise SettingError("setting 'kubernetes_ca_file' must name a PEM file") from None
    file = settings.kubernetes_token_file
    token = TokenFile(file) if file else None
    api = KubernetesApi(settings.kubernetes_url, token, context, settings.kubernetes)
    return Accounts(api, settings.accounts)


if __name__ == "__main__":
    sys.exit(main("compute_agent", PURPOSE, start))
