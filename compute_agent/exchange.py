"""The exchange that a handler serves, and what its scope allows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from compute_agent.attempts import Attempt, BadName
from compute_agent.proof import Flaw, ProofRefused
from tunnel.messages.planesplit_v1_pb2 import Action
from tunnel.stream import Stream


class Body:
    """Compares a request's body with the digest that was signed for it, if one was.

    Args:
        path: of the RPC.
    """

    def __init__(self, path: str) -> None:
        self._path, self._expected, self._sum = path, "", hashlib.sha256()
        self._on_flaw: Callable[[str, str], None] = lambda *_: None

    def expect(self, digest: str, on_flaw: Callable[[str, str], None]) -> None:
        """Say before it is read what SHA-256 it must have, in hex; empty for any."""
        self._expected, self._on_flaw = digest, on_flaw

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        if self._expected:
            self._sum.update(piece)

    def close(self) -> None:
        """It has ended.

        Raises:
            ProofRefused: it is another one than was signed.
        """
        if self._expected and self._sum.hexdigest() != self._expected:
            self._on_flaw(self._path, Flaw.ALTERED)
            raise ProofRefused(Flaw.ALTERED)


class Answer(Protocol):
    """Takes messages of a stream's answer past the application, while that waits for more."""

    @property
    def open(self) -> bool:
        """Whether it can: the answer has begun, and its messages are not compressed."""
        ...

    def post(self, message: bytes, mark: bytes) -> bool:
        """Queue a framed message and the mark behind it; False if it has to be sent by waiting."""
        ...

    def push(self) -> None:
        """Send what was posted."""
        ...


current_exchange: ContextVar[Stream] = ContextVar("current_exchange")
current_body: ContextVar[Body] = ContextVar("current_body")
current_answer: ContextVar[Answer | None] = ContextVar("current_answer", default=None)


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
