"""What a split may be told; everything has a default that works."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from planesplit.ready import Place
from tunnel.settings import setting

Mode = Literal["processes", "inprocess"]
RELAY, CONTROL, KUBE = "relay", "control_stub", "kube"
CUSTOMER, CLICKHOUSE, AGENT = "customer_stub", "clickhouse", "compute_agent"
PLANES = (RELAY, KUBE, CUSTOMER, CONTROL, AGENT)  # what every split has
# glibc wipes what is freed; without the caches in front of it, so that it hears of all of it.
WIPE_ON_FREE = (
    "GLIBC_TUNABLES=glibc.malloc.perturb=85:glibc.malloc.tcache_count=0",
    "PYTHONMALLOC=malloc",
)
DEMO_CLIENT = "demo"
LOOPBACK = "127.0.0.1"
# Of directories, certificates and Kubernetes accounts too.
CLUSTER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth2 client of the control plane, made at start with a random secret.

    Args:
        client_id: its name and the subject of its tokens.
        org: the org that it belongs to.
        role: Admin, Contributor or Viewer.
        project, domain: where the role holds; `*` is everywhere.
    """

    client_id: str
    org: str
    role: str = "Viewer"
    project: str = "*"
    domain: str = "*"


@dataclass(frozen=True, slots=True)
class Host:
    """Where one side's processes run.

    Args:
        address: what viewers dial, and the side itself.
        command: put before their command line, e.g. `("ip", "netns", "exec", "customer")`.
        tunnel_address: what agents dial, if that is another address of the vendor's side.
    """

    address: str = LOOPBACK
    command: tuple[str, ...] = ()
    tunnel_address: str = ""

    @property
    def listen(self) -> str:
        """What to listen on: the one address, or all if there are several."""
        return "0.0.0.0" if self.tunnel_address else self.address  # noqa: S104 - as asked for

    @property
    def addresses(self) -> tuple[str, ...]:
        """Everything that a certificate must name."""
        return tuple(dict.fromkeys((self.address, self.tunnel_address or self.address)))


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How a split is started.

    Args:
        mode: `processes` starts the planes as processes, `inprocess` runs them in this one.
        insecure: no TLS and no tokens, on loopback, one demo identity.
        keep: directory that stays afterwards; None for a temporary one.
        link: whether agents reach the relay through a link that can be cut.
        place: org, project, domain and first cluster of the agent and of the demo client.
        clusters: further clusters of the org, each with its own infrastructure and agent.
        clients: further clients; their orgs are made too, without a cluster.
        clickhouse: whether each cluster has its ClickHouse; never in one process.
        pod_path: directories before PATH of task pods, e.g. where flyte's runtime is installed.
        vendor, customer: where the two sides run.
        seal: whether the relay seals itself; never in one process.
        require_seal: level below which the relay does not start: "limits", "kernel" or "full".
        provable: whether relay and control plane hand over their memory (`Split.memory`).
        wipe_on_free: whether the relay's process also wipes every block of memory that it frees.
        settings: per plane, tables that are merged into its configuration.
        planted: by plane, the leak that is planted into its process: the name of a negative
            control, or a file; see `planesplit.proof.sabotage`.
    """

    mode: Mode = "processes"
    insecure: bool = False
    keep: Path | None = None
    link: bool = True
    place: Place = field(default_factory=lambda: Place("acme", "demo", "development", "c1"))
    clusters: tuple[str, ...] = ()
    clients: tuple[Client, ...] = ()
    clickhouse: bool = True
    pod_path: tuple[str, ...] = ()
    vendor: Host = field(default_factory=Host)
    customer: Host = field(default_factory=Host)
    seal: bool = True
    require_seal: str = ""
    provable: bool = False
    wipe_on_free: bool = False
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planted: Mapping[str, str] = field(default_factory=dict)
    ready_s: float = setting(
        30.0,
        low=0.1,
        high=600.0,
        why="one plane's start: 1 s on an idle machine, 10 s on a busy one",
    )
    stop_s: float = setting(
        15.0, low=0.0, high=600.0, why="orderly end of a plane; the relay itself drains for 10 s"
    )

    def __post_init__(self) -> None:
        if self.mode == "inprocess" and self.require_seal:
            raise ValueError("planes in one process are never sealed; drop require_seal")

    @property
    def all_clusters(self) -> tuple[str, ...]:
        """Every cluster of the org, the first one first."""
        return (self.place.cluster, *self.clusters)

    @property
    def has_clickhouse(self) -> bool:
        """Whether clusters have their ClickHouse: its engine is a process of its own."""
        return self.clickhouse and self.mode == "processes"

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of everything that runs."""
        kinds = (CUSTOMER, CLICKHOUSE, AGENT) if self.has_clickhouse else (CUSTOMER, AGENT)
        each = (self.plane(kind, cluster) for cluster in self.all_clusters for kind in kinds)
        return (RELAY, KUBE, CONTROL, *each)

    def plane(self, kind: str, cluster: str) -> str:
        """Return the name of a cluster's plane: its kind, `kind@cluster` beyond the first one."""
        return kind if cluster == self.place.cluster else f"{kind}@{cluster}"

    def kind(self, plane: str) -> tuple[str, str]:
        """Return what a plane is, and its cluster; the vendor's planes have none."""
        kind, _, cluster = plane.partition("@")
        vendor = kind in (RELAY, KUBE, CONTROL)
        return kind, "" if vendor else cluster or self.place.cluster
