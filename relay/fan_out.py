"""One call to every cluster of an organisation: each is asked exactly once, one answer for all.

Requests and answers stay opaque. Protobuf defines parsing two messages in a row as merging them, so
answers in `application/proto` are put together by putting their bytes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import trio

from relay.connect_errors import ConnectCode, ConnectError, from_reset, from_status
from relay.metrics import Reason
from relay.registry import Registry, TunnelStream
from relay.settings import RelaySettings
from tunnel.errors import Code, TunnelError
from tunnel.events import Data, End, Head, Reset
from tunnel.exchange import RequestHead, ResponseHead
from tunnel.wipe import Owned, joined, wipe_all

PROTO, JSON = "application/proto", "application/json"
READ = "view"  # permission of what only reads
OK = 200
_COMPRESSION = frozenset({"accept-encoding", "connect-accept-encoding"})


@dataclass(slots=True)
class _Part:
    """What one cluster made of it; `failure` is None once it has answered well."""

    cluster: str
    failure: ConnectCode | None = ConnectCode.DEADLINE_EXCEEDED
    head: ResponseHead | None = None
    body: list[Owned] = field(default_factory=list)


class FanOut:
    """Asks several clusters at once.

    Args:
        head: the call; its scope's cluster is replaced by each one's name.
        clusters: whom to ask.
        registry: where tunnels are found.
        settings: `fan_out_s`, `fan_out_answer_bytes`.
    """

    def __init__(
        self,
        head: RequestHead,
        clusters: Sequence[str],
        registry: Registry,
        settings: RelaySettings,
    ) -> None:
        plain = tuple(h for h in head.headers if h[0] not in _COMPRESSION)
        self._head, self._registry, self._settings = (
            replace(head, headers=plain),
            registry,
            settings,
        )
        self._type = content_type(head)
        self._parts = [_Part(name) for name in clusters]
        self._room_bytes = settings.fan_out_answer_bytes

    async def run(self, body: Owned) -> Owned:
        """Ask everybody and return the answer for all, to be wiped by the caller as `body`.

        Raises:
            ConnectError: somebody has failed; the message says how each one fared.
        """
        try:
            with trio.move_on_after(self._settings.fan_out_s):
                async with trio.open_nursery() as nursery:
                    for part in self._parts:
                        nursery.start_soon(self._ask, part, body)
            failures = [part.failure for part in self._parts if part.failure is not None]
            if failures:
                raise ConnectError(_worst(failures), Reason.FAN_OUT, self._report())
            return self._together()
        finally:
            for part in self._parts:
                wipe_all(part.body)

    def _together(self) -> Owned:
        parts = self._parts[:1] if self._type == JSON else self._parts
        return joined([piece for part in parts for piece in part.body])

    async def _ask(self, part: _Part, body: Owned) -> None:
        scope = replace(self._head.scope, cluster=part.cluster)
        try:
            stream = self._registry.open(replace(self._head, scope=scope))
        except ConnectError as error:
            part.failure = error.code
            return
        if stream is None:
            part.failure = ConnectCode.UNAVAILABLE
            return
        try:
            with suppress(TunnelError):  # the stream was reset: its events tell how
                if body:
                    await stream.send(Owned(body))  # each session wipes what it has sent
                stream.end()
            part.failure = await self._read(stream, part)
        finally:
            stream.reset(Code.CANCELLED)  # harmless when it is over

    async def _read(self, stream: TunnelStream, part: _Part) -> ConnectCode | None:
        while True:
            await stream.ready()
            for event in stream.take():
                match event:
                    case Head():
                        part.head = event.head
                    case Data():
                        self._room_bytes -= len(event.view)
                        if self._room_bytes < 0:
                            return ConnectCode.RESOURCE_EXHAUSTED
                        part.body.append(Owned(event.view))
                        stream.release(len(event.view))
                    case End():
                        return self._judge(part.head)
                    case Reset():
                        return from_reset(event.code).code

    def _judge(self, head: ResponseHead | None) -> ConnectCode | None:
        """What a whole answer means, by its head alone."""
        if head is None:
            return ConnectCode.INTERNAL
        if head.status != OK:
            return from_status(head.status)
        plain = head.get("content-encoding", "identity") == "identity"
        return None if plain and content_type(head) == self._type else ConnectCode.INTERNAL

    def _report(self) -> str:
        return ", ".join(f"{part.cluster}: {part.failure or 'ok'}" for part in self._parts)


def check_request(head: RequestHead, permission: str) -> None:
    """Refuse a call whose answers could not be put together, before anybody is asked.

    Raises:
        ConnectError: INVALID_ARGUMENT.
    """
    kind = content_type(head)
    if kind == PROTO or (kind == JSON and permission != READ):
        return
    text = "several clusters can only be asked in application/proto"
    if kind == JSON:
        text = f"answers of several clusters cannot be merged in {JSON}; ask in {PROTO}"
    raise ConnectError(ConnectCode.INVALID_ARGUMENT, Reason.FAN_OUT, text)


def content_type(head: RequestHead | ResponseHead) -> str:
    """Return a head's content type without parameters, in lower case."""
    return head.get("content-type").partition(";")[0].strip().lower()


def _worst(failures: Sequence[ConnectCode]) -> ConnectCode:
    """UNAVAILABLE if anybody was out of reach, else what failed first."""
    return ConnectCode.UNAVAILABLE if ConnectCode.UNAVAILABLE in failures else failures[0]
