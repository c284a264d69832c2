"""The agent: serves what comes through its tunnel, and reports what happens."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from compute_agent.access import Access, Gate
from compute_agent.accounts import Accounts
from compute_agent.capabilities import Capabilities
from compute_agent.events.feeds import Feeds
from compute_agent.health import Health
from compute_agent.informer import keep_store
from compute_agent.inventory import Inventory
from compute_agent.logs.history import History
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.pace import Ticks
from compute_agent.logs.watcher import Watcher
from compute_agent.objects.objects import Objects
from compute_agent.pods import Cluster, PodStore
from compute_agent.reachable import checks
from compute_agent.reports import Reporter
from compute_agent.samples import Samples
from compute_agent.services import Parts, services
from compute_agent.settings import AgentSettings
from compute_agent.tell import Teller
from compute_agent.trust import Trust
from compute_agent.tunnels import Dial, Surroundings, TunnelKeeper
from compute_agent.usage import UsageCounter
from tunnel.capabilities import CAPABILITIES, TAIL_LOGS
from tunnel.errors import Code
from tunnel.journal import Journal
from tunnel.row_counts import RowCounts
from tunnel.session import Session
from tunnel.stream import Stream
from tunnel.token import TokenSource

INDEX_FILE = "log-offsets.json"
SERVER_ID_BYTES = 8  # 64 random bits tell two starts apart


@dataclass(frozen=True, slots=True)
class Sources:
    """What the agent stands on.

    Args:
        cluster: creates and watches pods.
        token: the tunnel's token.
        objects: the object store; None if none is configured.
        history: the log aggregator; None if none is configured.
        accounts: the cluster's API, for what is no pod; None if there is none.
    """

    cluster: Cluster
    token: TokenSource
    objects: Objects | None = None
    history: History | None = None
    accounts: Accounts | None = None


@dataclass(frozen=True, slots=True)
class Chance:
    """Clock and randomness, so that tests own both.

    Args:
        now_s: wall clock, seconds since the epoch.
        random: returns a number in [0, 1).
        server_id: names this start of the agent.
        fine_timer: whether to keep time below 1 ms, which needs the system's clock.
    """

    now_s: Callable[[], float] = time.time
    random: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    server_id: str = field(default_factory=lambda: os.urandom(SERVER_ID_BYTES).hex())
    fine_timer: bool = False


class Agent:
    """One agent of one cluster.

    Args:
        settings: see AgentSettings.
        dial: connects to the relay; raises a TunnelError when it cannot.
        sources: cluster and token.
        journal: told what happens.
        chance: clock and randomness.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        dial: Dial,
        sources: Sources,
        journal: Journal,
        chance: Chance | None = None,
    ) -> None:
        self._settings, self._sources = settings, sources
        self._journal, self._chance = journal, chance or Chance(fine_timer=True)
        now_s = self._chance.now_s
        self.store = PodStore(settings.kubernetes.max_pods)
        state = Path(settings.state_dir) / INDEX_FILE if settings.state_dir else None
        logs = settings.logs
        root = Path(settings.log_root)
        self._index = OffsetIndex(root, state, logs.files_kept, logs.line_max_bytes)
        self._watcher, self._ticks = Watcher(logs.max_watches, journal.event), Ticks()
        self.rows = RowCounts()
        self.access = self._make_access()
        self._feeds = _feeds(settings, sources, self.store)
        self._reporter = Reporter(
            settings.org,
            settings.cluster,
            self.store,
            settings.reports,
            now_s,
            self.rows,
            sources.objects.failed if sources.objects else None,
        )
        self._capabilities = self._serve()
        operator = sources.accounts.operator if sources.accounts else None
        self._inventory = Inventory(self.store, operator)
        self._health = self._watch_health()
        self.data_url = ""  # of the customer's data endpoint, as viewers reach it
        self._calls = 0
        self._call_ended = trio.Event()
        chance, token = self._chance, sources.token
        self._tunnels = TunnelKeeper(
            settings,
            Surroundings(dial, token, chance.now_s, chance.random, chance.server_id, journal),
            answer=self._answer,
            report=self._report,
            calls_over=self._calls_over,
        )

    def _make_access(self) -> Access:
        settings, now_s = self._settings, self._chance.now_s
        trust = None
        if settings.tls is not None:
            file, reread_s = settings.issuer_file, settings.issuer_reread_s
            trust = Trust(file, reread_s=reread_s, now_s=now_s, time_s=trio.current_time)
        return Access(
            settings.org,
            now_s=now_s,
            trust=trust,
            cluster=settings.cluster,
            server_id=self._chance.server_id,
            require_proof=settings.require_proof,
        )

    def _serve(self) -> Capabilities:
        """Put the services together that answer exchanges."""
        settings, sources, journal = self._settings, self._sources, self._journal
        parts = Parts(
            settings,
            sources.cluster,
            self.store,
            self._index,
            self._chance.now_s,
            self.rows,
            self.access,
            sources.objects,
            sources.history,
            sources.accounts,
            self._feeds,
            journal,
            self._watcher,
            self._ticks,
        )
        return Capabilities(
            settings.org,
            settings.cluster,
            services(parts),
            request_max_bytes=settings.request_max_bytes,
            on_error=lambda path, error: journal.event("call_failed", path=path, error=error),
            rows=self.rows,
            access=self.access,
            gate=Gate(
                self.access,
                settings.access_wait_s,
                lambda path, flaw: journal.event("exchange_refused", path=path, reason=flaw),
            ),
            compressed=frozenset({TAIL_LOGS} if settings.logs.compress else ()),
        )

    def _watch_health(self) -> Health:
        settings, reports = self._settings, self._settings.reports
        samples = Samples(settings.clickhouse) if settings.clickhouse.url else None
        return Health(
            self._inventory,
            checks(settings.clickhouse, self._sources.objects),
            UsageCounter(self._inventory, samples),
            lambda: self.data_url,
            Teller(settings.org, settings.cluster, self.rows, reports.answer_s),
            settings.health,
            every_s=reports.health_s,
            retry_s=reports.retry_s,
        )

    async def run(self) -> Code:
        """Run until stopped or replaced.

        Returns:
            NO_ERROR after `stop`, REPLACED when a newer agent took this one's place.
        """
        async with trio.open_nursery() as nursery:
            limits = self._settings.kubernetes
            nursery.start_soon(keep_store, self._sources.cluster, self.store, limits, self._journal)
            nursery.start_soon(self._keep_index)
            nursery.start_soon(self._watcher.run)
            if self._chance.fine_timer:
                nursery.start_soon(self._ticks.run)
            if self._sources.objects is not None:
                nursery.start_soon(self._sources.objects.copies.run)
            if self._feeds is not None:
                nursery.start_soon(self._feeds.run)
            nursery.start_soon(self._inventory.run)
            nursery.start_soon(self._health.watch)
            code = await self._tunnels.run()
            nursery.cancel_scope.cancel()
        return code

    def stop(self) -> None:
        """Finish: calls under way get `drain_s`, tails resume elsewhere; then `run` returns."""
        self._tunnels.stop()

    async def _report(self, session: Session) -> None:
        """Report over an open tunnel."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reporter.run, session)
            nursery.start_soon(self._health.run, session)

    async def _answer(self, stream: Stream) -> None:
        capability = CAPABILITIES.get(stream.request.path)
        resumable = capability is not None and capability.resumable
        self._calls += not resumable
        try:
            await self._capabilities.serve(stream)
        finally:
            self._calls -= not resumable
            self._call_ended.set()

    async def _calls_over(self) -> None:
        """Wait until no call is under way; tails are not waited for, the relay resumes them."""
        while self._calls:
            self._call_ended = trio.Event()
            await self._call_ended.wait()

    async def _keep_index(self) -> None:
        """Number log files while they come and go, so that offsets survive rotation."""
        while True:
            try:
                for _ in self._index.scan():
                    await trio.lowlevel.checkpoint()
            except OSError:
                self._journal.event("log_index_failed")
            await trio.sleep(self._settings.logs.index_interval_s)


def _feeds(settings: AgentSettings, sources: Sources, store: PodStore) -> Feeds | None:
    """Return the events of pods, None where there is no API to ask."""
    if sources.accounts is None:
        return None
    return Feeds(sources.accounts.proxy, store, settings.events, settings.kubernetes.retry_s)
