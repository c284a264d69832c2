"""Events of a served cluster, and a watch of them as the agent's service sends it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from flyteidl2.workflow.run_definition_pb2 import ClusterEvent
from flyteidl2.workflow.run_service_pb2 import WatchClusterEventsRequest

from compute_agent.attempts import Attempt
from compute_agent.events.feeds import Feeds
from compute_agent.events.service import EventService
from compute_agent.events.settings import EventSettings
from compute_agent.exchange import current_exchange
from compute_agent.informer import keep_store
from compute_agent.kubernetes import Kubernetes, manifest
from compute_agent.pods import PodSpec, PodStore
from compute_agent.settings import ClusterLimits
from compute_agent.workspaces import Workspaces
from tunnel.journal import Journal

sys.path.append(str(Path(__file__).parents[1] / "secrets"))

from secret_cast import DOMAIN, ORG, PROJECT, Exchange, World

ATTEMPT = Attempt(ORG, PROJECT, DOMAIN, "run1", "a0", 1)
NAMESPACE = ATTEMPT.namespace


class Stage:
    """A cluster, the agent's picture of it, and the service."""

    def __init__(self, target: World, nursery: trio.Nursery, **settings: Any) -> None:
        self.world = target
        self.recorder = target.cluster.kubelet._events
        self.store = PodStore(100)
        self.limits = ClusterLimits(request_s=2.0, watch_s=60)
        api = target.api("executor")
        api._limits = self.limits
        self.kubernetes = Kubernetes(api, Workspaces(target.api("clustersync"), 100))
        journal = Journal("agent", write=lambda line: None)
        nursery.start_soon(keep_store, self.kubernetes, self.store, self.limits, journal)
        bounds = EventSettings(**settings)
        self.feeds = Feeds(api, self.store, bounds, self.limits.retry_s)
        nursery.start_soon(self.feeds.run)
        self.service = EventService(self.feeds, self.store, bounds)

    def create(self, *words: str, attempt: Attempt = ATTEMPT) -> dict[str, Any]:
        spec = PodSpec(attempt, "main", "planesplit/workload", args=words)
        return self.world.cluster.pods.create(attempt.namespace, manifest(spec))

    def pod(self, attempt: Attempt = ATTEMPT) -> dict[str, Any]:
        return self.world.cluster.pods.get(attempt.namespace, attempt.pod)

    @asynccontextmanager
    async def watch(
        self, cursor: bytes = b"", attempt: Attempt = ATTEMPT, follow: str = ""
    ) -> AsyncIterator[Watch]:
        exchange = Exchange(cursor=cursor)
        exchange.request.get = lambda name: follow
        current_exchange.set(exchange)  # type: ignore[arg-type]
        request = WatchClusterEventsRequest(attempt=attempt.attempt)
        request.id.name = attempt.action
        run = request.id.run
        run.org, run.project, run.domain, run.name = ORG, PROJECT, DOMAIN, attempt.run
        async with aclosing(self.service.watch_cluster_events(request, None)) as answers:
            yield Watch(answers, exchange)


class Watch:
    """What a viewer has got so far."""

    def __init__(self, answers: Any, exchange: Exchange) -> None:
        self._answers, self.exchange = answers, exchange
        self.events: list[ClusterEvent] = []
        self.empty_at: list[float] = []
        self.over = False
        self._counts: list[int] = []

    async def step(self) -> bool:
        """Take one message; False at the end of the watch."""
        try:
            message = await anext(self._answers)
        except StopAsyncIteration:
            self.over = True
            return False
        self.events += message.cluster_events
        self._counts.append(len(self.events))
        if not message.cluster_events:
            self.empty_at.append(trio.current_time())
        return True

    async def until(self, reason: str, count: int = 1) -> Watch:
        while not any(e.reason == reason and e.count >= count for e in self.events):
            assert await self.step(), f"the watch ended before {reason}"
        return self

    async def live(self) -> Watch:
        while not self.empty_at:
            assert await self.step()
        return self

    async def finish(self) -> Watch:
        while await self.step():
            pass
        return self

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]

    @property
    def marked(self) -> list[ClusterEvent]:
        """The events of complete units: the relay discards an unfinished one."""
        marks = len(self.exchange.marks)
        return self.events[: self._counts[marks - 1]] if marks else []

    @property
    def cursor(self) -> bytes:
        """Where a relay would resume."""
        return self.exchange.marks[-1] if self.exchange.marks else b""


@asynccontextmanager
async def stage(root: Path, *, agent: dict[str, Any] | None = None, **settings: Any) -> Any:
    async with trio.open_nursery() as nursery:
        target = World(root, nursery, **settings)
        await nursery.start(target.cluster.run)
        yield Stage(target, nursery, **(agent or {}))
        nursery.cancel_scope.cancel()
