"""The services behind the agent's capabilities, put together from what the agent stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flyteidl2.dataproxy import dataproxy_service_pb2
from google.protobuf.descriptor import ServiceDescriptor

from compute_agent.capabilities import Service
from compute_agent.executor import ExecutorService
from compute_agent.log_service import LogService
from compute_agent.logs.index import OffsetIndex
from compute_agent.metrics.running import ClickHouseEngine
from compute_agent.metrics.service import MetricsService
from compute_agent.pods import Cluster, PodStore
from compute_agent.settings import AgentSettings
from tunnel.messages import planesplit_v1_pb2

DATA_PROXY = dataproxy_service_pb2.DESCRIPTOR.services_by_name["DataProxyService"]


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
    """

    settings: AgentSettings
    cluster: Cluster
    store: PodStore
    index: OffsetIndex
    now_s: Callable[[], float]


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
    )
    return [
        (DATA_PROXY, logs),
        (own("ExecutorService"), ExecutorService(parts.cluster, settings.logs.container)),
        (own("MetricsService"), _metrics(settings)),
    ]


def _metrics(settings: AgentSettings) -> MetricsService:
    access = settings.clickhouse
    engine = ClickHouseEngine(access, settings.metrics) if access.url else None
    return MetricsService(engine, settings.metrics)
