"""The relay itself, on any byte streams: it accepts agents, viewers and the control plane.

It never dials, keeps everything in memory, and looks into no body.
"""

from __future__ import annotations

import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import PurePath

import trio

from relay import http1
from relay.agents import AgentSide
from relay.auth import Authenticator
from relay.calls import Calls
from relay.control import ControlSide
from relay.coupling import Coupler
from relay.drain import Drain
from relay.exchanges import Exchanges
from relay.metrics import Metrics, Reason
from relay.ops import OpsSide
from relay.policy import PolicyHolder
from relay.registry import Registry
from relay.settings import RelaySettings
from relay.viewer import ViewerSide
from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.errors import TunnelError
from tunnel.exchange import Headers
from tunnel.journal import Journal
from tunnel.settings import TunnelSettings
from tunnel.tls import TlsStream
from tunnel.transport import Transport
from tunnel.websocket import accept_websocket


class Relay:
    """Serves connections handed to it; each `serve_` method runs one until it ends and closes it.

    None of them raises for what a peer does, nor for a fault of its own: that ends the one
    connection, with a counter.

    Args:
        settings: limits.
        tunnel_settings: limits of every tunnel.
        insecure: no tokens, no certificates, one fixed demo subject; for loopback only.
        journal: where events go.
        clock: wall clock, seconds since the epoch.
        capabilities: the closed list of RPCs.
    """

    def __init__(
        self,
        settings: RelaySettings,
        tunnel_settings: TunnelSettings,
        *,
        insecure: bool = False,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.time,
        capabilities: Mapping[str, Capability] = CAPABILITIES,
    ) -> None:
        self.boot_id = secrets.token_hex(8)
        self.settings, self.metrics = settings, Metrics()
        self._journal = journal or Journal("relay")
        self._policy, self._drain = PolicyHolder(), Drain(settings)
        self._registry = Registry(clock, self.metrics)
        self._calls = Calls(settings.max_exchanges)
        self._authenticator = Authenticator(settings, insecure=insecure)
        exchanges = Exchanges(settings, self.metrics, capabilities)
        coupler = Coupler(settings, self._registry, self._calls, self.metrics, self._journal)
        self._viewers = ViewerSide(
            self._authenticator,
            self._policy,
            self._drain,
            coupler,
            self.metrics,
            capabilities,
            clock,
        )
        self._agents = AgentSide(
            self.boot_id,
            settings,
            tunnel_settings,
            self._authenticator,
            self._policy,
            self._registry,
            exchanges,
            self._drain,
            self.metrics,
            self._journal,
            clock,
        )
        self._control = ControlSide(
            self.boot_id,
            settings,
            self._policy,
            self._registry,
            exchanges,
            self._drain,
            coupler,
            self.metrics,
            capabilities,
        )
        self._ops = OpsSide(self.boot_id, self.metrics, self.not_ready)
        self._policy.watch(self._calls.stop_forbidden)
        self.metrics.gauge("relay_tunnels", "Live tunnels.", self._registry.count)
        self.metrics.gauge("relay_exchanges", "Exchanges under way.", lambda: len(self._calls))

    def not_ready(self) -> str:
        """Why the relay is not ready, "" when it is."""
        if self._drain.started.is_set():
            return "draining"
        return "" if self._policy.current is not None else "no policy yet"

    async def serve_viewer(self, stream: trio.abc.Stream) -> None:
        """Serve a viewer's connection."""
        await self._serve_http("viewer", stream, self._viewers.handle)

    async def serve_control(
        self, stream: trio.abc.Stream, peer_uris: tuple[str, ...] | None = None
    ) -> None:
        """Serve a connection of the control plane; anybody else's is closed.

        Args:
            stream: closed at the end.
            peer_uris: URI names of the client's certificate; None asks the TLS stream.
        """
        if not self._authenticator.is_control(_peer_uris(stream, peer_uris)):
            self.metrics.reject(Reason.IDENTITY)
            await trio.aclose_forcefully(stream)
            return
        common = (("planesplit-relay", self.boot_id),)
        await self._serve_http("control", stream, self._control.handle, common)

    async def serve_ops(self, stream: trio.abc.Stream) -> None:
        """Serve an operator's connection."""
        await self._serve_http("ops", stream, self._ops.handle)

    async def serve_agent(
        self, stream: trio.abc.Stream, peer_uris: tuple[str, ...] | None = None
    ) -> None:
        """Serve an agent's connection: a WebSocket that carries its tunnel.

        Args:
            stream: closed at the end.
            peer_uris: URI names of the agent's certificate; None asks the TLS stream.
        """
        transport = None
        try:
            with trio.move_on_after(self.settings.handshake_s):
                transport = await accept_websocket(stream)
        except TunnelError:
            pass
        if transport is None:
            self.metrics.reject(Reason.HANDSHAKE)
            await trio.aclose_forcefully(stream)
            return
        await self.serve_agent_transport(transport, _peer_uris(stream, peer_uris))

    async def serve_agent_transport(
        self, transport: Transport, peer_uris: tuple[str, ...] = ()
    ) -> None:
        """Serve a tunnel on a connected transport.

        Args:
            transport: closed at the end.
            peer_uris: URI names of the agent's certificate.
        """
        self.metrics.add("relay_connections_total", "agent")
        try:
            await self._agents.serve(transport, peer_uris)
        except Exception as error:
            self.report(error)

    async def drain(self) -> None:
        """Leave in order; returns when nothing is under way, at most about `drain_s` later."""
        self._journal.event("draining", exchanges=len(self._calls))
        await self._drain.run(self._registry, self._calls)

    def report(self, error: Exception) -> None:
        """Count and log a fault of our own: its kind and place, never its message."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        self.metrics.add("relay_internal_errors_total")
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = "/".join(f"{PurePath(f.filename).name}:{f.lineno}" for f in last)
        self._journal.event("internal_error", kind=type(error).__name__, where=where)

    async def _serve_http(
        self,
        listener: str,
        stream: trio.abc.Stream,
        handler: http1.Handler,
        common: Headers = (),
    ) -> None:
        self.metrics.add("relay_connections_total", listener)
        try:
            await http1.serve(stream, self.settings, self.metrics, handler, common=common)
        except Exception as error:
            self.report(error)


def _peer_uris(stream: trio.abc.Stream, given: tuple[str, ...] | None) -> tuple[str, ...]:
    if given is not None:
        return given
    return stream.peer_uris() if isinstance(stream, TlsStream) else ()
