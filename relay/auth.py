"""Who a peer is: signed tokens of viewers and agents, certificates of agents and control plane.

Tokens are verified against pushed keys, see `tunnel.verifier`: nothing is ever fetched, so a token
that names an unknown key costs nobody but its sender anything.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from relay.connect_errors import EXPIRED_TEXT, ConnectCode, ConnectError
from relay.metrics import Reason
from relay.policy import Policy
from relay.settings import RelaySettings
from tunnel.errors import AuthRefused, Code
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.peer import Peer
from tunnel.verifier import TUNNEL, VIEWER, Kind, TokenInvalid, Verifier, embedded_identity

CONTROL_URI = "spiffe://planesplit/control"
DEMO_SUBJECT = "demo"
INSECURE_VALID_S = 86_400.0  # there is no token whose expiry could bound it

_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}")  # what may cross as RequestHead.viewer


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated viewer.

    Args:
        subject: its name in policy.
        org: the organisation of its token; None for the demo identity.
        issued_at, expires_at: epoch seconds of its token.
        proof: the token in its token, by which agents know it; empty without one.
    """

    subject: str
    org: str | None
    issued_at: float
    expires_at: float = math.inf
    proof: str = field(default="", repr=False)


@dataclass(slots=True)
class AgentIdentity:
    """What a tunnel has proved: its cluster, and when its latest token was issued.

    Args:
        epoch: of this tunnel, as it says.
        relieves: epoch of the slot's tunnel that drains beside it, 0 for none.
        server_id: names this start of the agent, as it says.
    """

    org: str
    cluster: str
    slot: int
    issued_at: float
    epoch: int = 0
    relieves: int = 0
    server_id: str = ""

    @property
    def subject(self) -> str:
        """Its name in tokens and revocations."""
        return f"agent:{self.org}/{self.cluster}"


class TokenRefused(Exception):
    """A token is not good; `reason` is the counter."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


class Authenticator:
    """Judges tokens at a given moment against a given policy.

    Args:
        settings: limits.
        insecure: no tokens and no certificates; loopback only.
    """

    def __init__(self, settings: RelaySettings, *, insecure: bool) -> None:
        self._settings, self._insecure = settings, insecure
        self._verifier = Verifier(leeway_s=settings.clock_skew_s)
        self.control: frozenset[str] | None = None  # thumbprints of the certificates that count

    def viewer(self, policy: Policy, authorization: str, now: float) -> Caller:
        """Return who presents an Authorization header.

        Raises:
            ConnectError: UNAUTHENTICATED.
        """
        if self._insecure:
            return Caller(DEMO_SUBJECT, None, now)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthenticated(Reason.ANONYMOUS, "a bearer token is required")
        try:
            claims = self._verify(policy, token, VIEWER, now)
            if not _SUBJECT.fullmatch(claims["sub"]):
                raise TokenRefused(Reason.FORGED)
            proof = embedded_identity(token)
            # Numbers as the verifier remembers them: a call fetches one token for many exchanges.
            return Caller(claims["sub"], claims["org"], claims["iat"], claims["exp"], proof)
        except TokenRefused as error:
            text = _TEXTS.get(error.reason, "the token is not valid")
            raise _unauthenticated(error.reason, text) from None

    def agent(
        self,
        policy: Policy,
        hello: Hello,
        token: Payload,
        peer: Peer,
        now: float,
    ) -> tuple[AgentIdentity, float]:
        """Return who an agent is and for how many seconds: HELLO, token and certificate must agree.

        The token is bound to the one certificate that it names (RFC 8705, 3.1), so a stolen token
        is of no use to whoever has not stolen the key as well.

        Raises:
            TokenRefused: with the counter; `refusal` turns it into what the agent is told.
        """
        place = hello.org, hello.cluster, hello.slot
        identity = AgentIdentity(*place, now, hello.epoch, hello.relieves, hello.server_id)
        if (identity.org, identity.cluster) not in policy.clusters:
            raise TokenRefused(Reason.UNKNOWN_CLUSTER)
        if identity.slot >= self._settings.max_slots:
            raise TokenRefused(Reason.IDENTITY)
        if self._insecure:
            return identity, INSECURE_VALID_S
        if peer.uris != (agent_uri(identity.org, identity.cluster),):
            raise TokenRefused(Reason.IDENTITY)
        claims = self._verify(policy, bytes(token.view), TUNNEL, now)
        if (claims["sub"], claims.get("org"), claims.get("cluster")) != (
            identity.subject,
            identity.org,
            identity.cluster,
        ):
            raise TokenRefused(Reason.IDENTITY)
        if not peer.thumbprint or claims.get("cnf") != {"x5t#S256": peer.thumbprint}:
            raise TokenRefused(Reason.UNBOUND)
        identity.issued_at = float(claims["iat"])
        return identity, float(claims["exp"]) - now

    def is_control(self, peer: Peer) -> bool:
        """Whether a client certificate is the control plane's."""
        if self._insecure:
            return True
        listed = self.control is None or peer.thumbprint in self.control
        return listed and peer.uris == (CONTROL_URI,)

    def _verify(self, policy: Policy, token: str | bytes, kind: Kind, now: float) -> dict[str, Any]:
        if len(token) > self._settings.max_token_bytes:
            raise TokenRefused(Reason.FORGED)
        try:
            claims = self._verifier.verify(token, policy.keys, kind, policy.issuer, now)
        except TokenInvalid as error:
            raise TokenRefused(Reason.EXPIRED if error.expired else Reason.FORGED) from None
        if policy.is_revoked(claims["sub"], claims["iat"]):
            raise TokenRefused(Reason.REVOKED)
        return claims


def agent_uri(org: str, cluster: str) -> str:
    """The URI SAN of an agent's certificate."""
    return f"spiffe://planesplit/org/{org}/cluster/{cluster}"


def refusal(error: TokenRefused) -> AuthRefused:
    """What an agent is told."""
    code = _AGENT_CODES.get(error.reason, Code.AUTH_REFUSED)
    return AuthRefused(str(error.reason), code=code)


_TEXTS = {
    Reason.EXPIRED: EXPIRED_TEXT,
    Reason.REVOKED: "the token was revoked",
}
_AGENT_CODES = {
    Reason.EXPIRED: Code.AUTH_EXPIRED,
    Reason.REVOKED: Code.REVOKED,
    Reason.NOT_READY: Code.NOT_READY,
    Reason.DRAINING: Code.NOT_READY,
    Reason.TOO_MANY: Code.NOT_READY,
}


def _unauthenticated(reason: Reason, message: str) -> ConnectError:
    return ConnectError(ConnectCode.UNAUTHENTICATED, reason, message)
