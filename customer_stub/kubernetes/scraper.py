"""Prometheus: finds what there is in the cluster, and scrapes its API server and nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import trio

from customer_stub.kubernetes.clients import Clients
from customer_stub.kubernetes.settings import ScrapeSettings
from kube.client import ClusterError, ClusterRefused, KubernetesApi
from kube.view import View
from tunnel.journal import Journal

ACCOUNT = "union-operator-prometheus"
API_SERVER, CADVISOR = "apiserver", "cadvisor"  # jobs; cAdvisor's where there is a node
PATHS = {API_SERVER: "/metrics", CADVISOR: "/metrics/cadvisor"}
NODES = "nodes"
DISCOVERED = {
    NODES: "/api/v1/nodes",
    "services": "/api/v1/services",
    "endpoints": "/api/v1/endpoints",
    "pods": "/api/v1/pods",
    "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices",
    "ingresses": "/apis/networking.k8s.io/v1/ingresses",
}
GARBLED = -1  # no HTTP status: what came is no text of Prometheus'

Json = dict[str, Any]


@dataclass(slots=True)
class Target:
    """What is scraped, and how it went last.

    Args:
        job: which of PATHS.
        up: whether it answered, as Prometheus' own metric of that name; None before the first try.
        status: HTTP status of a refusal; 0 without one.
        samples: of the last answer.
        scrapes: answers so far.
    """

    job: str
    up: bool | None = None
    status: int = 0
    samples: int = 0
    scrapes: int = 0


class Scraper:
    """Calls the cluster's API as Prometheus does; numbers only are kept.

    The API server answers for its node, too: a node here has no listener of its own.

    Args:
        clients: of the cluster's API.
        settings: how often.
        journal: told when a target comes or goes.

    Raises:
        SettingError: the account has no token.
    """

    def __init__(self, clients: Clients, settings: ScrapeSettings, journal: Journal) -> None:
        self._api: KubernetesApi = clients.account(ACCOUNT)
        self._settings, self._journal = settings, journal
        self._views = {
            kind: View(self._api, path, kept=lambda _: {}) for kind, path in DISCOVERED.items()
        }
        self._targets = {API_SERVER: Target(API_SERVER)}

    def report(self) -> Json:
        """Return how each target fares, and how much of what was found."""
        return {
            "targets": [
                {"job": one.job, "up": bool(one.up), "status": one.status}
                | {"samples": one.samples, "scrapes": one.scrapes}
                for one in self._targets.values()
            ],
            "discovered": {kind: len(view.all()) for kind, view in self._views.items()},
        }

    async def run(self) -> NoReturn:
        """Scrape until cancelled."""
        async with trio.open_nursery() as nursery:
            for view in self._views.values():
                nursery.start_soon(view.keep)
            with trio.move_on_after(self._settings.answer_s):
                await self._views[NODES].synced.wait()  # the API may start together with us
            while True:
                await self._scrape_all()
                await trio.sleep(self._settings.every_s)

    async def _scrape_all(self) -> None:
        if self._views[NODES].all():
            self._targets.setdefault(CADVISOR, Target(CADVISOR))
        else:
            self._targets.pop(CADVISOR, None)
        for target in self._targets.values():
            before = target.up
            await self._scrape(target)
            if target.up != before:
                self._tell(target)

    async def _scrape(self, target: Target) -> None:
        target.up, target.status, target.samples = False, 0, 0
        with trio.move_on_after(self._settings.answer_s):
            try:
                target.samples = samples(await self._api.read(PATHS[target.job], {}))
            except ClusterRefused as error:
                target.status = error.status
            except ClusterError:
                return
            except ValueError:
                target.status = GARBLED
            else:
                target.up, target.scrapes = True, target.scrapes + 1

    def _tell(self, target: Target) -> None:
        if target.up:
            self._journal.event("target_up", job=target.job, samples=target.samples)
        else:
            self._journal.event("target_down", job=target.job, status=target.status)


def samples(text: bytes) -> int:
    """Return how many samples a text in Prometheus' format holds.

    Raises:
        ValueError: it is none.
    """
    lines = text.decode("utf-8").splitlines()
    found = [line for line in lines if line and not line.startswith("#")]
    for line in found:
        float(line.rpartition(" ")[2])
    return len(found)
