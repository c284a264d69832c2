"""The agents' side: one tunnel from its authentication to its end."""

from __future__ import annotations

from collections.abc import Callable

from relay.auth import AgentIdentity, Authenticator, TokenRefused, refusal
from relay.drain import Drain
from relay.exchanges import Exchanges
from relay.metrics import Metrics, Reason
from relay.policy import Policy, PolicyHolder
from relay.registry import Registry, Tunnel
from relay.settings import RelaySettings
from tunnel.errors import Code
from tunnel.hello import Hello
from tunnel.journal import Journal
from tunnel.payload import Payload
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.transport import Transport


class AgentSide:
    """Serves agents' tunnels.

    Args:
        boot_id: names this life of the relay; goes into HELLO.
        settings, tunnel_settings, authenticator, policy, registry, exchanges, drain, metrics,
            journal: the relay's.
        clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        boot_id: str,
        settings: RelaySettings,
        tunnel_settings: TunnelSettings,
        authenticator: Authenticator,
        policy: PolicyHolder,
        registry: Registry,
        exchanges: Exchanges,
        drain: Drain,
        metrics: Metrics,
        journal: Journal,
        clock: Callable[[], float],
    ) -> None:
        self.hello = Hello(org="-", cluster="-", server_id=boot_id)
        self.settings, self.tunnel_settings = settings, tunnel_settings
        self.authenticator, self.policy, self.drain = authenticator, policy, drain
        self.registry, self.exchanges = registry, exchanges
        self.metrics, self.journal, self.clock = metrics, journal, clock
        policy.watch(self._recheck)

    async def serve(self, transport: Transport, peer_uris: tuple[str, ...]) -> None:
        """Run one tunnel until it ends.

        Args:
            transport: connected; closed at the end.
            peer_uris: URI names of the agent's certificate.
        """
        await _AgentTunnel(self, peer_uris).run(transport)

    def _recheck(self) -> None:
        """End the tunnels that a new policy no longer allows."""
        policy = self.policy.current
        assert policy is not None
        for tunnel in self.registry.live():
            code = _withdrawn(policy, tunnel.identity)
            if code is not None and tunnel.session is not None:
                self.metrics.reject(Reason.REVOKED)
                tunnel.session.close(code)
        self.registry.forget_lost(lambda tunnel: _withdrawn(policy, tunnel.identity) is None)


def _withdrawn(policy: Policy, identity: AgentIdentity) -> Code | None:
    if policy.is_revoked(identity.subject, identity.issued_at):
        return Code.REVOKED
    if (identity.org, identity.cluster) not in policy.clusters:
        return Code.AUTH_REFUSED
    return None


class _AgentTunnel:
    """One tunnel; also the session's task status: `started` is the moment it counts."""

    def __init__(self, side: AgentSide, peer_uris: tuple[str, ...]) -> None:
        self._side, self._peer_uris = side, peer_uris
        self._identity: AgentIdentity | None = None
        self._tunnel: Tunnel | None = None
        self._refused = False

    async def run(self, transport: Transport) -> None:
        side = self._side
        session = Session(
            transport,
            hello=side.hello,
            settings=side.tunnel_settings,
            authenticate=self._authenticate,
        )
        try:
            closed = await session.serve(self._handle, task_status=self)
        finally:
            if self._tunnel is not None:
                side.registry.leave(self._tunnel)
        if self._tunnel is None and not self._refused:
            side.metrics.reject(Reason.HANDSHAKE)
        side.journal.event("tunnel_closed", code=closed.code.name, by_peer=closed.by_peer)

    def started(self, value: Session | None = None) -> None:
        assert value is not None
        assert self._identity is not None
        identity = self._identity
        self._tunnel = self._side.registry.admit(identity, value)
        self._side.journal.event(
            "tunnel_opened", org=identity.org, cluster=identity.cluster, slot=identity.slot
        )

    def _authenticate(self, hello: Hello, token: Payload) -> float:
        side = self._side
        try:
            identity, valid_s = self._judge(hello, token)
        except TokenRefused as error:
            self._refused = True
            side.metrics.reject(error.reason)
            side.journal.event("tunnel_refused", reason=str(error.reason))
            raise refusal(error) from None
        if self._identity is None:
            self._identity = identity
        else:
            self._identity.issued_at = identity.issued_at
        return valid_s

    def _judge(self, hello: Hello, token: Payload) -> tuple[AgentIdentity, float]:
        side = self._side
        policy = side.policy.current
        if policy is None:
            raise TokenRefused(Reason.NOT_READY)
        if side.drain.started.is_set() and self._tunnel is None:
            raise TokenRefused(Reason.DRAINING)
        if side.registry.count() >= side.settings.max_tunnels and self._tunnel is None:
            raise TokenRefused(Reason.TOO_MANY)
        return side.authenticator.agent(policy, hello, token, self._peer_uris, side.clock())

    async def _handle(self, stream: Stream) -> None:
        assert self._identity is not None
        await self._side.exchanges.serve(self._identity, stream)
