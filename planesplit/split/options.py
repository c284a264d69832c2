"""What a split may be told; everything has a default that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from planesplit.ready import Place
from tunnel.settings import setting

Mode = Literal["processes", "inprocess"]
PLANES = ("relay", "customer_stub", "control_stub", "compute_agent")
DEMO_CLIENT = "demo"


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
class SplitOptions:
    """How a split is started.

    Args:
        mode: `processes` starts the four planes as processes, `inprocess` runs them in this one.
        insecure: no TLS and no tokens, on loopback, one demo identity.
        keep: directory that stays afterwards; None for a temporary one.
        link: whether the agent reaches the relay through a link that can be cut.
        place: org, project, domain and cluster of the agent and of the demo client.
        clients: further clients; their orgs are made too, without a cluster.
        settings: per plane, tables that are merged into its configuration.
    """

    mode: Mode = "processes"
    insecure: bool = False
    keep: Path | None = None
    link: bool = True
    place: Place = field(default_factory=lambda: Place("acme", "demo", "development", "c1"))
    clients: tuple[Client, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ready_s: float = setting(
        30.0,
        low=0.1,
        high=600.0,
        why="one plane's start: 1 s on an idle machine, 10 s on a busy one",
    )
    stop_s: float = setting(
        15.0, low=0.0, high=600.0, why="orderly end of a plane; the relay itself drains for 10 s"
    )
