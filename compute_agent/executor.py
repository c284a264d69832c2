"""ExecutorService: the control plane's work becomes pods."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from compute_agent.attempts import Attempt
from compute_agent.exchange import authorised_attempt
from compute_agent.objects.store import StoreError, StoreRefused
from compute_agent.pods import Cluster, PodSpec
from compute_agent.staging import CannotStage, Staging
from kube.client import ClusterError, ClusterRefused
from tunnel.messages.planesplit_v1_pb2 import (
    AbortRequest,
    AbortResponse,
    AssignRequest,
    AssignResponse,
)
from tunnel.messages.rpc import Context

T = TypeVar("T")
BAD_REQUEST = range(400, 500)
STAGE_S = 8.0  # of the 10 s for which the control plane awaits an answer
TRANSIENT = frozenset({401, 408, 429})  # a token is being renewed, the API is slow or busy


class ExecutorService:
    """Creates and deletes task pods. Both calls may be repeated.

    Args:
        cluster: where pods run.
        staging: makes a pod of an assignment.
    """

    def __init__(self, cluster: Cluster, staging: Staging) -> None:
        self._cluster, self._staging = cluster, staging

    async def assign(self, request: AssignRequest, _ctx: Context) -> AssignResponse:
        """Create the attempt's pod, unless it exists already."""
        attempt = authorised_attempt(request.action)
        spec = await self._staged(attempt, request)
        created = await _asked(self._cluster.create(spec))
        if not created:
            await self._check_same(attempt)
        return AssignResponse(pod=attempt.pod, already_assigned=not created)

    async def abort(self, request: AbortRequest, _ctx: Context) -> AbortResponse:
        """Delete the attempt's pod; it need not be there any more."""
        attempt = authorised_attempt(request.action)
        pod = await _asked(self._cluster.get(attempt.namespace, attempt.pod))
        if pod is not None and pod.attempt == attempt:
            await _asked(self._cluster.delete(attempt.namespace, attempt.pod))
        return AbortResponse()

    async def _staged(self, attempt: Attempt, request: AssignRequest) -> PodSpec:
        try:
            with trio.fail_after(STAGE_S):
                return await self._staging.prepare(attempt, request)
        except trio.TooSlowError:
            raise ConnectError(Code.UNAVAILABLE, "the object store is slow") from None
        except (CannotStage, StoreRefused) as error:
            raise ConnectError(Code.FAILED_PRECONDITION, str(error)) from None
        except StoreError as error:
            raise ConnectError(Code.UNAVAILABLE, str(error)) from None

    async def _check_same(self, attempt: Attempt) -> None:
        pod = await _asked(self._cluster.get(attempt.namespace, attempt.pod))
        if pod is None or pod.attempt != attempt:
            raise ConnectError(Code.ALREADY_EXISTS, "the pod's name is taken by something else")


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except ClusterRefused as error:
        final = error.status in BAD_REQUEST and error.status not in TRANSIENT
        code = Code.FAILED_PRECONDITION if final else Code.UNAVAILABLE
        raise ConnectError(code, str(error)) from None
    except ClusterError as error:
        raise ConnectError(Code.UNAVAILABLE, str(error)) from None
