"""A viewer's Kubernetes events of a run: each once, also when the relay is lost meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flyteidl2.cluster import payload_pb2 as cluster_pb2
from flyteidl2.workflow import run_definition_pb2, run_service_pb2

from planesplit.connect_client import ConnectError
from planesplit.tail import RETRY_FOR_S, Retry
from planesplit.viewer import BEGUN, ROOT_ACTION
from tunnel.capabilities import WATCH_CLUSTER_EVENTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planesplit.viewer import Viewer

OPERATION = cluster_pb2.SelectClusterRequest.OPERATION_TAIL_LOGS
TYPES = {
    run_definition_pb2.ClusterEvent.TYPE_NORMAL: "Normal",
    run_definition_pb2.ClusterEvent.TYPE_WARNING: "Warning",
}


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event of a run's pod.

    Args:
        time: RFC 3339, when it happened last.
        type: Normal, Warning, or empty.
        count: how often it happened; a repetition comes as the same event with a higher count.
    """

    time: str
    type: str
    reason: str
    source: str
    count: int
    message: str


@asynccontextmanager
async def open_events(
    viewer: Viewer,
    run: str,
    *,
    attempt: int = 0,
    follow: bool = True,
    retry_for_s: float = RETRY_FOR_S,
    on_retry: Callable[[ConnectError], None] = lambda error: None,
) -> AsyncIterator[AsyncIterator[Event]]:
    """Watch a run's events: `async with open_events(viewer, run) as events: async for ...`.

    Args:
        attempt: of the run's action; 0 is the latest.
        follow: go on until its pod has ended; otherwise until what is there was sent.
        retry_for_s: how long to look for the relay when it is lost.
        on_retry: told of each failed try.

    Raises:
        ConnectError: the run is unknown; iterating raises it for any end but an orderly one.
    """
    if follow:
        await viewer.wait(
            run,
            until=lambda status: bool(status.cluster) or status.phase in BEGUN,
            retry_for_s=retry_for_s,
        )
    async with aclosing(_events(viewer, run, attempt, follow, Retry(retry_for_s), on_retry)) as it:
        yield it


async def _events(
    viewer: Viewer,
    run: str,
    attempt: int,
    follow: bool,
    retry: Retry,
    on_retry: Callable[[ConnectError], None],
) -> AsyncGenerator[Event]:
    request = run_service_pb2.WatchClusterEventsRequest(attempt=attempt)
    place, about = viewer.place, request.id
    about.name, about.run.org, about.run.name = ROOT_ACTION, place.org, run
    about.run.project, about.run.domain = place.project, place.domain
    answer = run_service_pb2.WatchClusterEventsResponse
    headers = {"planesplit-follow": "true" if follow else "false"}
    seen: set[bytes] = set()  # a relay that is back sends everything again
    while True:
        try:
            url = await viewer.endpoint(OPERATION, run) + WATCH_CLUSTER_EVENTS
            async with viewer.client.stream(url, request, answer, headers) as messages:
                async for message in messages:
                    retry.reset()
                    for event in message.cluster_events:
                        key = event.SerializeToString(deterministic=True)
                        if key not in seen:
                            seen.add(key)
                            yield _event(event)
                return
        except ConnectError as error:
            if error.code != "unavailable":
                raise
            on_retry(error)
            await retry.pause(error)


def _event(event: run_definition_pb2.ClusterEvent) -> Event:
    at = datetime.fromtimestamp(event.occurred_at.seconds, UTC)
    return Event(
        time=at.isoformat().replace("+00:00", "Z"),
        type=TYPES.get(event.type, ""),
        reason=event.reason,
        source=event.source_component,
        count=event.count,
        message=event.message,
    )
