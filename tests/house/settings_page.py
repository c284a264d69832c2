"""Writes docs/settings.md from the settings' own defaults, bounds and reasons."""

from __future__ import annotations

import dataclasses
import sys

from compute_agent.clickhouse import ClickHouseSettings
from compute_agent.data_endpoint.settings import DataSettings
from compute_agent.events.settings import EventSettings
from compute_agent.logs.settings import HistoryLimits
from compute_agent.metrics.settings import MetricsLimits
from compute_agent.objects.settings import ObjectSettings
from compute_agent.secrets.settings import AwsSettings, SecretSettings
from compute_agent.settings import (
    AgentSettings,
    BackoffLimits,
    ClusterLimits,
    DialLimits,
    HealthLimits,
    LogLimits,
    ReportLimits,
)
from control_stub.settings import ControlSettings, FlyteadminSettings, Limits
from customer_stub.clickhouse.settings import ClickHouseSettings as ClickHouseProcess
from customer_stub.clickhouse.settings import UserSettings
from customer_stub.collector.settings import CollectorSettings
from customer_stub.kubernetes.settings import ScrapeSettings
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.pods.settings import PodsSettings
from customer_stub.registry.settings import RegistrySettings
from customer_stub.samples.settings import SamplesSettings
from customer_stub.secrets.settings import SecretsSettings
from customer_stub.settings import ClickHouseTarget, CustomerSettings
from kube.settings import KubeSettings
from planesplit.split.options import SplitOptions
from relay.settings import RelaySettings
from tunnel.http.settings import HttpLimits
from tunnel.settings import TunnelSettings, describe

GROUPS: list[tuple[str, type]] = [
    ("Tunnel, both ends: `[tunnel]`", TunnelSettings),
    ("Relay: `[limits]`", RelaySettings),
    ("Agent", AgentSettings),
    ("Agent: `[dial]`", DialLimits),
    ("Agent: `[backoff]`", BackoffLimits),
    ("Agent: `[logs]`", LogLimits),
    ("Agent: `[kubernetes]`", ClusterLimits),
    ("Agent: `[reports]`", ReportLimits),
    ("Agent: `[health]`", HealthLimits),
    ("Agent: `[clickhouse]`", ClickHouseSettings),
    ("Agent: `[metrics]`", MetricsLimits),
    ("Agent: `[history.limits]`", HistoryLimits),
    ("Agent: `[events]`", EventSettings),
    ("Agent: `[secrets]`", SecretSettings),
    ("Agent: `[secrets.aws]`", AwsSettings),
    ("Agent: `[objects]`", ObjectSettings),
    ("Agent: `[data_endpoint]`", DataSettings),
    ("Control plane", ControlSettings),
    ("Control plane: `[http]`, agent: `[data_endpoint.http]`", HttpLimits),
    ("Control plane: `[flyteadmin]`", FlyteadminSettings),
    ("Control plane: `[limits]`", Limits),
    ("Customer's infrastructure", CustomerSettings),
    ("Customer's infrastructure: `[objects]`", ObjectsSettings),
    ("Customer's infrastructure: `[registry]`", RegistrySettings),
    ("Customer's infrastructure: `[pods]`", PodsSettings),
    ("Customer's infrastructure: `[collector]`", CollectorSettings),
    ("Customer's infrastructure: `[secrets]`", SecretsSettings),
    ("Customer's infrastructure: `[clickhouse]`", ClickHouseTarget),
    ("Customer's infrastructure: `[samples]`", SamplesSettings),
    ("Customer's infrastructure: `[scrape]`", ScrapeSettings),
    ("Customer's ClickHouse", ClickHouseProcess),
    ("Customer's ClickHouse: `[[users]]`", UserSettings),
    ("Control plane's own Kubernetes API", KubeSettings),
    ("A split (`SplitOptions`)", SplitOptions),
]
HEAD = """# Settings

Every limit has a name, a default, bounds and a reason. A value out of bounds is refused at start
with the name, the value and the bounds. This page is written by `make settings`; a test compares it
with the code.
"""


def page() -> str:
    """Return the page's text."""
    return HEAD + "".join(_group(title, cls) for title, cls in GROUPS)


def _group(title: str, cls: type) -> str:
    rows = "".join(
        f"| `{s['name']}` | {_number(s['default'])} | {_number(s['low'])} | {_number(s['high'])} "
        f"| {s['why']} |\n"
        for s in describe(cls)
    )
    if not rows:
        return ""
    return (
        f"\n## {title}\n\n| setting | default | least | most | why |\n|---|---|---|---|---|\n{rows}"
    )


def _number(value: object) -> str:
    if value is None or value is dataclasses.MISSING:
        return "-"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
