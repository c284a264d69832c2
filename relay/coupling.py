"""Couples an HTTP exchange to a stream of the tunnel, either way, without looking into a body."""

from __future__ import annotations

from contextlib import suppress

import trio

from relay.calls import Call
from relay.connect_errors import ConnectCode, ConnectError, from_reset
from relay.core import Core
from relay.downlink import Downlink
from relay.fan_out import FanOut, content_type
from relay.http1 import GONE, Stalled
from relay.http_head import BadRequest
from relay.metrics import Reason
from relay.registry import TunnelStream
from relay.resume import ResumableCall
from tunnel.errors import Code, TunnelError
from tunnel.events import Reset
from tunnel.wipe import wipe


class Coupler:
    """Runs admitted calls.

    Args:
        core: the relay's.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._fan_outs = trio.CapacityLimiter(core.settings.max_fan_outs)

    async def run(self, call: Call) -> None:
        """Run a call to its end, whatever ends it; an answer that cannot be finished is left open.

        Raises:
            ConnectError: it could not even begin.
        """
        downlink = Downlink(
            call, self._core.settings, self._core.metrics, hold_units=call.capability.resumable
        )
        with self._core.calls.under_way(call):
            self._core.metrics.add("relay_exchanges_total", call.capability.opened_by)
            await self._supervise(call, downlink)
            ending = await self._finish(call, downlink)
        self._core.memory.dropped(downlink.dropped)
        self._core.metrics.add("relay_endings_total", ending)
        scope = call.head.scope
        self._core.journal.event(
            "exchange_ended",
            org=scope.org,
            cluster=scope.cluster,
            rpc=call.capability.path,
            ending=ending,
            reason=str(call.error.reason) if call.error else "",
        )

    async def _supervise(self, call: Call, downlink: Downlink) -> None:
        """Run the call beside a watch on its caller; whichever ends first ends both."""
        with call.scope:
            async with trio.open_nursery() as nursery:
                try:
                    if call.clusters:
                        await self._everywhere(call, nursery)
                    elif call.capability.resumable:
                        await self._resumable(call, downlink, nursery)
                    else:
                        await self._direct(call, downlink, nursery)
                except ConnectError as error:
                    call.stop(error)
                except BadRequest as error:
                    call.stop(_body_error(error))
                except Stalled:
                    text = "the answer was not read"
                    call.stop(ConnectError(ConnectCode.DEADLINE_EXCEEDED, Reason.SLOW, text))
                except GONE:
                    pass
                nursery.cancel_scope.cancel()

    async def _resumable(self, call: Call, downlink: Downlink, nursery: trio.Nursery) -> None:
        body = await call.http.whole_body(self._core.settings.replay_bytes)
        self._core.metrics.carried(call.capability.row, "up", len(body))
        try:
            nursery.start_soon(self._watch, call)
            resumable = ResumableCall(
                call, body, downlink, self._core.registry, self._core.settings, self._core.metrics
            )
            await resumable.run()
        finally:
            wipe(body)

    async def _everywhere(self, call: Call, nursery: trio.Nursery) -> None:
        """To every cluster of the organisation, each once; the request is let go of at the end."""
        core = self._core
        try:
            self._fan_outs.acquire_on_behalf_of_nowait(call)
        except trio.WouldBlock:
            limit = core.settings.max_fan_outs
            text = f"at most {limit} calls to every cluster are served at a time"
            raise ConnectError(ConnectCode.RESOURCE_EXHAUSTED, Reason.TOO_MANY, text) from None
        try:
            body = await call.http.whole_body(core.settings.fan_out_request_bytes)
            core.metrics.carried(call.capability.row, "up", len(body))
            nursery.start_soon(self._watch, call)
            fan_out = FanOut(call.head, call.clusters, core.registry, core.settings)
            try:
                answer = await fan_out.run(body)
            finally:
                wipe(body)
        finally:
            self._fan_outs.release_on_behalf_of(call)
        try:
            await call.http.answer(200, (("content-type", content_type(call.head)),), answer)
            core.metrics.carried(call.capability.row, "down", len(answer))
        finally:
            wipe(answer)

    async def _direct(self, call: Call, downlink: Downlink, nursery: trio.Nursery) -> None:
        """Never kept, never replayed: a write must not happen twice."""
        stream = self._core.registry.open(call.head)
        if stream is None:
            text = "no agent of this cluster is connected"
            raise ConnectError(ConnectCode.UNAVAILABLE, Reason.AGENT_ABSENT, text)
        try:
            nursery.start_soon(self._uplink, call, stream)
            outcome = await downlink.forward(stream)
        finally:
            if not call.uploaded:
                stream.reset(Code.CANCELLED)
        if isinstance(outcome, Reset):
            raise from_reset(outcome.code)

    async def _uplink(self, call: Call, stream: TunnelStream) -> None:
        try:
            while piece := await call.http.body():
                await stream.send(piece, alone=True)
                self._core.metrics.carried(call.capability.row, "up", len(piece))
            stream.end()
            call.uploaded = True
        except TunnelError:
            pass  # the stream was reset: the downlink tells how
        except BadRequest as error:
            call.stop(_body_error(error))
        except GONE:
            call.scope.cancel()
        await self._watch(call)

    async def _watch(self, call: Call) -> None:
        """A viewer that leaves ends its exchange at once, also on a quiet tail."""
        await call.http.gone()
        call.scope.cancel()

    async def _finish(self, call: Call, downlink: Downlink) -> str:
        """Close the caller's side; returns how it ended."""
        if call.http.finished:
            return "complete"
        if call.error is None:
            return "left"
        self._core.metrics.reject(call.error.reason)
        told = False
        with suppress(*GONE), trio.move_on_after(self._core.settings.close_s):
            told = await downlink.fail(call.error)
        return "error" if told else "aborted"


def _body_error(error: BadRequest) -> ConnectError:
    code = ConnectCode.INVALID_ARGUMENT
    if error.status == 413:
        code = ConnectCode.RESOURCE_EXHAUSTED
    return ConnectError(code, error.reason, error.message)
