"""The customer's infrastructure without its HTTP side: what one-process mode uses directly."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from customer_stub.collector.opening import open_collector
from customer_stub.kubernetes.clients import Clients
from customer_stub.kubernetes.events import EventRecorder
from customer_stub.kubernetes.logs import read_log
from customer_stub.kubernetes.observers import LOGS, Observers
from customer_stub.kubernetes.scraper import Scraper
from customer_stub.pods.kubelet import RESTART, Kubelet
from customer_stub.samples.opening import open_feeder
from customer_stub.secrets.injection import Injector
from customer_stub.secrets.lookup import from_api, from_store, make_lookup
from customer_stub.secrets.webhook import NAME as WEBHOOK
from customer_stub.secrets.webhook import SecretsWebhook
from customer_stub.settings import CustomerSettings
from customer_stub.stores import Stores
from kube.server import status as errors
from kube.server.cluster import ClusterObjects, random_uid
from kube.server.log_options import LogOptions
from kube.server.node import NODE, register_node
from kube.server.pods import is_terminal
from tunnel.journal import Journal
from tunnel.settings import SettingError


def _files_root(settings: CustomerSettings) -> Path | None:
    """Return where files of secrets are made; they live as long as their pod."""
    return Path(settings.data_root) / "injected" if settings.data_root else None


class Cluster:
    """A Kubernetes API, the kubelet that runs its pods, and the stores around them.

    Attributes:
        objects: everything that the API serves.
        pods, secrets: two kinds of them.
        kubelet: runs containers; `produced` tells what they wrote.
        stores: object store and registry; None without a `data_root`.
        collector: of the pods' logs; None if they are collected nowhere.
        scraper: of metrics; None while nobody has an account.

    Args:
        settings: limits and the root of the log directories.
        journal: where events go.
        clock: wall clock, nanoseconds since the epoch; simulated in simulated time.
        new_uid: makes pod uids; seeded where runs must repeat.
        first_version: see `ObjectStore`.

    Raises:
        SettingError: the log root or the data root can't be used.
    """

    def __init__(
        self,
        settings: CustomerSettings,
        *,
        journal: Journal,
        clock: Callable[[], int] = time.time_ns,
        new_uid: Callable[[], str] = random_uid,
        first_version: int | None = None,
    ) -> None:
        try:
            Path(settings.log_root).mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(
                f"setting 'log_root': cannot make '{settings.log_root}': {error.strerror}"
            ) from None
        self._settings = settings
        self.objects = ClusterObjects(
            settings, clock=clock, new_uid=new_uid, first_version=first_version
        )
        self.pods, self.secrets = self.objects.pods, self.objects.secrets
        store = self.objects.store
        made: Any = {"clock": clock, "new_uid": new_uid}
        register_node(self.objects, max_pods=settings.max_running)
        events = EventRecorder(store, **made, limit=settings.max_events, node=NODE)
        self.stores = Stores(settings, journal=journal, clock=clock) if settings.data_root else None
        self.kubelet = Kubelet(
            store, settings, events, journal=journal, node=random_uid(), clock=clock
        )
        self.kubelet.injector = Injector(
            make_lookup(from_store(store), settings.secrets),
            settings.secrets,
            _files_root(settings),
        )
        self.collector = self.kubelet.collector = open_collector(settings, journal)
        self._observers: Observers | None = None
        self.scraper: Scraper | None = None
        self._journal = journal
        self._feeder = self.kubelet.feeder = open_feeder(settings, journal)

    def call_api(self, clients: Clients) -> SecretsWebhook:
        """Have the cluster's own parts call its API under their accounts; before `run`.

        Returns:
            The admission webhook, to be served and registered.

        Raises:
            SettingError: an account has no token.
        """
        settings = self._settings
        api = clients.account(WEBHOOK)
        lookup = make_lookup(from_api(api), settings.secrets)
        self.kubelet.injector = Injector(
            lookup, settings.secrets, _files_root(settings), marked=True
        )
        self._observe(Observers(clients))
        self.scraper = Scraper(clients, settings.scrape, self._journal)
        return SecretsWebhook(api, settings.secrets.max_secrets)

    def _observe(self, observers: Observers) -> None:
        if self.collector is not None:
            self.collector.tag_by(partial(observers.seen, LOGS))
        if self._feeder is not None:
            self._feeder.observe(observers)
        if self.collector is not None or self._feeder is not None:
            self._observers = observers

    def reach_stores(
        self, *, objects_url: str, registry_url: str, registry_transport: Any = None
    ) -> None:
        """Tell the node where its stores are served; before `run`, and only if there are any.

        Args:
            objects_url: goes into the environment of pods.
            registry_url: where images are pulled from.
            registry_transport: another way there (httpx), for one-process mode.

        Raises:
            SettingError: the node can't keep images.
        """
        assert self.stores is not None
        self.kubelet.additions = self.stores.additions(objects_url)
        self.kubelet.images = self.stores.images(registry_url, transport=registry_transport)

    def produced(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the account of a pod's output, None if it never ran."""
        return self.kubelet.produced(namespace, name)

    async def log(self, namespace: str, name: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield a pod's output, as `pods/log` does.

        Raises:
            ApiError: 404; 400 while its container has not started.
        """
        pod = self.pods.get(namespace, name)
        current = self.kubelet.log_directory(pod) / f"{RESTART}.log"
        if not current.exists():
            raise errors.not_started(pod)
        yield b""

        def ended() -> bool:
            try:
                now = self.pods.get(namespace, name)
            except errors.ApiError:
                return True
            return is_terminal(now) or now["metadata"]["uid"] != pod["metadata"]["uid"]

        async for piece in read_log(current, options, ended):
            yield piece

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run pods until cancelled; cancelled, it kills them."""
        async with trio.open_nursery() as nursery:
            if self.collector is not None:
                await nursery.start(self.collector.run)
            if self._observers is not None:
                nursery.start_soon(self._observers.run)
            if self.scraper is not None:
                nursery.start_soon(self.scraper.run)
            if self._feeder is not None:
                await nursery.start(self._feeder.run, self.kubelet.running)
            await self.kubelet.run(task_status=task_status)
