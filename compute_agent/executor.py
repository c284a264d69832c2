"""ExecutorService: the control plane's work becomes pods."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from compute_agent.attempts import Attempt, BadName
from compute_agent.exchange import check_scope
from compute_agent.pods import Cluster, ClusterError, ClusterRefused, PodSpec
from tunnel.messages.planesplit_v1_pb2 import (
    AbortRequest,
    AbortResponse,
    Action,
    AssignRequest,
    AssignResponse,
)
from tunnel.messages.rpc import Context

T = TypeVar("T")
BAD_REQUEST = range(400, 500)


class ExecutorService:
    """Creates and deletes task pods. Both calls may be repeated.

    Args:
        cluster: where pods run.
        container: name of a pod's container.
    """

    def __init__(self, cluster: Cluster, container: str) -> None:
        self._cluster, self._container = cluster, container

    async def assign(self, request: AssignRequest, _ctx: Context) -> AssignResponse:
        """Create the attempt's pod, unless it exists already."""
        attempt = _attempt(request.action)
        wanted = request.container
        spec = PodSpec(
            attempt,
            self._container,
            wanted.image,
            tuple(wanted.command),
            tuple(wanted.args),
            dict(wanted.env),
        )
        created = await _asked(self._cluster.create(spec))
        if not created:
            await self._check_same(attempt)
        return AssignResponse(pod=attempt.pod, already_assigned=not created)

    async def abort(self, request: AbortRequest, _ctx: Context) -> AbortResponse:
        """Delete the attempt's pod; it need not be there any more."""
        attempt = _attempt(request.action)
        pod = await _asked(self._cluster.get(attempt.namespace, attempt.pod))
        if pod is not None and pod.attempt == attempt:
            await _asked(self._cluster.delete(attempt.namespace, attempt.pod))
        return AbortResponse()

    async def _check_same(self, attempt: Attempt) -> None:
        pod = await _asked(self._cluster.get(attempt.namespace, attempt.pod))
        if pod is None or pod.attempt != attempt:
            raise ConnectError(Code.ALREADY_EXISTS, "the pod's name is taken by something else")


def _attempt(action: Action) -> Attempt:
    check_scope(action.org, action.project, action.domain)
    attempt = Attempt(
        action.org, action.project, action.domain, action.run, action.action, action.attempt
    )
    try:
        attempt.check()
    except BadName as error:
        raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
    return attempt


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except ClusterRefused as error:
        code = Code.FAILED_PRECONDITION if error.status in BAD_REQUEST else Code.UNAVAILABLE
        raise ConnectError(code, str(error)) from None
    except ClusterError as error:
        raise ConnectError(Code.UNAVAILABLE, str(error)) from None
