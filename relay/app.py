"""The relay itself, on any byte streams: it accepts agents, viewers and the control plane.

It never dials, keeps everything in memory, and looks into no body.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePath

import trio

from relay.agents import AgentSide
from relay.control import ControlSide
from relay.core import Core
from relay.coupling import Coupler
from relay.exchanges import Exchanges
from relay.metrics import Reason
from relay.ops import OpsSide
from relay.seal.level import Seal
from relay.serving import Handler, serve
from relay.settings import RelaySettings
from relay.viewer import ViewerSide
from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.errors import TunnelError
from tunnel.exchange import Headers
from tunnel.journal import Journal
from tunnel.peer import NOBODY, Peer
from tunnel.settings import TunnelSettings
from tunnel.tls import TlsStream
from tunnel.transport import Transport
from tunnel.websocket import accept_websocket
from tunnel.websocket_codec import MASK_IN_C


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
        core = Core(
            settings, insecure=insecure, journal=journal, clock=clock, capabilities=capabilities
        )
        self.settings, self.metrics, self._core = settings, core.metrics, core
        coupler, exchanges = Coupler(core), Exchanges(core)
        self._viewers = ViewerSide(core, coupler)
        self._agents = AgentSide(core, tunnel_settings, exchanges)
        self._control = ControlSide(core, exchanges, coupler)
        self._ops = OpsSide(core)
        self._turn = trio.Lock()
        self._controls: dict[trio.CancelScope, Peer] = {}
        # Bound once: a method object for each viewer would be 64 bytes.
        self._handle_viewer, self._report = self._viewers.handle, self.report

    async def watch_viewers(self) -> None:
        """Notice, for ever, that viewers of quiet answers leave; without it each costs a task."""
        await self._core.departures.run()

    async def watch_tenants(self) -> None:
        """End, for ever, what organisations have that carry far more than they may."""
        await self._core.calls.watch_tenants(self.settings.org_look_s)

    async def watch_tokens(self) -> None:
        """End, for ever, what viewers began with tokens that have ended."""
        await self._core.calls.watch_tokens()

    def serve_viewer(self, stream: trio.abc.Stream) -> Awaitable[None]:
        """Serve a viewer's connection; no coroutine function, to spare each viewer its frame."""
        return self._serve_http("viewer", stream, self._handle_viewer)

    async def serve_control(self, stream: trio.abc.Stream, peer: Peer | None = None) -> None:
        """Serve a connection of the control plane; anybody else's is closed.

        Args:
            stream: closed at the end.
            peer: whose certificate it is; None asks the TLS stream.
        """
        peer = _peer(stream, peer)
        if not self._core.authenticator.is_control(peer):
            self.metrics.reject(Reason.IDENTITY)
            await trio.aclose_forcefully(stream)
            return
        common = (("planesplit-relay", self._core.boot_id),)
        with trio.CancelScope() as scope:
            self._controls[scope] = peer
            try:
                await self._serve_http("control", stream, self._control.handle, common)
            finally:
                del self._controls[scope]

    def control_is(self, thumbprints: frozenset[str] | None) -> None:
        """Say which certificates are the control plane's; connections of others end now.

        Args:
            thumbprints: see tunnel.peer; None for each that the CA has signed in its name.
        """
        self._core.authenticator.control = thumbprints
        for scope, peer in self._controls.items():
            if not self._core.authenticator.is_control(peer):
                self.metrics.reject(Reason.REVOKED)
                scope.cancel()

    async def serve_ops(self, stream: trio.abc.Stream) -> None:
        """Serve an operator's connection."""
        await self._serve_http("ops", stream, self._ops.handle)

    async def wait_for_policy(self) -> None:
        """Return when the relay can judge who somebody is, or after `handshake_s`.

        Those who waited go on one at a turn of the loop, as they would have been accepted: a
        thousand handshakes that begin at once would all end late, some after their deadline.
        """
        with trio.move_on_after(self.settings.handshake_s):
            await self._core.policy.known.wait()
        await self.turn()

    async def turn(self) -> None:
        """Wait for a turn of the loop that nobody else has: what is costly is done one at a time.

        A hundred TLS handshakes in one turn would keep every tail waiting for 100 ms.
        """
        async with self._turn:
            await trio.lowlevel.checkpoint()

    async def serve_agent(self, stream: trio.abc.Stream, peer: Peer | None = None) -> None:
        """Serve an agent's connection: a WebSocket that carries its tunnel.

        Args:
            stream: closed at the end.
            peer: whose certificate it is; None asks the TLS stream.
        """
        try:
            transport = await self._upgrade(stream)
            if transport is None:
                self.metrics.reject(Reason.HANDSHAKE)
                await trio.aclose_forcefully(stream)
            else:
                await self.serve_agent_transport(transport, _peer(stream, peer))
        except Exception as error:
            self.report(error)

    async def serve_agent_transport(self, transport: Transport, peer: Peer = NOBODY) -> None:
        """Serve a tunnel on a connected transport.

        Args:
            transport: closed at the end.
            peer: whose certificate it is.
        """
        self.metrics.add("relay_connections_total", "agent")
        try:
            await self._agents.serve(transport, peer)
        except Exception as error:
            self.report(error)

    async def drain(self) -> None:
        """Leave in order; returns when nothing is under way, at most about `drain_s` later."""
        core = self._core
        core.journal.event("draining", exchanges=len(core.calls))
        await core.drain.run(core.registry, core.calls)

    def sealed(self, seal: Seal) -> None:
        """Publish how this process is sealed: journal, liveness page, metrics."""
        self._core.sealed(seal)

    def certificates_read(self, *, good: bool) -> None:
        """Say that certificates were read again, or could not be."""
        self._core.journal.event("certificates_reloaded" if good else "certificates_unreadable")

    def check_machine(self) -> None:
        """Say at start what makes this relay slower than it should be."""
        if not MASK_IN_C:
            self._core.journal.event("slow_masking", remedy="install_websockets_with_speedups")

    def report(self, error: Exception) -> None:
        """Count and log a fault of our own: its kind and place, never its message."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        self.metrics.add("relay_internal_errors_total")
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = "/".join(f"{PurePath(f.filename).name}:{f.lineno}" for f in last)
        self._core.journal.event("internal_error", kind=type(error).__name__, where=where)

    async def _upgrade(self, stream: trio.abc.Stream) -> Transport | None:
        try:
            with trio.move_on_after(self.settings.handshake_s):
                return await accept_websocket(stream)
        except TunnelError:
            pass
        return None

    def _serve_http(
        self, listener: str, stream: trio.abc.Stream, handler: Handler, common: Headers = ()
    ) -> Awaitable[None]:
        self.metrics.add("relay_connections_total", listener)
        return serve(
            stream, self.settings, self.metrics, handler, common=common, report=self._report
        )


def _peer(stream: trio.abc.Stream, given: Peer | None) -> Peer:
    if given is not None:
        return given
    return stream.peer() if isinstance(stream, TlsStream) else NOBODY
