"""What the agent serves: a closed list of calls, inside its own org and cluster only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import trio
from google.protobuf.descriptor import ServiceDescriptor

from compute_agent.access import Access, Gate
from compute_agent.asgi_host import serve
from tunnel.capabilities import CAPABILITIES
from tunnel.errors import Code
from tunnel.messages.compression import ENCODINGS
from tunnel.messages.rpc import Packing, connect_app
from tunnel.row_counts import RowCounts
from tunnel.stream import Stream

Service = tuple[ServiceDescriptor, object]


class Capabilities:
    """Answers the exchanges that come through the tunnel.

    Args:
        org, cluster: the agent's own; an exchange of any other scope is refused.
        services: pairs of a service's descriptor and its handler, see `connect_app`.
        request_max_bytes: largest request message.
        on_error: told the path and the exception type's name when a service fails.
        rows: where bodies are counted.
        gate: judges every exchange before its body is read.
        access: tells when a right is withdrawn; what it allowed ends then.
        compressed: paths of streams whose messages may be compressed.
    """

    def __init__(
        self,
        org: str,
        cluster: str,
        services: Iterable[Service],
        *,
        request_max_bytes: int,
        on_error: Callable[[str, str], None],
        rows: RowCounts,
        gate: Gate,
        access: Access,
        compressed: frozenset[str] = frozenset(),
    ) -> None:
        self._own = org, cluster
        self._on_error, self._rows, self._compressed = on_error, rows, compressed
        self._live: dict[Stream, trio.CancelScope] = {}
        self._access = access
        access.watch(self._end_withdrawn)
        self._app = connect_app(
            *services,
            interceptors=[gate],
            read_max_bytes=request_max_bytes,
            compressions=[Packing(encoding) for encoding in ENCODINGS.values()],
            on_error=lambda path, error: on_error(path, type(error).__name__),
        )

    async def serve(self, stream: Stream) -> None:
        """Answer one exchange; never raises for what a caller or a service does."""
        head = stream.request
        capability = CAPABILITIES.get(head.path)
        own = (head.scope.org, head.scope.cluster) == self._own
        if capability is None or capability.opened_by == "agent" or not own:
            stream.reset(Code.REFUSED)
            return
        with trio.move_on_after(self._access.lasts_s(head, capability)) as scope:
            self._live[stream] = scope
            try:
                count = partial(self._rows.add, capability.row)
                await serve(self._app, stream, count, compressed=head.path in self._compressed)
            except Exception as error:
                self._on_error(head.path, type(error).__name__)
            finally:
                del self._live[stream]
        if scope.cancelled_caught:
            over = trio.current_time() >= scope.deadline
            stream.reset(Code.AUTH_EXPIRED if over else Code.REVOKED)

    def _end_withdrawn(self) -> None:
        for stream, scope in self._live.items():
            head = stream.request
            if self._access.withdrawn(head, CAPABILITIES[head.path]):
                scope.cancel()
