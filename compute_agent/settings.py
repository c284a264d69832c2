"""What an operator may set of the agent, with bounds and reasons."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from compute_agent.clickhouse import ClickHouseSettings
from compute_agent.data_endpoint.settings import DataSettings
from compute_agent.events.settings import EventSettings
from compute_agent.logs.settings import POLICIES, Batching, HistorySettings
from compute_agent.metrics.settings import MetricsLimits
from compute_agent.objects.settings import ObjectSettings, TaskSettings
from compute_agent.secrets.settings import SecretSettings
from kube.settings import ClientLimits
from tunnel.settings import SettingError, TunnelSettings, setting


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files of the agent's TLS identity.

    Args:
        ca_file: the private CA that signed the relay's certificate.
        cert_file, key_file: the agent's client certificate and its key.
    """

    ca_file: str
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class DialLimits:
    """Deadlines of one dial; each step has its own."""

    connect_s: float = setting(
        5.0, low=0.1, high=60.0, why="TCP handshake: two SYN retransmissions (1 s, 3 s) fit"
    )
    proxy_s: float = setting(5.0, low=0.1, high=60.0, why="answer of an HTTPS proxy to CONNECT")
    tls_s: float = setting(
        10.0,
        low=0.1,
        high=60.0,
        why="the last of 1,000 agents that come back at once waits 4 s, 9 s on a busy relay",
    )
    websocket_s: float = setting(5.0, low=0.1, high=60.0, why="answer to the WebSocket upgrade")


@dataclass(frozen=True, slots=True)
class BackoffLimits:
    """How fast the agent dials again. Delays are drawn uniformly below the bound (full jitter)."""

    base_s: float = setting(
        0.05, low=0.001, high=10.0, why="first bound: a cut connection is back within a blink"
    )
    stable_s: float = setting(
        1.0, low=0.0, high=60.0, why="a tunnel that lived so long was no failed attempt"
    )
    recent_s: float = setting(
        60.0,
        low=0.0,
        high=3600.0,
        why="twice the 30 s for which a relay keeps exchanges open, waiting for us",
    )
    recent_cap_s: float = setting(
        0.4,
        low=0.01,
        high=60.0,
        why="resume gap p99 <= 1 s; 1,000 agents then knock 3,000 times/s, refused by the kernel",
    )
    cap_s: float = setting(
        5.0, low=0.01, high=600.0, why="nobody waits any more; spares a relay that is down for long"
    )
    refused_base_s: float = setting(
        1.0, low=0.01, high=600.0, why="a refused identity rarely gets accepted within a second"
    )
    refused_cap_s: float = setting(
        30.0,
        low=0.1,
        high=3600.0,
        why="a refusal costs the relay a handshake",
    )


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Bounds of reading and sending logs."""

    container: str = "main"
    files_kept: int = setting(
        5,
        low=2,
        high=100,
        why="kubelet's containerLogMaxFiles: where fewer are, none was deleted yet",
    )
    read_bytes: int = setting(
        262_144, low=4_096, high=4_194_304, why="64 -> 256 KiB reads halve the cost (measured)"
    )
    line_max_bytes: int = setting(
        8_388_608,
        low=65_536,
        high=67_108_864,
        why="most of one unfinished line that is held; beyond it the line is sent in pieces",
    )
    policy: str = setting(
        "balanced", why="how lines are batched: `latency`, `balanced` or `bulk`, see `Batching`"
    )
    poll_min_s: float | None = setting(
        None, low=0.0005, high=0.05, why="between looks at a busy log; else the policy's"
    )
    poll_max_s: float | None = setting(
        None, low=0.001, high=0.05, why="between looks at a quiet log; else the policy's"
    )
    hold_off_s: float | None = setting(
        None, low=0.0, high=0.1, why="pause between small batches; else the policy's"
    )
    batch_bytes: int | None = setting(
        None, low=1_024, high=60_000, why="a batch so large goes at once; else the policy's"
    )
    keepalive_s: float = setting(
        10.0, low=0.1, high=25.0, why="the flyte client gives up after 30 s without a message"
    )
    pod_wait_s: float = setting(
        3.0, low=0.0, high=60.0, why="an assignment that is under way when somebody looks already"
    )
    index_interval_s: float = setting(
        0.5, low=0.1, high=60.0, why="kubelet looks at sizes every 10 s: no rotation is missed"
    )
    compress: bool = setting(
        False, why="zstd or gzip for viewers that ask: less over a slow link, for more CPU"
    )
    max_watches: int = setting(
        256,
        low=0,
        high=10_000,
        why="directories watched by inotify; a user has 8,192 on small nodes. 0: files are polled",
    )
    shared_bytes: int = setting(
        1_048_576,
        low=65_536,
        high=67_108_864,
        why="kept of a log for those behind the first of its viewers: 16 units, 5 ms of 1 Gbit/s",
    )
    max_tails: int = setting(
        256, low=1, high=10_000, why="bounds memory: each may hold two lines of line_max_bytes"
    )

    def batching(self) -> Batching:
        """Return the policy's batching, but for what is set beside it.

        Raises:
            SettingError: there is no such policy.
        """
        if self.policy not in POLICIES:
            names = ", ".join(POLICIES)
            raise SettingError(f"setting 'logs.policy' is '{self.policy}'; allowed: {names}")
        own = {field.name: getattr(self, field.name) for field in fields(Batching)}
        return replace(POLICIES[self.policy], **{k: v for k, v in own.items() if v is not None})


@dataclass(frozen=True, slots=True)
class ClusterLimits(ClientLimits):
    """Bounds of talking to the Kubernetes API."""

    max_pods: int = setting(
        10_000, low=1, high=100_000, why="pods remembered; a full report of them stays below 4 MiB"
    )
    workspace_pods: int = setting(
        1_000, low=1, high=100_000, why="quota of each project's domain: pods that have not ended"
    )


@dataclass(frozen=True, slots=True)
class AccountFiles:
    """Token files of service accounts (Appendix E); empty for `kubernetes_token_file`.

    Args:
        executor: creates, follows and deletes task pods.
        proxy_system: reads logs and events, keeps secrets.
        operator_system: looks after health.
        clustersync_system: makes each project's namespace and what belongs to it.
    """

    executor: str = ""
    proxy_system: str = ""
    operator_system: str = ""
    clustersync_system: str = ""


@dataclass(frozen=True, slots=True)
class ReportLimits:
    """Bounds of reporting phases to the control plane."""

    answer_s: float = setting(10.0, low=0.1, high=120.0, why="answer of the control plane")
    retry_s: float = setting(1.0, low=0.01, high=60.0, why="pause after an unanswered report")
    health_s: float = setting(30.0, low=0.5, high=600.0, why="a report even when nothing changed")
    max_pending: int = setting(
        10_000, low=1, high=100_000, why="unacknowledged events kept while the tunnel is down"
    )


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """Bounds of looking after the cluster's health; `reports.health_s` is how often it is told."""

    check_s: float = setting(
        5.0, low=0.1, high=300.0, why="what breaks is told within 10 s, two checks at most"
    )
    answer_s: float = setting(
        3.0, low=0.1, high=60.0, why="a store that takes longer for a ping serves nobody"
    )


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Everything about one agent.

    Args:
        org, cluster, slot: whose agent it is, and which of its tunnels.
        relay_url: `wss://host:port/tunnel`, or `ws://` on loopback.
        log_root: directory of the nodes' pod logs.
        state_dir: where the index of log offsets is kept.
        tls: files for `wss://`.
        proxy_url: `http://host:port` of a proxy for CONNECT; empty for none.
        token_file: the tunnel token; empty only without TLS.
        issuer_file: issuer and public keys of tokens and proofs; empty only without TLS.
        require_proof: false while relay or control plane are of a release that proves nothing.
        kubernetes_url, kubernetes_ca_file, kubernetes_token_file: the cluster's API.
        accounts: who the agent's parts are there.
    """

    org: str
    cluster: str
    relay_url: str
    log_root: str
    state_dir: str
    slot: int = setting(0, low=0, high=255, why="one live tunnel per org, cluster and slot")
    tls: TlsFiles | None = None
    proxy_url: str = ""
    token_file: str = ""
    issuer_file: str = ""
    require_proof: bool = True
    kubernetes_url: str = ""
    kubernetes_ca_file: str = ""
    kubernetes_token_file: str = ""
    accounts: AccountFiles = field(default_factory=AccountFiles)
    token_poll_s: float = setting(
        1.0, low=0.05, high=60.0, why="a rotated token is presented long before the old one expires"
    )
    issuer_reread_s: float = setting(
        10.0, low=0.1, high=600.0, why="between looks at issuer_file: unknown keys cost no more"
    )
    drain_s: float = setting(
        5.0, low=0.0, high=120.0, why="calls under way may finish; tails resume after a restart"
    )
    access_wait_s: float = setting(
        5.0, low=0.0, high=30.0, why="a restarted agent is told the roles within a second"
    )
    request_max_bytes: int = setting(
        1_048_576, low=1_024, high=16_777_216, why="largest request message; an assignment is small"
    )
    dial: DialLimits = field(default_factory=DialLimits)
    backoff: BackoffLimits = field(default_factory=BackoffLimits)
    logs: LogLimits = field(default_factory=LogLimits)
    kubernetes: ClusterLimits = field(default_factory=ClusterLimits)
    reports: ReportLimits = field(default_factory=ReportLimits)
    health: HealthLimits = field(default_factory=HealthLimits)
    clickhouse: ClickHouseSettings = field(default_factory=ClickHouseSettings)
    metrics: MetricsLimits = field(default_factory=MetricsLimits)
    history: HistorySettings = field(default_factory=HistorySettings)
    events: EventSettings = field(default_factory=EventSettings)
    secrets: SecretSettings = field(default_factory=SecretSettings)
    objects: ObjectSettings | None = None
    tasks: TaskSettings = field(default_factory=TaskSettings)
    data_endpoint: DataSettings | None = None
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
