"""Who calls, and whether they may: the check that every RPC makes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from control_stub.issuer import Issuer, TokenRefused
from control_stub.policy import Policy
from control_stub.settings import NAME
from tunnel.exchange import NONE
from tunnel.messages.rpc import Context

DEMO_SUBJECT = "demo"


class Caller(NamedTuple):
    """An authenticated caller; `expires_at` in seconds since the epoch."""

    subject: str
    org: str
    expires_at: float


class Access:
    """Authenticates and authorises callers.

    What a caller may not even view does not exist for them: one and the same NOT_FOUND for
    another org's things and for things that nobody has.

    Args:
        demo_org: with it every caller is `demo` in that org (`insecure`).
        clock: seconds since the epoch.
    """

    def __init__(
        self, issuer: Issuer, policy: Policy, clock: Callable[[], float], demo_org: str = ""
    ) -> None:
        self._issuer, self._policy, self._clock = issuer, policy, clock
        self._demo = Caller(DEMO_SUBJECT, demo_org, math.inf) if demo_org else None

    def caller(self, ctx: Context) -> Caller:
        """Return who calls.

        Raises:
            ConnectError: UNAUTHENTICATED.
        """
        if self._demo is not None:
            return self._demo
        scheme, _, token = ctx.request_headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise TokenRefused
            claims = self._issuer.verify(token)
        except TokenRefused:
            raise ConnectError(Code.UNAUTHENTICATED, "a valid bearer token is needed") from None
        if self._policy.is_revoked(claims.org, claims.subject, claims.issued_at):
            raise ConnectError(Code.UNAUTHENTICATED, "a valid bearer token is needed")
        return Caller(claims.subject, claims.org, claims.expires_at)

    def require(
        self,
        ctx: Context,
        permission: str,
        org: str,
        project: str | None = None,
        domain: str | None = None,
        *,
        what: str = "project",
    ) -> Caller:
        """Return the caller if it has the permission in the scope.

        Args:
            org: empty for the caller's own, as the CLI leaves it.
            project, domain: None for any, `-` for what belongs to no single one.
            what: names what is not found.

        Raises:
            ConnectError: UNAUTHENTICATED; INVALID_ARGUMENT for a malformed name; NOT_FOUND where
                the caller may not look; PERMISSION_DENIED where it may look but not do this.
        """
        caller = self.caller(ctx)
        for name in (project, domain):
            if name not in (None, NONE) and not NAME.fullmatch(str(name)):
                raise ConnectError(
                    Code.INVALID_ARGUMENT, "project and domain must be names, e.g. --project NAME"
                )
        allows = self._policy.allows
        visible = (None if level == NONE else level for level in (project, domain))
        if (org or caller.org) != caller.org or not allows(
            caller.subject, "view", caller.org, *visible
        ):
            raise not_found(what)
        if not allows(caller.subject, permission, caller.org, project, domain):
            raise ConnectError(Code.PERMISSION_DENIED, f"needs permission to {permission} here")
        return caller

    def allows(self, caller: Caller, permission: str, project: str) -> bool:
        """Whether the caller has a permission somewhere in a project of its org."""
        return self._policy.allows(caller.subject, permission, caller.org, project, None)

    def remaining_s(self, caller: Caller) -> float:
        """Return for how many seconds the caller's token still counts."""
        return caller.expires_at - self._clock()


def not_found(what: str) -> ConnectError:
    """Return the one answer for what does not exist and for what is not the caller's."""
    return ConnectError(Code.NOT_FOUND, f"no such {what}")
