"""Settings of the customer's infrastructure stand-in, and the checks that need more than one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from customer_stub.collector.settings import CollectorSettings
from customer_stub.kubernetes.clients import AccountTokens
from customer_stub.kubernetes.settings import ScrapeSettings
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.pods.settings import PodsSettings
from customer_stub.registry.settings import RegistrySettings
from customer_stub.samples.settings import SamplesSettings
from customer_stub.secrets.settings import SecretsSettings
from kube.settings import ApiSettings
from tunnel.settings import SettingError, setting


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the API's server certificate and its private key."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class ClickHouseTarget:
    """The ClickHouse that samples and logs are written to; `url` "" writes nowhere."""

    url: str = ""
    user: str = "collector"
    password_file: str = ""
    ca_file: str = ""  # PEM; "" takes the system's authorities
    write_s: float = setting(
        10.0, low=0.1, high=300.0, why="deadline of one insert; a batch takes milliseconds"
    )
    max_pause_s: float = setting(
        10.0, low=0.1, high=300.0, why="longest pause between attempts while it is away"
    )


@dataclass(frozen=True, slots=True)
class CustomerSettings(ApiSettings):
    """Where pods log, where the Kubernetes API listens, and the bound of everything."""

    log_root: str
    host: str = setting("127.0.0.1", why="a simulator is reached from its own machine")
    port: int = setting(0, low=0, high=65_535, why="0 lets the system choose: no fixed ports")
    insecure: bool = setting(False, why="plain HTTP, and no tokens unless token_file is given")
    tls: TlsFiles | None = None  # required unless insecure
    data_root: str = setting("", why="where the object store and registry keep data; empty: none")
    objects_port: int = setting(0, low=0, high=65_535, why="of the object store; 0 as for port")
    registry_port: int = setting(0, low=0, high=65_535, why="of the registry; 0 as for port")
    webhook_port: int = setting(
        0, low=0, high=65_535, why="of the secrets' admission webhook; 0 as for port"
    )
    accounts: AccountTokens = field(default_factory=AccountTokens)
    objects: ObjectsSettings = field(default_factory=ObjectsSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    pods: PodsSettings = field(default_factory=PodsSettings)
    clickhouse: ClickHouseTarget = field(default_factory=ClickHouseTarget)
    collector: CollectorSettings = field(default_factory=CollectorSettings)
    samples: SamplesSettings = field(default_factory=SamplesSettings)
    scrape: ScrapeSettings = field(default_factory=ScrapeSettings)
    secrets: SecretsSettings = field(default_factory=SecretsSettings)
    token_file: str = setting(
        "", why='Kubernetes static token file: token,user,uid,"group1,group2" on each line'
    )
    rotate_bytes: int = setting(
        10_485_760, low=4096, high=1_073_741_824, why="kubelet's containerLogMaxSize default, 10 Mi"
    )
    rotate_files: int = setting(
        5, low=2, high=100, why="kubelet's containerLogMaxFiles default; the current file counts"
    )
    max_running: int = setting(
        110, low=1, high=1000, why="kubelet's maxPods default; further pods wait as Pending"
    )
    shutdown_s: float = setting(
        2.0, low=0.0, high=60.0, why="the same for all pods when this process is asked to stop"
    )
    drain_s: float = setting(
        5.0, low=0.1, high=60.0, why="how long an escaped grandchild may hold a dead pod's pipes"
    )
    deleted_logs: int = setting(
        100, low=0, high=10_000, why="log directories of deleted pods kept for the log collector"
    )
    max_events: int = setting(
        5000, low=10, high=1_000_000, why="events of pods kept; Kubernetes forgets after an hour"
    )
    stalled_reader_s: float = setting(
        10.0, low=1.0, high=600.0, why="a client that takes nothing for so long is cut off"
    )

    def check(self) -> CustomerSettings:
        """Return self if the settings agree with each other.

        Raises:
            SettingError: TLS or tokens are missing, or `insecure` is asked of a public address.
        """
        check_listener(self.host, self.tls, insecure=self.insecure)
        if not self.insecure and not self.token_file:
            raise SettingError(
                "setting 'token_file' is missing; name a token file, or set insecure = true"
            )
        self.objects.check()
        self.secrets.check()
        self.registry.check()
        self.pods.check()
        self.collector.check(self.clickhouse.url)
        return self


def check_listener(host: str, tls: TlsFiles | None, *, insecure: bool) -> None:
    """Refuse a listener in the clear beyond loopback, or one that has no certificate.

    Raises:
        SettingError: which of them.
    """
    if insecure and not _is_loopback(host):
        raise SettingError(f"setting 'host' is '{host}'; insecure = true needs a loopback address")
    if not insecure and tls is None:
        raise SettingError(
            "setting 'tls' is missing; give [tls] cert_file and key_file, or insecure = true"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
