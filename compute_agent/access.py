"""Who may do what here: the customer's own check, whatever the relay says.

The control plane pushes the roles of this org; every viewer's exchange is judged by them again, as
is every token at the data endpoint. Who asks is what the issuer has signed, not what the relay
says: a relay that mixes up or invents subjects, scopes or requests gets nothing by it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.interceptor import MetadataInterceptor

from compute_agent.exchange import current_body, current_exchange
from compute_agent.proof import Flaw, ProofRefused
from compute_agent.trust import Trust
from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.exchange import RequestHead
from tunnel.messages.planesplit_v1_pb2 import AccessRequest, AccessResponse, Binding
from tunnel.messages.rpc import Context
from tunnel.roles import PERMISSIONS
from tunnel.verifier import (
    CLOCK_SKEW_S,
    CONTROL,
    IDENTITY,
    VIEWER,
    Keys,
    Kind,
    TokenInvalid,
    expires_at,
    import_keys,
    issued_at,
)

ANY = "*"
CONTROL_SUBJECT = "control"  # whom the relay names when the control plane opens an exchange
DEMO_SUBJECT = "demo"
MAX_USED = 4096  # proofs of the control plane in their minute: 64 calls at once, and much room


@dataclass(frozen=True, slots=True)
class _Policy:
    """One push; `bindings` by subject, `expires_s` since the epoch or 0 for never."""

    version: int
    bindings: Mapping[str, tuple[Binding, ...]]
    revoked: Mapping[str, int]
    expires_s: int


class Access:
    """The roles of one org, as pushed last.

    Args:
        org: the agent's own; a push that speaks of another is refused.
        now_s: wall clock, seconds since the epoch.
        trust: whose signatures count; None for no tokens and no proofs, every caller of the data
            endpoint is `demo`: loopback only.
        cluster: the agent's own.
        server_id: names this start of the agent: it remembers what was used since.
        require_proof: False lets exchanges without any proof pass, as the relay names them.
    """

    def __init__(
        self,
        org: str,
        *,
        now_s: Callable[[], float],
        trust: Trust | None,
        cluster: str = "",
        server_id: str = "",
        require_proof: bool = True,
    ) -> None:
        self._org, self._cluster, self._now_s, self._trust = org, cluster, now_s, trust
        self._server_id, self._require_proof = server_id, require_proof
        self._policy: _Policy | None = None
        self._known = trio.Event()
        self._watchers: list[Callable[[], None]] = []
        self._used: dict[str, int] = {}  # proof's id -> its end, seconds since the epoch

    @property
    def version(self) -> int:
        """Version in force, 0 before the first push."""
        return self._policy.version if self._policy is not None else 0

    @property
    def _standing(self) -> tuple[int, int]:
        """What a push must be above: the version in force, and its end."""
        return (self.version, self._policy.expires_s) if self._policy is not None else (0, 0)

    def put(self, request: AccessRequest, *, proven: bool = True) -> int:
        """Take a push, unless a newer one is in force; return the version that is.

        Args:
            proven: whether its signature was checked; the keys of one without are not taken, as
                tokens at the data endpoint, which no relay sees, are checked by them.

        Raises:
            ValueError: it speaks of another org, of unknown roles, or its keys are malformed.
        """
        if (request.version, request.expires_s) > self._standing:
            policy, keys = _policy(request, self._org), _keys(request.jwks)
            if self._trust is not None and proven:
                self._trust.adopt(request.issuer, keys)
            self._policy = policy
            self._known.set()
            for changed in self._watchers:
                changed()
        return self.version

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every push that was taken."""
        self._watchers.append(changed)

    def withdrawn(self, head: RequestHead, capability: Capability) -> bool:
        """Whether an exchange that was let through would be no more, by roles and revocations.

        Its proof was verified then: it may have ended since, or its key may be out of use.
        """
        if capability.opened_by != "viewer":
            return False
        scope, permission = head.scope, capability.permission
        try:
            revoked_s = self._in_force().revoked.get(head.viewer, 0)
            if self._trust is not None and head.proof and issued_at(head.proof) < revoked_s:
                return True
            place = scope.org, scope.project, scope.domain
            return not self.permits(head.viewer, *place, permission)
        except ConnectError:
            return False  # what the agent was told has run out: nothing new begins

    def lasts_s(self, head: RequestHead, capability: Capability) -> float:
        """Return for how long an exchange may go on, if the gate lets it through: seconds.

        A read ends with its proof. A write that has begun is finished: nobody could tell whether it
        took effect. What has ended already is the gate's to refuse, which says why.
        """
        reads = capability.opened_by == "viewer" and capability.permission == "view"
        if self._trust is None or not head.proof or not reads:
            return math.inf
        left_s = expires_at(head.proof) + CLOCK_SKEW_S - self._now_s()
        return left_s if left_s > 0 else math.inf

    async def known(self, wait_s: float) -> None:
        """Wait a moment for the first push.

        Raises:
            ConnectError: UNAVAILABLE: none came.
        """
        with trio.move_on_after(wait_s):
            await self._known.wait()
        self._in_force()

    def permits(self, subject: str, org: str, project: str, domain: str, permission: str) -> bool:
        """Whether a subject holds a permission; `-` for a level needs a role at all of it.

        Raises:
            ConnectError: UNAVAILABLE before the first push.
        """
        return org == self._org and any(
            binding.project in (ANY, project)
            and binding.domain in (ANY, domain)
            and permission in PERMISSIONS[binding.role]
            for binding in self._in_force().bindings.get(subject, ())
        )

    def caller(self, authorization: str) -> str:
        """Return the subject of a viewer's token, presented without a relay in between.

        Args:
            authorization: value of the header.

        Raises:
            ConnectError: UNAUTHENTICATED; PERMISSION_DENIED for another org's token; UNAVAILABLE
                before the first push.
        """
        policy = self._in_force()
        if self._trust is None:
            return DEMO_SUBJECT
        scheme, _, token = authorization.partition(" ")
        try:
            claims = self._trust.verify(token if scheme.lower() == "bearer" else "", VIEWER)
        except TokenInvalid:
            claims = None
        if claims is None or claims["iat"] < policy.revoked.get(claims["sub"], 0):
            raise ConnectError(Code.UNAUTHENTICATED, "a valid bearer token is needed")
        if claims["org"] != self._org:
            raise _denied()
        return str(claims["sub"])

    def check(self, head: RequestHead, capability: Capability) -> str:
        """Judge an exchange by its head alone.

        Returns:
            SHA-256 that the request's body must have, in hex; empty for any.

        Raises:
            ConnectError: PERMISSION_DENIED; UNAVAILABLE before the first push.
            ProofRefused: the proof does not hold.
        """
        if capability.opened_by == "viewer":
            self._check_viewer(head, capability)
            return ""
        if not capability.opened_by == CONTROL_SUBJECT == head.viewer:
            raise _denied()
        if head.scope.org != self._org:
            raise _denied()
        return self._check_control(head)

    def _check_viewer(self, head: RequestHead, capability: Capability) -> None:
        scope, policy = head.scope, self._in_force()
        if self._trust is not None and (head.proof or self._require_proof):
            claims = self._proved(self._trust, head, IDENTITY)
            if (claims["sub"], claims["org"]) != (head.viewer, self._org):
                raise ProofRefused(Flaw.OTHER_SUBJECT)
            if claims["iat"] < policy.revoked.get(claims["sub"], 0):
                raise ProofRefused(Flaw.REVOKED)
        if not self.permits(
            head.viewer, scope.org, scope.project, scope.domain, capability.permission
        ):
            raise _denied()

    def _check_control(self, head: RequestHead) -> str:
        if self._trust is None or not (head.proof or self._require_proof):
            return ""
        claims = self._proved(self._trust, head, CONTROL)
        named = claims["sub"], claims["org"], claims.get("cluster"), claims.get("path")
        if named != (CONTROL_SUBJECT, self._org, self._cluster, head.path):
            raise ProofRefused(Flaw.OTHER_EXCHANGE)
        start = claims.get("start", "")
        if start != self._server_id and (start or self._require_proof):
            raise ProofRefused(Flaw.OTHER_START)
        name, digest = claims.get("jti"), claims.get("body")
        if not (isinstance(name, str) and isinstance(digest, str)):
            raise ProofRefused(Flaw.INVALID)
        self._use(name, claims["exp"])
        return digest

    def _proved(self, trust: Trust, head: RequestHead, kind: Kind) -> dict[str, Any]:
        if not head.proof:
            raise ProofRefused(Flaw.MISSING)
        try:
            return trust.verify(head.proof, kind)
        except TokenInvalid as error:
            raise ProofRefused(Flaw.EXPIRED if error.expired else Flaw.INVALID) from None

    def _use(self, name: str, expires_at: int) -> None:
        """Note that a proof was used; it is good once."""
        if name in self._used:
            raise ProofRefused(Flaw.REPLAYED)
        if len(self._used) >= MAX_USED:
            now_s = self._now_s()
            self._used = {n: at for n, at in self._used.items() if at + CLOCK_SKEW_S >= now_s}
            if len(self._used) >= MAX_USED:
                raise ConnectError(Code.RESOURCE_EXHAUSTED, "too many calls within a minute")
        self._used[name] = expires_at

    def _in_force(self) -> _Policy:
        policy = self._policy
        if policy is None:
            raise ConnectError(Code.UNAVAILABLE, "the agent was not told yet who may do what")
        if policy.expires_s and policy.expires_s + CLOCK_SKEW_S < self._now_s():
            raise ConnectError(Code.UNAVAILABLE, "what the agent was told of roles has run out")
        return policy


class Gate(MetadataInterceptor[None]):
    """Lets an exchange of the tunnel through to its handler, before its body is read.

    Args:
        access: judges it.
        wait_s: how long an exchange waits for the first push: after a restart of the agent the
            relay resumes tails at once.
        on_flaw: told the path and the flaw of a proof that does not hold.
    """

    def __init__(
        self, access: Access, wait_s: float, on_flaw: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        self._access, self._wait_s, self._on_flaw = access, wait_s, on_flaw

    async def on_start(self, ctx: Context) -> None:
        """Judge the exchange that is being served.

        Raises:
            ConnectError: see Access.check.
        """
        stream = current_exchange.get()
        head = stream.request
        capability = CAPABILITIES[head.path]
        if capability.opened_by == "viewer":
            await self._access.known(self._wait_s)
        try:
            digest = self._access.check(head, capability)
        except ProofRefused as error:
            self._on_flaw(head.path, error.flaw)
            raise
        current_body.get().expect(digest, self._on_flaw)


class AccessService:
    """Handles `planesplit.v1.AccessService`, which only the control plane may open."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def put_access(self, request: AccessRequest, _ctx: Context) -> AccessResponse:
        """Take a push; an older one than is in force changes nothing."""
        try:
            proven = bool(current_exchange.get().request.proof)  # the gate has checked it
            return AccessResponse(version=self._access.put(request, proven=proven))
        except ValueError as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None


def _policy(request: AccessRequest, org: str) -> _Policy:
    bindings: dict[str, list[Binding]] = {}
    for binding in request.bindings:
        if binding.org != org or binding.role not in PERMISSIONS:
            raise ValueError("a binding is of another org, or its role is unknown")
        bindings.setdefault(binding.subject, []).append(binding)
    return _Policy(
        request.version,
        {subject: tuple(held) for subject, held in bindings.items()},
        dict(request.revoked),
        request.expires_s,
    )


def _keys(text: str) -> Keys:
    try:
        return import_keys(json.loads(text))
    except (ValueError, RecursionError):
        raise ValueError("jwks is no set of public Ed25519 keys (RFC 7517)") from None


def _denied() -> ConnectError:
    """Return the one answer for what does not exist and for what the caller may not see."""
    return ConnectError(Code.PERMISSION_DENIED, "there is no such scope, or no right in it")
