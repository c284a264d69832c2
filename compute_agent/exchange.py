"""The exchange that a handler serves, and what its scope allows."""

from __future__ import annotations

from contextvars import ContextVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from tunnel.stream import Stream

current_exchange: ContextVar[Stream] = ContextVar("current_exchange")


def check_scope(org: str, project: str, domain: str) -> None:
    """Make sure that ids of a request are those that the caller was authorised for.

    The relay authorises by path alone, so a request may name something else.

    Raises:
        ConnectError: PERMISSION_DENIED.
    """
    scope = current_exchange.get().request.scope
    if (org, project, domain) != (scope.org, scope.project, scope.domain):
        raise ConnectError(Code.PERMISSION_DENIED, "the id is outside of the authorised scope")
