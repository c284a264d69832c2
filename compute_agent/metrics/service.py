"""MetricsService: named queries over the customer's ClickHouse, streamed to the viewer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from compute_agent.attempts import Attempt, BadName
from compute_agent.exchange import check_scope
from compute_agent.metrics.catalogue import CATALOGUE
from compute_agent.metrics.engine import Engine, Format, QueryFailed, Result, Statement
from compute_agent.metrics.parameters import BadParameter, bind
from compute_agent.metrics.settings import MetricsLimits
from tunnel.messages import planesplit_v1_pb2 as wire
from tunnel.messages.rpc import Context

FORMATS = {
    wire.RESULT_FORMAT_UNSPECIFIED: Format.JSON,
    wire.RESULT_FORMAT_JSON_EACH_ROW: Format.JSON,
    wire.RESULT_FORMAT_NATIVE: Format.NATIVE,
}


class MetricsService:
    """Serves queries.

    Args:
        engine: runs them; None: the cluster has no ClickHouse.
        limits: bounds.
    """

    def __init__(self, engine: Engine | None, limits: MetricsLimits) -> None:
        self._engine, self._limits = engine, limits

    async def list_queries(
        self, request: wire.ListQueriesRequest, _ctx: Context
    ) -> wire.ListQueriesResponse:
        """Return what may be asked for."""
        check_scope(request.org, request.project, request.domain)
        return wire.ListQueriesResponse(queries=[query.describe() for query in CATALOGUE.values()])

    async def query(
        self, request: wire.QueryRequest, _ctx: Context
    ) -> AsyncIterator[wire.QueryResponse]:
        """Send the result of a named query as ClickHouse writes it; empty messages keep it alive.

        The viewer's credit holds the query back: at most two pieces are read ahead.
        """
        statement = _understand(request)
        if self._engine is None:
            raise ConnectError(Code.UNAVAILABLE, "ClickHouse is not configured at this cluster")
        try:
            result = self._engine.start(statement)
            try:
                while (data := await self._next(result)) != b"":
                    if data is None:
                        yield wire.QueryResponse()
                        continue
                    for at in range(0, len(data), self._limits.message_bytes):
                        yield wire.QueryResponse(chunk=data[at : at + self._limits.message_bytes])
            finally:
                result.close()
        except QueryFailed as error:
            raise ConnectError(error.code, str(error)) from None

    async def _next(self, result: Result) -> bytes | None:
        """Return what comes next, b"" at the end; None when it is time for a keepalive."""
        with trio.move_on_after(self._limits.keepalive_s):
            return await result.read()
        return None


def _understand(request: wire.QueryRequest) -> Statement:
    """Return the statement that a request asks for, bound to its scope.

    Raises:
        ConnectError: PERMISSION_DENIED, NOT_FOUND or INVALID_ARGUMENT.
    """
    scope = request.scope
    check_scope(scope.org, scope.project, scope.domain)
    query = CATALOGUE.get(request.name)
    if query is None:
        raise ConnectError(Code.NOT_FOUND, "there is no query of this name; ListQueries has all")
    result_format = FORMATS.get(request.format)
    if result_format is None:
        raise ConnectError(Code.INVALID_ARGUMENT, "the format is unknown")
    try:
        Attempt(scope.org, scope.project, scope.domain, scope.run, "any", 1).check()
        values = bind(query.parameters, request.parameters)
    except (BadName, BadParameter) as error:
        raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
    bound = {name: getattr(scope, name) for name in ("org", "project", "domain", "run")}
    return Statement(query.sql, {**values, **bound}, result_format)
