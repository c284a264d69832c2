"""A call that outlives its tunnels: kept, held and re-opened at the last MARK's cursor.

Only for capabilities declared resumable. Complete units alone reach the viewer, so what a lost
tunnel leaves unfinished is discarded and comes again: nothing lost, nothing doubled.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

import trio

from relay.calls import Call
from relay.connect_errors import ConnectCode, ConnectError, from_reset
from relay.core import Core
from relay.downlink import Downlink
from relay.metrics import Reason
from relay.registry import TunnelStream
from tunnel.errors import Code, TunnelError
from tunnel.events import End
from tunnel.exchange import RequestHead
from tunnel.wipe import Owned, wipe

# A tunnel that ended, or an agent that leaves in order: its successor takes over.
RESUME_CODES = frozenset({Code.TUNNEL_LOST, Code.DRAINING, Code.REPLACED})


class ResumableCall:
    """Runs one resumable call.

    Args:
        call: what was asked.
        body: the whole request, kept for replay; `close` wipes it.
        downlink: towards the viewer.
        core: the relay's.
    """

    __slots__ = (
        "_body", "_core", "_fruitless", "_opened_at", "_registered", "_stream",
        "call", "downlink", "watched",
    )  # fmt: skip

    def __init__(self, call: Call, body: Owned, downlink: Downlink, core: Core) -> None:
        self.call, self.downlink = call, downlink
        self._body, self._core = body, core
        self._opened_at: float | None = None  # the latest stream; None before the first
        self._registered = 0  # the registry's version then
        self._fruitless = 0
        self._stream: TunnelStream | None = None
        self.watched: int | None = None  # see Departures.watch

    async def run(self) -> bool:
        """Forward until the agent ENDs, over as many tunnels as it takes.

        Returns:
            Whether it has ended. If not, it rests: `run` again when it is `ready`.

        Raises:
            ConnectError: no agent in time, or the agent failed.
            trio.BrokenResourceError: the viewer has left.
        """
        while self._fruitless <= self._core.settings.max_fruitless:
            if self._stream is None:
                self._stream = await self._open()
                await self._ask(self._stream)
            outcome = await self.downlink.forward(self._stream)
            if outcome is None:
                return False
            self._stream = None
            if isinstance(outcome, End):
                return True
            await self._lost(outcome.code)
        text = f"the agent was lost {self._fruitless} times without an answer"
        raise ConnectError(ConnectCode.ABORTED, Reason.AGENT_FAULT, text)

    def rest(self) -> None:
        """Have `run` return as soon as there is nothing to do."""
        if self._stream is not None:
            self.downlink.rest(self._stream)

    def ready(self) -> Awaitable[None]:
        """Wait, while it rests, until there is something to do."""
        assert self._stream is not None
        if self.call.stopped:
            self._stream.nudge()
        return self._stream.ready()

    def nudge(self) -> None:
        """Have `ready` return."""
        if self._stream is not None:
            self._stream.nudge()

    def let_go(self) -> None:
        """End it while it rests."""
        if self._stream is not None:
            self.downlink.let_go(self._stream, left=True)
            self._stream = None

    def close(self) -> None:
        """Wipe the request."""
        wipe(self._body)

    async def _lost(self, code: Code) -> None:
        if code not in RESUME_CODES:
            raise from_reset(code)
        self._fruitless = 0 if self.downlink.units.take_progress() else self._fruitless + 1
        if code is Code.DRAINING:
            await trio.sleep(self._core.settings.reopen_pause_s)

    async def _ask(self, stream: TunnelStream) -> None:
        try:
            if self._body:
                await stream.send(Owned(self._body))  # the session wipes what it has sent
            stream.end()
        except TunnelError:
            pass  # the stream was reset: forward tells how
        except trio.Cancelled:
            stream.reset(Code.CANCELLED)
            raise

    async def _open(self) -> TunnelStream:
        """Open the stream as soon as there is a tunnel, keeping the viewer patient until then."""
        settings = self._core.settings
        before = self._opened_at is not None
        give_up_at = trio.current_time() + (settings.hold_s if before else settings.agent_wait_s)
        registry = self._core.registry
        if self._opened_at is not None and registry.version == self._registered:
            # Lost on a tunnel that lives on: the pace is not its agent's.
            await trio.sleep_until(self._opened_at + settings.reopen_pause_s)
        while True:
            stream = registry.open(self._request(), self.downlink.units.cursor)
            if stream is not None:
                if before:
                    self._core.metrics.add("relay_resumes_total")
                self._opened_at, self._registered = trio.current_time(), registry.version
                return stream
            now = trio.current_time()
            if now >= give_up_at:
                text = "no agent of this cluster is connected"
                reason = Reason.HOLD_EXPIRED if before else Reason.AGENT_ABSENT
                raise ConnectError(ConnectCode.UNAVAILABLE, reason, text)
            if now >= self.downlink.keepalive_at:
                await self.downlink.keepalive()
            else:
                await self._await_tunnel(min(give_up_at, self.downlink.keepalive_at))

    async def _await_tunnel(self, until: float) -> None:
        scope = self.call.head.scope
        with trio.move_on_at(until):
            await self._core.registry.arrival(scope.org, scope.cluster)

    def _request(self) -> RequestHead:
        """The request; after a head of our own, which promised none, without compression."""
        head = self.call.head
        if not self.downlink.made_head:
            return head
        plain = tuple(h for h in head.headers if h[0] != "connect-accept-encoding")
        return replace(head, headers=plain)
