"""Who may do what here: the customer's own check, whatever the relay says.

The control plane pushes the roles of this org; every viewer's exchange is judged by them again, as
is every token at the data endpoint. A relay that mixes up subjects or scopes gets nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.interceptor import MetadataInterceptor
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, OKPKey

from compute_agent.exchange import current_exchange
from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.exchange import RequestHead
from tunnel.messages.planesplit_v1_pb2 import AccessRequest, AccessResponse, Binding
from tunnel.messages.rpc import Context
from tunnel.roles import PERMISSIONS

ANY = "*"
AUDIENCE = "planesplit"
ALGORITHMS = ("Ed25519",)  # RFC 9864; pinned, whatever a token's header says
CONTROL = "control"  # whom the relay names when the control plane opens an exchange
DEMO_SUBJECT = "demo"
MAX_TOKEN_BYTES = 4096
MAX_KEYS = 16  # an issuer has two while it rotates
CLOCK_SKEW_S = 5  # between the customer's machine and the issuer


@dataclass(frozen=True, slots=True)
class _Policy:
    """One push; `bindings` by subject."""

    version: int
    issuer: str
    keys: dict[str, OKPKey] = field(repr=False)
    bindings: Mapping[str, tuple[Binding, ...]]
    revoked: Mapping[str, int]


class Access:
    """The roles of one org, as pushed last.

    Args:
        org: the agent's own; a push that speaks of another is refused.
        insecure: no tokens: every caller of the data endpoint is `demo`; loopback only.
        now_s: wall clock, seconds since the epoch.
    """

    def __init__(self, org: str, *, insecure: bool, now_s: Callable[[], float]) -> None:
        self._org, self._insecure, self._now_s = org, insecure, now_s
        self._policy: _Policy | None = None
        self._known = trio.Event()

    @property
    def version(self) -> int:
        """Version in force, 0 before the first push."""
        return self._policy.version if self._policy is not None else 0

    def put(self, request: AccessRequest) -> int:
        """Take a push, unless a newer one is in force; return the version that is.

        Raises:
            ValueError: it speaks of another org, of unknown roles, or its keys are malformed.
        """
        if request.version > self.version:
            self._policy = _policy(request, self._org)
            self._known.set()
        return self.version

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
        if self._insecure:
            return DEMO_SUBJECT
        scheme, _, token = authorization.partition(" ")
        claims = self._claims(policy, token) if scheme.lower() == "bearer" else None
        if claims is None or claims["iat"] < policy.revoked.get(claims["sub"], 0):
            raise ConnectError(Code.UNAUTHENTICATED, "a valid bearer token is needed")
        if claims["org"] != self._org:
            raise _denied()
        return str(claims["sub"])

    def check(self, head: RequestHead, capability: Capability) -> None:
        """Judge an exchange by its head alone.

        Raises:
            ConnectError: PERMISSION_DENIED; UNAVAILABLE before the first push.
        """
        scope = head.scope
        if capability.opened_by == "viewer":
            allowed = self.permits(
                head.viewer, scope.org, scope.project, scope.domain, capability.permission
            )
        else:
            allowed = capability.opened_by == CONTROL == head.viewer and scope.org == self._org
        if not allowed:
            raise _denied()

    def _in_force(self) -> _Policy:
        if self._policy is None:
            raise ConnectError(Code.UNAVAILABLE, "the agent was not told yet who may do what")
        return self._policy

    def _claims(self, policy: _Policy, token: str) -> dict[str, Any] | None:
        """Return what a good token says, None for any other."""

        def key(signed: GuestProtocol) -> OKPKey:
            return policy.keys[signed.headers()["kid"]]

        registry = jwt.JWTClaimsRegistry(
            now=int(self._now_s()),
            leeway=CLOCK_SKEW_S,
            iss={"essential": True, "value": policy.issuer},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            org={"essential": True},
            iat={"essential": True},
            exp={"essential": True},
        )
        if len(token) > MAX_TOKEN_BYTES:
            return None
        try:
            claims = jwt.decode(token, key, algorithms=ALGORITHMS).claims
            registry.validate(claims)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return claims


class Gate(MetadataInterceptor[None]):
    """Lets an exchange of the tunnel through to its handler, before its body is read.

    Args:
        access: judges it.
        wait_s: how long an exchange waits for the first push: after a restart of the agent the
            relay resumes tails at once.
    """

    def __init__(self, access: Access, wait_s: float) -> None:
        self._access, self._wait_s = access, wait_s

    async def on_start(self, ctx: Context) -> None:
        """Judge the exchange that is being served.

        Raises:
            ConnectError: see Access.check.
        """
        head = current_exchange.get().request
        capability = CAPABILITIES[head.path]
        if capability.opened_by == "viewer":
            await self._access.known(self._wait_s)
        self._access.check(head, capability)


class AccessService:
    """Handles `planesplit.v1.AccessService`, which only the control plane may open."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def put_access(self, request: AccessRequest, _ctx: Context) -> AccessResponse:
        """Take a push; an older one than is in force changes nothing."""
        try:
            return AccessResponse(version=self._access.put(request))
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
        request.issuer,
        _keys(request.jwks),
        {subject: tuple(held) for subject, held in bindings.items()},
        dict(request.revoked),
    )


def _keys(text: str) -> dict[str, OKPKey]:
    try:
        entries = json.loads(text)["keys"]
        if len(entries) > MAX_KEYS:
            raise ValueError
        public = ({name: str(e[name]) for name in ("kty", "crv", "x", "kid")} for e in entries)
        return {entry["kid"]: OKPKey.import_key(dict(entry)) for entry in public}
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("jwks is no set of public Ed25519 keys (RFC 7517)") from None


def _denied() -> ConnectError:
    """Return the one answer for what does not exist and for what the caller may not see."""
    return ConnectError(Code.PERMISSION_DENIED, "there is no such scope, or no right in it")
