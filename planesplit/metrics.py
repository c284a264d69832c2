"""Metrics of a run, as a client of the relay: named queries and their results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from flyteidl2.cluster.payload_pb2 import SelectClusterRequest

from planesplit.viewer import Viewer
from tunnel.capabilities import LIST_QUERIES, QUERY
from tunnel.messages import planesplit_v1_pb2 as wire

OPERATION = SelectClusterRequest.OPERATION_GET_ACTION_ATTEMPT_METRICS


async def list_queries(viewer: Viewer, run: str = "") -> list[wire.NamedQuery]:
    """Return what may be asked for.

    Args:
        viewer: whose connections are used.
        run: asks the cluster where it ran; without, one of the project's.

    Raises:
        ConnectError: any.
    """
    place = viewer.place
    request = wire.ListQueriesRequest(org=place.org, project=place.project, domain=place.domain)
    url = await viewer.endpoint(OPERATION, run) + LIST_QUERIES
    return list((await viewer.client.unary(url, request, wire.ListQueriesResponse)).queries)


@asynccontextmanager
async def open_query(
    viewer: Viewer,
    name: str,
    run: str,
    parameters: Mapping[str, str] | None = None,
    *,
    native: bool = False,
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Run a named query: `async with open_query(viewer, "cost", run) as pieces`.

    Args:
        viewer: whose connections are used.
        name: of the query.
        run: of the default project.
        parameters: as text.
        native: ClickHouse's Native format instead of JSONEachRow.

    Yields:
        An iterator of the result's bytes, cut anywhere. It raises ConnectError for any end but an
        orderly one: what came before is then not the whole result.
    """
    place = viewer.place
    request = wire.QueryRequest(
        name=name,
        scope=wire.RunScope(org=place.org, project=place.project, domain=place.domain, run=run),
        parameters=parameters or {},
        format=wire.RESULT_FORMAT_NATIVE if native else wire.RESULT_FORMAT_JSON_EACH_ROW,
    )
    url = await viewer.endpoint(OPERATION, run) + QUERY
    async with viewer.client.stream(url, request, wire.QueryResponse) as messages:
        yield _chunks(messages)


async def _chunks(messages: AsyncIterator[wire.QueryResponse]) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.chunk:  # an empty one keeps the stream alive
            yield message.chunk


class Lines:
    """Cuts bytes into lines, however they were split."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now, without their newlines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines
