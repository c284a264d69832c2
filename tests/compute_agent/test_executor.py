"""How the executor answers a cluster's API and an object store that refuse or are busy."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from fakes import ATTEMPT, SCOPE

from compute_agent.exchange import current_exchange
from compute_agent.executor import ExecutorService
from compute_agent.objects.store import StoreError, StoreRefused
from compute_agent.pods import PodSpec
from compute_agent.staging import CannotStage
from kube.client import ClusterError, ClusterRefused
from tunnel.capabilities import ASSIGN
from tunnel.exchange import RequestHead
from tunnel.messages.planesplit_v1_pb2 import AbortRequest, Action, AssignRequest

ACTION = Action(
    org=ATTEMPT.org,
    project=ATTEMPT.project,
    domain=ATTEMPT.domain,
    run=ATTEMPT.run,
    action=ATTEMPT.action,
    attempt=ATTEMPT.attempt,
)


class Refusing:
    """A cluster, and a staging, that raise."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def create(self, spec: PodSpec) -> bool:
        raise self._error

    async def get(self, namespace: str, name: str) -> None:
        raise self._error

    async def prepare(self, attempt: object, request: object) -> PodSpec:
        if isinstance(self._error, ClusterError):
            return PodSpec(ATTEMPT, "main", "img")
        raise self._error


@pytest.fixture(autouse=True)
def exchange() -> None:
    head = RequestHead("POST", ASSIGN, SCOPE, "control", ())
    current_exchange.set(SimpleNamespace(request=head))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClusterRefused(400), Code.FAILED_PRECONDITION),
        (ClusterRefused(401), Code.UNAVAILABLE),
        (ClusterRefused(403), Code.FAILED_PRECONDITION),
        (ClusterRefused(408), Code.UNAVAILABLE),
        (ClusterRefused(422), Code.FAILED_PRECONDITION),
        (ClusterRefused(429), Code.UNAVAILABLE),
        (ClusterRefused(500), Code.UNAVAILABLE),
        (ClusterError("away"), Code.UNAVAILABLE),
        (CannotStage("never"), Code.FAILED_PRECONDITION),
        (StoreRefused(403), Code.FAILED_PRECONDITION),
        (StoreError("away"), Code.UNAVAILABLE),
    ],
)
async def test_what_a_retry_can_help(error: Exception, code: Code) -> None:
    refusing = Refusing(error)
    service = ExecutorService(refusing, refusing)  # type: ignore[arg-type]
    with pytest.raises(ConnectError) as caught:
        await service.assign(AssignRequest(action=ACTION), None)
    assert caught.value.code == code
    if isinstance(error, ClusterError):
        with pytest.raises(ConnectError) as caught:
            await service.abort(AbortRequest(action=ACTION), None)
        assert caught.value.code == code
