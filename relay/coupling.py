"""Couples an HTTP exchange to a stream of the tunnel, either way, without looking into a body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

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
from relay.serving import Rest
from tunnel.errors import Code, TunnelError
from tunnel.events import Reset
from tunnel.wipe import wipe

_ENDINGS = (ConnectError, BadRequest, Stalled, *GONE)
_T = TypeVar("_T")


class Coupler:
    """Runs admitted calls.

    Args:
        core: the relay's.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._fan_outs = trio.CapacityLimiter(core.settings.max_fan_outs)

    async def run(self, call: Call) -> Rest | None:
        """Run a call to its end, whatever ends it; an answer that cannot be finished is left open.

        Returns:
            What goes on with it, if it rests.

        Raises:
            ConnectError: it could not even begin.
        """
        downlink = Downlink(
            call, self._core.settings, self._core.metrics, hold_units=call.capability.resumable
        )
        self._core.calls.enter(call)
        self._core.metrics.add("relay_exchanges_total", call.capability.opened_by)
        return await self.work(call, downlink)

    async def work(self, call: Call, downlink: Downlink) -> Rest | None:
        """Work on a call until it ends or rests."""
        rest: Rest | None = None
        try:
            call.scope = trio.CancelScope()
            with call.scope:
                try:
                    rest = await self._way(call)(call, downlink)
                except _ENDINGS as error:
                    _end(call, error)
            call.scope = None
            if rest is not None:
                return rest
            ending = await self._finish(call, downlink)
        finally:
            if rest is None:
                self._core.calls.leave(call)
        self._ended(call, downlink, ending)
        return None

    def let_go(self, call: Call) -> None:
        """End a call that rests; nobody is told."""
        assert call.resumable is not None
        call.resumable.let_go()
        self._close(call)
        self._core.calls.leave(call)

    def _ended(self, call: Call, downlink: Downlink, ending: str) -> None:
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

    def _way(self, call: Call) -> Callable[[Call, Downlink], Awaitable[Rest | None]]:
        if call.clusters:
            return self._everywhere
        return self._resumable if call.capability.resumable else self._direct

    async def _resumable(self, call: Call, downlink: Downlink) -> Rest | None:
        if (resumable := call.resumable) is None:
            resumable = await self._begin(call, downlink)
        elif call.stopped:
            resumable.let_go()
            self._close(call)
            return None
        ended = True
        try:
            if resumable.watched is None:
                await _beside(partial(self._watch, call), resumable.run)
            else:
                ended = await resumable.run()
        finally:
            if ended:
                self._close(call)
        return None if ended else Resting(self, call)

    async def _begin(self, call: Call, downlink: Downlink) -> ResumableCall:
        core = self._core
        body = await call.http.whole_body(core.settings.replay_bytes)
        core.metrics.carried(call.capability.row, "up", len(body))
        resumable = call.resumable = ResumableCall(call, body, downlink, core)
        resumable.watched = core.departures.watch(call)
        downlink.may_rest = resumable.watched is not None  # else there is a task beside this one
        return resumable

    def _close(self, call: Call) -> None:
        resumable, call.resumable = call.resumable, None
        assert resumable is not None
        if resumable.watched is not None:
            self._core.departures.forget(resumable.watched)
        resumable.close()

    async def _everywhere(self, call: Call, _: Downlink) -> None:
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
            fan_out = FanOut(call.head, call.clusters, core.registry, core.settings)
            try:
                answer = await _beside(partial(self._watch, call), partial(fan_out.run, body))
            finally:
                wipe(body)
        finally:
            self._fan_outs.release_on_behalf_of(call)
        try:
            await call.http.answer(200, (("content-type", content_type(call.head)),), answer)
            core.metrics.carried(call.capability.row, "down", len(answer))
        finally:
            wipe(answer)

    async def _direct(self, call: Call, downlink: Downlink) -> None:
        """Never kept, never replayed: a write must not happen twice."""
        stream = self._core.registry.open(call.head)
        if stream is None:
            text = "no agent of this cluster is connected"
            raise ConnectError(ConnectCode.UNAVAILABLE, Reason.AGENT_ABSENT, text)
        try:
            await call.http.invite()
            forwarding = partial(downlink.forward, stream)
            outcome = await _beside(partial(self._uplink, call, stream), forwarding)
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
            call.cancel()
        await self._watch(call)

    async def _watch(self, call: Call) -> None:
        """A viewer that leaves ends its exchange at once, also on a quiet tail."""
        await call.http.gone()
        call.cancel()

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


class Resting:
    """A resumable call that rests: nothing of its work is on the stack of its connection's task.

    Args:
        coupler: that runs it.
        call: with a `resumable`.
    """

    __slots__ = ("_call", "_coupler", "_resumable")

    def __init__(self, coupler: Coupler, call: Call) -> None:
        assert call.resumable is not None
        self._coupler, self._call, self._resumable = coupler, call, call.resumable

    def ready(self) -> Awaitable[None]:
        """See Rest."""
        return self._resumable.ready()

    def go_on(self) -> Awaitable[Rest | None]:
        """See Rest."""
        return self._coupler.work(self._call, self._resumable.downlink)

    def let_go(self) -> None:
        """See Rest."""
        self._coupler.let_go(self._call)


async def _beside(aside: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[_T]]) -> _T:
    """Run `work` with a task beside it that ends with it; raises what `work` raises."""
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(aside)
        try:
            result = await work()
        except _ENDINGS as ending:
            error = ending
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error
    return result


def _end(call: Call, error: Exception) -> None:
    """End a call as what went wrong demands; a caller who left is told nothing."""
    match error:
        case ConnectError():
            call.stop(error)
        case BadRequest():
            call.stop(_body_error(error))
        case Stalled():
            text = "the answer was not read"
            call.stop(ConnectError(ConnectCode.DEADLINE_EXCEEDED, Reason.SLOW, text))


def _body_error(error: BadRequest) -> ConnectError:
    code = ConnectCode.INVALID_ARGUMENT
    if error.status == 413:
        code = ConnectCode.RESOURCE_EXHAUSTED
    return ConnectError(code, error.reason, error.message)
