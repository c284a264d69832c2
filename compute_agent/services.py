"""The services behind the agent's capabilities, put together from what the agent stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flyteidl2.dataproxy import dataproxy_service_pb2
from flyteidl2.secret import secret_pb2
from flyteidl2.workflow import run_service_pb2
from google.protobuf.descriptor import ServiceDescriptor

from compute_agent.access import Access, AccessService
from compute_agent.accounts import Accounts
from compute_agent.capabilities import Service
from compute_agent.data_proxy import DataProxy
from compute_agent.events.feeds import Feeds
from compute_agent.events.service import EventService
from compute_agent.executor import ExecutorService
from compute_agent.log_access import LogAccess
from compute_agent.log_service import LogService
from compute_agent.logs.history import History
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.pace import Ticks
from compute_agent.logs.watcher import Watcher
from compute_agent.metrics.running import ClickHouseEngine
from compute_agent.metrics.service import MetricsService
from compute_agent.objects.objects import Objects
from compute_agent.objects.service import ObjectService
from compute_agent.pods import Cluster, PodStore
from compute_agent.secrets.aws import AwsSecrets
from compute_agent.secrets.backend import SecretBackend
from compute_agent.secrets.kubernetes import KubernetesSecrets
from compute_agent.secrets.service import SecretService
from compute_agent.secrets.settings import AWS, KUBERNETES
from compute_agent.settings import AgentSettings
from compute_agent.staging import Staging
from tunnel.journal import Journal
from tunnel.messages import planesplit_v1_pb2
from tunnel.row_counts import RowCounts

DATA_PROXY = dataproxy_service_pb2.DESCRIPTOR.services_by_name["DataProxyService"]


SECRETS = secret_pb2.DESCRIPTOR.services_by_name["SecretService"]
RUNS = run_service_pb2.DESCRIPTOR.services_by_name["RunService"]


def own(name: str) -> ServiceDescriptor:
    """Return the descriptor of a service of `planesplit.v1`."""
    return planesplit_v1_pb2.DESCRIPTOR.services_by_name[name]


@dataclass(frozen=True, slots=True)
class Parts:
    """What services are made of.

    Args:
        cluster: the Kubernetes API.
        store: the agent's picture of its pods.
        index: offsets of log files.
        now_s: wall clock, seconds since the epoch.
        rows: bytes through the tunnel by row.
        access: who may do what.
        objects: the object store; None if none is configured.
        history: the log aggregator; None if none is configured.
        accounts: the Kubernetes API, for what is no pod; None if there is none.
        feeds: events of pods; None if there is no API.
        journal: told what was done to which secret.
        watcher: wakes tails.
        ticks: the clock that tails share.
    """

    settings: AgentSettings
    cluster: Cluster
    store: PodStore
    index: OffsetIndex
    now_s: Callable[[], float]
    rows: RowCounts
    access: Access
    objects: Objects | None = None
    history: History | None = None
    accounts: Accounts | None = None
    feeds: Feeds | None = None
    journal: Journal | None = None
    watcher: Watcher | None = None
    ticks: Ticks | None = None


def services(parts: Parts) -> list[Service]:
    """Return every service that the agent offers through the tunnel."""
    settings = parts.settings
    logs = LogService(
        settings.cluster,
        parts.store,
        Path(settings.log_root),
        parts.index,
        settings.logs,
        parts.now_s,
        parts.history,
        settings.history.limits,
        parts.watcher,
        parts.ticks,
        LogAccess(parts.accounts.proxy).check if parts.accounts else None,
    )
    objects = ObjectService(parts.objects)
    staging = Staging(parts.objects, settings.logs.container, settings.tasks.control_endpoint)
    return [
        (DATA_PROXY, DataProxy(logs, objects)),
        (own("ObjectStoreService"), objects),
        (own("DownloadService"), objects),
        (own("AccessService"), AccessService(parts.access)),
        (own("ExecutorService"), ExecutorService(parts.cluster, staging)),
        (own("MetricsService"), _metrics(settings)),
        (SECRETS, _secrets(parts)),
        (RUNS, EventService(parts.feeds, parts.store, settings.events)),
    ]


def _metrics(settings: AgentSettings) -> MetricsService:
    access = settings.clickhouse
    engine = ClickHouseEngine(access, settings.metrics) if access.url else None
    return MetricsService(engine, settings.metrics)


def _secrets(parts: Parts) -> SecretService:
    settings, journal = parts.settings, parts.journal
    backend = _secret_backend(parts)
    if journal is None:
        return SecretService(settings.org, settings.cluster, backend, settings.secrets)
    return SecretService(
        settings.org,
        settings.cluster,
        backend,
        settings.secrets,
        lambda event, name: journal.event(event, secret=name),
    )


def _secret_backend(parts: Parts) -> SecretBackend | None:
    settings = parts.settings.secrets.check()
    if settings.backend == AWS:
        return AwsSecrets(settings.aws)
    if settings.backend != KUBERNETES or parts.accounts is None:
        return None
    return KubernetesSecrets(parts.accounts.proxy, settings.namespace)
