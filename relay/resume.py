"""A call that outlives its tunnels: kept, held and re-opened at the last MARK's cursor.

Only for capabilities declared resumable. Complete units alone reach the viewer, so what a lost
tunnel leaves unfinished is discarded and comes again: nothing lost, nothing doubled.
"""

from __future__ import annotations

from dataclasses import replace

import trio

from relay.calls import Call
from relay.connect_errors import ConnectCode, ConnectError, from_reset
from relay.downlink import Downlink
from relay.metrics import Metrics, Reason
from relay.registry import Registry, TunnelStream
from relay.settings import RelaySettings
from tunnel.errors import Code, TunnelError
from tunnel.events import End
from tunnel.exchange import RequestHead
from tunnel.wipe import Owned

# A tunnel that ended, or an agent that leaves in order: its successor takes over.
RESUME_CODES = frozenset({Code.TUNNEL_LOST, Code.DRAINING, Code.REPLACED})


class ResumableCall:
    """Runs one resumable call.

    Args:
        call: what was asked.
        body: the whole request, kept for replay; the caller wipes it.
        downlink: towards the viewer.
        registry: where tunnels are found.
        settings, metrics: the relay's.
    """

    __slots__ = ("_body", "_call", "_downlink", "_metrics", "_registry", "_settings")

    def __init__(
        self,
        call: Call,
        body: Owned,
        downlink: Downlink,
        registry: Registry,
        settings: RelaySettings,
        metrics: Metrics,
    ) -> None:
        self._call, self._body, self._downlink = call, body, downlink
        self._registry, self._settings, self._metrics = registry, settings, metrics

    async def run(self) -> None:
        """Forward until the agent ENDs, over as many tunnels as it takes.

        Raises:
            ConnectError: no agent in time, or the agent failed.
            trio.BrokenResourceError: the viewer has left.
        """
        wait_s, reason, fruitless = self._settings.agent_wait_s, Reason.AGENT_ABSENT, 0
        while fruitless <= self._settings.max_fruitless:
            stream = await self._open(trio.current_time() + wait_s, reason)
            await self._ask(stream)
            outcome = await self._downlink.forward(stream)
            if isinstance(outcome, End):
                return
            if outcome.code not in RESUME_CODES:
                raise from_reset(outcome.code)
            wait_s, reason = self._settings.hold_s, Reason.HOLD_EXPIRED
            fruitless = 0 if self._downlink.units.take_progress() else fruitless + 1
            if outcome.code is Code.DRAINING:
                await trio.sleep(self._settings.reopen_pause_s)
        text = f"the agent was lost {fruitless} times without an answer"
        raise ConnectError(ConnectCode.ABORTED, Reason.AGENT_FAULT, text)

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

    async def _open(self, give_up_at: float, reason: Reason) -> TunnelStream:
        """Open the stream as soon as there is a tunnel, keeping the viewer patient until then."""
        while True:
            stream = self._registry.open(self._request(), self._downlink.units.cursor)
            if stream is not None:
                if reason is Reason.HOLD_EXPIRED:
                    self._metrics.add("relay_resumes_total")
                return stream
            now = trio.current_time()
            if now >= give_up_at:
                text = "no agent of this cluster is connected"
                raise ConnectError(ConnectCode.UNAVAILABLE, reason, text)
            if now >= self._downlink.keepalive_at:
                await self._downlink.keepalive()
            else:
                await self._await_tunnel(min(give_up_at, self._downlink.keepalive_at))

    async def _await_tunnel(self, until: float) -> None:
        scope = self._call.head.scope
        with trio.move_on_at(until):
            await self._registry.arrival(scope.org, scope.cluster)

    def _request(self) -> RequestHead:
        """The request; after a head of our own, which promised none, without compression."""
        head = self._call.head
        if not self._downlink.made_head:
            return head
        plain = tuple(h for h in head.headers if h[0] != "connect-accept-encoding")
        return replace(head, headers=plain)
