"""The exchange that a handler serves, and what its scope allows."""

from __future__ import annotations

from contextvars import ContextVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from compute_agent.attempts import Attempt, BadName
from tunnel.messages.planesplit_v1_pb2 import Action
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


def authorised_attempt(action: Action) -> Attempt:
    """Return the attempt that a request names, if it is in the exchange's scope.

    Raises:
        ConnectError: PERMISSION_DENIED, or INVALID_ARGUMENT for ids that name nothing.
    """
    check_scope(action.org, action.project, action.domain)
    attempt = Attempt(
        action.org, action.project, action.domain, action.run, action.action, action.attempt
    )
    try:
        attempt.check()
    except BadName as error:
        raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
    return attempt
