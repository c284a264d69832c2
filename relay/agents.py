"""The agents' side: one tunnel from its authentication to its end."""

from __future__ import annotations

from relay.auth import AgentIdentity, TokenRefused, refusal
from relay.core import Core
from relay.exchanges import Exchanges
from relay.metrics import Reason
from relay.policy import Policy
from relay.registry import Tunnel
from tunnel.errors import Code
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.peer import Peer
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.transport import Transport


class AgentSide:
    """Serves agents' tunnels.

    Args:
        core: the relay's.
        tunnel_settings: limits of every tunnel.
        exchanges: where agent-opened exchanges wait.
    """

    def __init__(self, core: Core, tunnel_settings: TunnelSettings, exchanges: Exchanges) -> None:
        self.core, self.tunnel_settings, self.exchanges = core, tunnel_settings, exchanges
        self.hello = Hello(org="-", cluster="-", server_id=core.boot_id)
        core.policy.watch(self._recheck)

    async def serve(self, transport: Transport, peer: Peer) -> None:
        """Run one tunnel until it ends.

        Args:
            transport: connected; closed at the end.
            peer: whose certificate it is.
        """
        await _AgentTunnel(self, peer).run(transport)

    def _recheck(self) -> None:
        """End the tunnels that a new policy no longer allows."""
        policy = self.core.policy.current
        assert policy is not None
        for tunnel in self.core.registry.live():
            code = _withdrawn(policy, tunnel.identity)
            if code is not None and tunnel.session is not None:
                self.core.metrics.reject(Reason.REVOKED)
                tunnel.session.close(code)
        self.core.registry.forget_lost(lambda tunnel: _withdrawn(policy, tunnel.identity) is None)


def _withdrawn(policy: Policy, identity: AgentIdentity) -> Code | None:
    if policy.is_revoked(identity.subject, identity.issued_at):
        return Code.REVOKED
    if (identity.org, identity.cluster) not in policy.clusters:
        return Code.AUTH_REFUSED
    return None


class _AgentTunnel:
    """One tunnel; also the session's task status: `started` is the moment it counts."""

    def __init__(self, side: AgentSide, peer: Peer) -> None:
        self._side, self._peer = side, peer
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
            wipes=True,
        )
        try:
            closed = await session.serve(self._handle, task_status=self)
        finally:
            if self._tunnel is not None:
                side.core.registry.leave(self._tunnel)
        if self._tunnel is None and not self._refused:
            skewed = closed.code is Code.VERSION
            side.core.metrics.reject(Reason.PROTOCOL_VERSION if skewed else Reason.HANDSHAKE)
        side.core.journal.event("tunnel_closed", code=closed.code.name, by_peer=closed.by_peer)

    def started(self, value: Session | None = None) -> None:
        assert value is not None
        assert self._identity is not None
        identity = self._identity
        self._tunnel = self._side.core.registry.admit(identity, value)
        self._side.core.journal.event(
            "tunnel_opened", org=identity.org, cluster=identity.cluster, slot=identity.slot
        )

    def _authenticate(self, hello: Hello, token: Payload) -> float:
        side = self._side
        try:
            identity, valid_s = self._judge(hello, token)
        except TokenRefused as error:
            self._refused = True
            side.core.metrics.reject(error.reason)
            side.core.journal.event("tunnel_refused", reason=str(error.reason))
            raise refusal(error) from None
        if self._identity is None:
            self._identity = identity
        else:
            self._identity.issued_at = identity.issued_at
        return valid_s

    def _judge(self, hello: Hello, token: Payload) -> tuple[AgentIdentity, float]:
        core = self._side.core
        policy = core.policy.current
        if policy is None:
            raise TokenRefused(Reason.NOT_READY)
        if core.drain.started.is_set() and self._tunnel is None:
            raise TokenRefused(Reason.DRAINING)
        if core.registry.count() >= core.settings.max_tunnels and self._tunnel is None:
            raise TokenRefused(Reason.TOO_MANY)
        return core.authenticator.agent(policy, hello, token, self._peer, core.clock())

    async def _handle(self, stream: Stream) -> None:
        assert self._identity is not None
        await self._side.exchanges.serve(self._identity, stream)
