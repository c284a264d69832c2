"""The exchanges under way, so that one or all can be stopped with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from relay.connect_errors import EXPIRED_TEXT, ConnectCode, ConnectError
from relay.http1 import Http1
from relay.metrics import Reason
from relay.tenants import Tenants
from tunnel.capabilities import Capability
from tunnel.exchange import RequestHead

if TYPE_CHECKING:
    from relay.resume import ResumableCall

AHEAD_S = 0.1  # what is on its way has arrived when the token ends
CLOCK_LOOK_S = 10.0  # between two looks at the clock, which somebody may have set


@dataclass(eq=False, slots=True)
class Call:
    """One admitted exchange of a viewer or the control plane.

    Args:
        http: where it came from and is answered.
        streaming: its streaming content type, "" for a unary call.
        head: what is opened in the tunnel.
        capability: what may be done with it.
        permitted: whether policy still allows it.
        clusters: who is asked when the scope names no single cluster.
        expires_at: epoch second of the token that it was admitted with; infinite for what lasts.
        uploaded: whether the whole request went into the tunnel.
        stopped: whether it has to end.
        resumable: what runs it, if it is resumable; while it rests that is all there is.
    """

    http: Http1
    streaming: str
    head: RequestHead
    capability: Capability
    permitted: Callable[[], bool]
    clusters: tuple[str, ...] = ()
    expires_at: float = math.inf
    error: ConnectError | None = None
    uploaded: bool = False
    stopped: bool = False
    resumable: ResumableCall | None = None
    scope: trio.CancelScope | None = None  # of its work; none while it rests

    def cancel(self) -> None:
        """End it; nobody is told."""
        self.stopped = True
        if self.scope is not None:
            self.scope.cancel()
        if self.resumable is not None:
            self.resumable.nudge()

    def stop(self, error: ConnectError) -> None:
        """End it; the viewer is told `error` if that is still possible."""
        if self.error is None:
            self.error = error
        self.cancel()


class Calls:
    """All calls under way.

    Args:
        limit: most at a time.
        tenants: what each organisation may have of them.
        clock: wall clock, seconds since the epoch.
        leeway_s: how long after its end a token counts.
    """

    def __init__(
        self, limit: int, tenants: Tenants, clock: Callable[[], float], leeway_s: float
    ) -> None:
        self._limit, self._tenants = limit, tenants
        self._clock, self._leeway_s = clock, leeway_s - AHEAD_S
        self._next_at = math.inf  # epoch second at which the first token ends, with its leeway
        self._wait = trio.CancelScope()
        self._calls: set[Call] = set()
        self._empty = trio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._calls)

    def enter(self, call: Call) -> None:
        """Count `call` in, until `leave`.

        Raises:
            ConnectError: RESOURCE_EXHAUSTED.
        """
        if len(self._calls) >= self._limit:
            text = f"at most {self._limit} exchanges are served at a time"
            raise ConnectError(ConnectCode.RESOURCE_EXHAUSTED, Reason.TOO_MANY, text)
        if call.capability.opened_by == "viewer":
            self._tenants.enter(call.head.scope.org)
        if not self._calls:
            self._empty = trio.Event()
        self._calls.add(call)
        if call.expires_at + self._leeway_s < self._next_at:
            self._next_at = call.expires_at + self._leeway_s
            self._wait.cancel()

    def leave(self, call: Call) -> None:
        """The call has ended."""
        self._calls.discard(call)
        if call.capability.opened_by == "viewer":
            self._tenants.leave(call.head.scope.org)
        if not self._calls:
            self._empty.set()

    def stop_all(self, error: ConnectError) -> None:
        """End every call with `error`."""
        for call in self._calls:
            call.stop(error)

    def stop_forbidden(self) -> None:
        """End the calls that policy no longer allows."""
        for call in self._calls:
            if not call.permitted():
                text = "the right to this exchange was withdrawn"
                call.stop(ConnectError(ConnectCode.PERMISSION_DENIED, Reason.REVOKED, text))

    async def watch_tenants(self, every_s: float) -> None:
        """End, for ever, what organisations have that carry far more than they may."""
        while True:
            await trio.sleep(every_s)
            overdrawn = self._tenants.overdrawn()
            for call in self._calls if overdrawn else ():
                if call.capability.opened_by == "viewer" and call.head.scope.org in overdrawn:
                    call.stop(self._tenants.spent())

    async def watch_tokens(self) -> None:
        """End, for ever, what is still on when the token ends that it was admitted with."""
        while True:
            left_s = self._next_at - self._clock()
            if left_s <= 0:
                self._stop_expired()
                continue
            if left_s < math.inf:
                left_s = min(left_s, CLOCK_LOOK_S)
            with trio.move_on_after(left_s) as self._wait:
                await trio.sleep_forever()

    def _stop_expired(self) -> None:
        now, self._next_at = self._clock(), math.inf
        for call in self._calls:
            ends_at = call.expires_at + self._leeway_s
            if ends_at <= now:
                call.stop(ConnectError(ConnectCode.UNAUTHENTICATED, Reason.EXPIRED, EXPIRED_TEXT))
            else:
                self._next_at = min(self._next_at, ends_at)

    async def none_left(self) -> None:
        """Wait until no call is under way."""
        await self._empty.wait()
