"""Towards the caller: writes what the agent answers, and ends what failed so that it shows.

Nothing but the agent's END makes a clean end. A failed streaming answer gets an end-stream error at
a unit boundary; any other that has begun is cut off inside its chunked framing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import trio

from relay.calls import Call
from relay.connect_errors import (
    ConnectCode,
    ConnectError,
    empty_message,
    streaming_type,
)
from relay.http1 import GONE, Http1
from relay.metrics import Metrics, Reason
from relay.registry import TunnelStream
from relay.settings import RelaySettings
from relay.units import Batch, Units
from tunnel.errors import Code
from tunnel.events import End, Reset
from tunnel.exchange import ResponseHead

_NONE: Iterator[Batch] = iter(())
REST_S = 1.0  # going on takes about 20 us: not worth it for who is busy now and then
BODYLESS = (204, 304)  # RFC 9110, 15.3.5 and 15.4.5: they cannot carry what a stream carries


class Downlink:
    """Writes the answer of one call, over one or several streams.

    Args:
        call: what is answered.
        settings, metrics: the relay's.
        hold_units: whether only complete units go out (resumable calls).
    """

    __slots__ = (
        "_batches", "_busy_at", "_failure", "_head", "_holds_units", "_http", "_left", "_metrics",
        "_rests", "_row", "_settings", "_skipped", "_streaming", "_writing", "dropped", "made_head",
        "may_rest", "units",
    )  # fmt: skip

    def __init__(
        self, call: Call, settings: RelaySettings, metrics: Metrics, *, hold_units: bool
    ) -> None:
        self._http, self._streaming = call.http, call.streaming
        self._settings, self._metrics = settings, metrics
        self._row = call.capability.row
        self._head: ResponseHead | None = None
        self.dropped = 0  # bytes that were held for a viewer who left
        self.made_head = False  # whether the head is ours, sent with a keepalive
        self._batches = _NONE  # those that the tap could not write
        self._left: Batch | None = None  # the one of them that it has begun
        self._failure: Exception | None = None  # what the tap met
        self._writing = False  # whether `_pass_on` is at it
        self._rests = False  # whether `forward` goes on with a stream
        self.may_rest = False
        self._busy_at = -math.inf  # when the tap has last left something to do
        self._holds_units = hold_units
        self._skipped = False  # whether bytes are missing that were no whole unit
        self.units = Units(
            hold=hold_units,
            max_unit_bytes=settings.max_unit_bytes,
            batch_bytes=settings.batch_bytes,
        )

    async def forward(self, stream: TunnelStream) -> End | Reset | None:
        """Forward a stream until it ends; returns how. A stream left early is reset at once.

        Returns:
            None if it `may_rest` and does: the tap does what it can, and `forward` has to be called
            again when the stream is `ready`.

        Raises:
            ConnectError: the agent is silent or breaks the rules.
            trio.BrokenResourceError: the viewer has left.
        """
        try:
            if not self._rests:
                await self._first_sign(stream)
                stream.tap(self._pass_on_now)
                await stream.ready()
            while (outcome := await self._pass_on(stream)) is None:
                if self._rests_now():
                    return None
                await stream.ready()
        except BaseException:
            self.let_go(stream, left=True)
            raise
        self.let_go(stream)
        return outcome

    def rest(self, stream: TunnelStream) -> None:
        """Have `forward` return: nothing has been written for a while."""
        self._busy_at = -math.inf
        stream.nudge()

    def let_go(self, stream: TunnelStream, *, left: bool = False) -> None:
        """Forward a stream no longer.

        Args:
            stream: that `forward` was called with.
            left: whether it has not ended.
        """
        stream.tap(None)
        self._rests = False
        self._skipped = self._left is not None and not self._holds_units
        self._batches, self._left = _NONE, None
        if left:
            self.dropped += stream.held
            stream.reset(Code.CANCELLED)
        self._metrics.add("relay_discarded_bytes_total", amount=self.units.discard())
        stream.release(stream.held)

    @property
    def keepalive_at(self) -> float:
        """When silence should be filled; never for an answer that is no stream of messages."""
        if not self._streaming or (self._head and not streaming_type(_type(self._head))):
            return math.inf
        return self._http.written_at + self._settings.keepalive_s

    async def keepalive(self) -> None:
        """Inject an empty message, so that a streaming client stays."""
        message = empty_message(self._streaming)
        head = None
        if self._head is None:
            self._head = ResponseHead(200, (("content-type", self._streaming),))
            self.made_head, head = True, (self._head.status, self._head.headers)
        await self._http.write([message], len(message), head=head)
        self._metrics.add("relay_keepalives_total")

    async def fail(self, error: ConnectError) -> bool:
        """Tell the viewer, if the answer's framing still allows it; returns whether it did."""
        http = self._http
        if http.torn:
            return False
        if not http.started:
            await answer_error(http, self._streaming, error)
            return True
        streaming = self._head is not None and streaming_type(_type(self._head))
        if self._skipped or not streaming or not self.units.at_boundary:
            return False
        message = error.as_end_stream()
        await http.write([message], len(message), last=True)
        return True

    def _rests_now(self) -> bool:
        """Whether it pays to leave the stack: the tap has been enough for a while."""
        before, self._busy_at = self._busy_at, trio.current_time()
        self._rests = self.may_rest and self._busy_at - before >= REST_S
        return self._rests

    def _pass_on_now(self, stream: TunnelStream) -> bool:
        """Write what has arrived as far as the viewer takes it at once; see Stream.tap."""
        if self._writing or self._left is not None or self._failure is not None:
            return False
        self._batches = self.units.feed(stream.take())
        try:
            for batch in self._batches:
                if not batch.plain or not self._http.write_now(batch.parts, batch.size):
                    self._left = batch
                    return False
                self._written(stream, batch)
        except (ConnectError, *GONE) as error:
            self._failure = error
            return False
        self._batches = _NONE  # an exhausted generator still takes its frame
        return True

    async def _pass_on(self, stream: TunnelStream) -> End | Reset | None:
        """Write what `_pass_on_now` could not, and what has arrived meanwhile.

        No view of it outlives this call, so a quiet tail holds none.
        """
        if self._failure is not None:
            raise self._failure
        self._writing = True
        left, self._left = self._left, None
        if left is not None:
            await (self._http.flush() if left.plain else self._write(left))
            self._written(stream, left)
        outcome = left.outcome if left is not None else None
        for batch in self._rest(stream):
            await self._write(batch)
            self._written(stream, batch)
            outcome = batch.outcome
        self._writing = False
        self._batches = _NONE
        return outcome

    def _rest(self, stream: TunnelStream) -> Iterator[Batch]:
        yield from self._batches
        yield from self.units.feed(stream.take())

    def _written(self, stream: TunnelStream, batch: Batch) -> None:
        self._metrics.carried(self._row, "down", batch.size)
        stream.release(batch.size)

    async def _first_sign(self, stream: TunnelStream) -> None:
        with trio.move_on_after(self._settings.answer_s):
            await stream.ready()
            return
        text = "the agent did not answer in time"
        raise ConnectError(ConnectCode.DEADLINE_EXCEEDED, Reason.AGENT_SILENT, text)

    async def _write(self, batch: Batch) -> None:
        head = None
        if batch.head is not None and self._take_head(batch.head):
            head = (batch.head.status, batch.head.headers)
        last = isinstance(batch.outcome, End)
        await self._http.write(batch.parts, batch.size, head=head, last=last)

    def _take_head(self, head: ResponseHead) -> bool:
        """Check an agent's head; returns whether it is the first, which the viewer gets."""
        if head.status in BODYLESS:
            text = "the agent answered with a status that has no body"
            raise ConnectError(ConnectCode.INTERNAL, Reason.AGENT_FAULT, text)
        if self._head is None:
            self._head = head
            return True
        if _shape(head) != _shape(self._head):
            text = "the agent answered differently after it came back"
            raise ConnectError(ConnectCode.ABORTED, Reason.AGENT_FAULT, text)
        return False


async def answer_error(http: Http1, streaming: str, error: ConnectError) -> None:
    """Answer with an error and nothing else, in the form that the call's content type asks for."""
    if streaming:
        message = error.as_end_stream()
        head = (200, (("content-type", streaming),))
        await http.write([message], len(message), head=head, last=True)
    else:
        await http.answer(error.http_status, error.headers(), error.as_json())


def _type(head: ResponseHead) -> str:
    return head.get("content-type")


def _shape(head: ResponseHead) -> tuple[int, str, str, str]:
    """What makes bytes of two answers mean the same."""
    encoding = head.get("connect-content-encoding", "identity")
    return head.status, _type(head), head.get("content-encoding", "identity"), encoding
