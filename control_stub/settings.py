"""What the control plane is told at start, and its limits."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from control_stub.kubernetes.settings import KubernetesSettings
from tunnel.handover import NOTHING
from tunnel.http.settings import HttpLimits
from tunnel.settings import SettingError, load, setting

ROLES = ("Admin", "Contributor", "Viewer")
ANY = "*"

# A segment of a scope: what a path prefix, a token's claim and a journal line can all carry.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate chain and private key of the public listener, PEM."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Where the relay is.

    Args:
        control_url: its private listener, `https://host:port`.
        viewer_url: what viewers use; SelectCluster hands it out with a scope as prefix.
        ca_file: CA that signed the private listener's certificate.
        cert_file, key_file: our client certificate (`spiffe://planesplit/control`).
    """

    control_url: str
    viewer_url: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """Names of the customer's buckets; the control plane writes them into addresses, no more."""

    metadata_bucket: str = "planesplit-metadata"
    fast_registration_bucket: str = "planesplit-fast-registration"


@dataclass(frozen=True, slots=True)
class FlyteadminSettings:
    """Identity that signs URLs for uploads and downloads; without it the customer's agents do.

    Args:
        endpoint_url: of the customer's store, as viewers reach it.
        access_key, secret_file: the identity's keys; its own requests are refused there.
        region: of the store.
    """

    endpoint_url: str
    access_key: str
    secret_file: str
    region: str = "us-east-1"
    url_ttl_s: int = setting(
        3600, low=1, high=3600, why="the white paper's default and maximum: 1 h"
    )


@dataclass(frozen=True, slots=True)
class OrgSettings:
    """An organisation; every project has every domain."""

    name: str
    projects: tuple[str, ...]
    domains: tuple[str, ...]
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """A role in an org's project and domain; `*` is all of them."""

    role: str
    project: str = ANY
    domain: str = ANY


@dataclass(frozen=True, slots=True)
class AppSettings:
    """A client of the token endpoint: a viewer with roles, or with `cluster` that cluster's agent.

    Args:
        client_id: its name, and a viewer's subject.
        secret_file: file that holds the secret; read at start, stored as a salted hash.
    """

    client_id: str
    secret_file: str
    org: str
    cluster: str = ""
    roles: tuple[RoleSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the control plane itself."""

    token_s: int = setting(
        3600, low=1, high=86_400, why="life of a token; revocation does not wait for it"
    )
    key_publish_s: float = setting(
        60.0,
        low=0.0,
        high=86_400.0,
        why="from a signing key's making until it signs; agents' operators look every 20 s",
    )
    key_overlap_s: float = setting(
        90_000.0,
        low=0.0,
        high=2_592_000.0,
        why="an old key verifies: as long as a token may live, and an hour",
    )
    access_s: int = setting(
        3600,
        low=10,
        high=86_400,
        why="life of the roles that an agent was told; renewed at half of it",
    )
    token_burst: int = setting(
        60, low=1, high=10_000, why="tokens one client may fetch at once: each CLI call fetches one"
    )
    token_rate: float = setting(
        10.0, low=0.01, high=1000.0, why="tokens per second and client; one costs 9 ms of scrypt"
    )
    watch_s: float = setting(
        1800.0, low=1.0, high=86_400.0, why="a watch ends then and is opened again by its client"
    )
    poll_s: float = setting(
        25.0, low=0.05, high=120.0, why="long polls at the relay, below usual idle timeouts of 30 s"
    )
    tunnels_s: float = setting(
        3.0,
        low=0.05,
        high=4.0,
        why="long poll for tunnels, and its answer: a lost cluster shows within 10 s",
    )
    exchanges: int = setting(
        4, low=1, high=64, why="agents' reports handled at once; each is one transaction"
    )
    assignments: int = setting(
        64, low=1, high=1024, why="runs handed to clusters at once; more wait in the database"
    )
    assign_s: float = setting(
        20.0, low=0.1, high=300.0, why="an agent answers once the pod exists; pulling takes longer"
    )
    retry_s: float = setting(
        0.25, low=0.01, high=10.0, why="longest pause before a relay that was up is tried again"
    )
    away_s: float = setting(
        60.0, low=0.1, high=3600.0, why="a relay away for so long is tried every absent_retry_s"
    )
    absent_retry_s: float = setting(
        2.0, low=0.01, high=60.0, why="pause between tries of a relay that is away or never came"
    )
    spec_bytes: int = setting(
        262_144, low=1024, high=1_048_576, why="a task's specification; etcd's objects are 1 MiB"
    )
    attempts: int = setting(
        10, low=1, high=100, why="of one action: a task that asks for more retries is refused"
    )
    page_rows: int = setting(100, low=1, high=1000, why="rows of one page: what the CLI asks for")


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """The control plane's configuration file.

    Args:
        host, port: public listener; port 0 lets the system choose.
        insecure: plain HTTP on loopback, every caller is `demo` with Admin on the first org.
        prover_fd: socket from the parent that takes our memory, for proofs; -1 for none.
        public_url: how clients reach us; made of host and port if empty.
        db_file: SQLite file; `:memory:` keeps nothing.
        kubernetes: the control plane's own cluster; without it nothing is asked of one.
        flyteadmin: signs URLs here, if set (Appendix E); else the customer's agents do.
    """

    relay: RelaySettings
    orgs: tuple[OrgSettings, ...]
    apps: tuple[AppSettings, ...] = ()
    tls: TlsFiles | None = None
    host: str = "127.0.0.1"
    port: int = setting(0, low=0, high=65_535, why="0 lets the system choose")
    insecure: bool = False
    prover_fd: int = NOTHING
    public_url: str = ""
    db_file: str = ":memory:"
    objects: ObjectSettings = field(default_factory=ObjectSettings)
    kubernetes: KubernetesSettings | None = None
    flyteadmin: FlyteadminSettings | None = None
    http: HttpLimits = field(default_factory=HttpLimits)
    limits: Limits = field(default_factory=Limits)

    @property
    def demo_org(self) -> str:
        """The org that everybody is in when `insecure`."""
        return self.orgs[0].name


def load_settings(table: Mapping[str, Any]) -> ControlSettings:
    """Make settings from a TOML table.

    Raises:
        SettingError: naming key, value and remedy.
    """
    settings = load(ControlSettings, table)
    if not settings.orgs:
        raise SettingError("setting 'orgs' is empty; add at least one [[orgs]] table")
    if settings.insecure:
        _check_loopback(settings)
    elif settings.tls is None:
        raise SettingError("setting 'tls' is missing; add [tls], or insecure = true on loopback")
    for index, org in enumerate(settings.orgs):
        _check_names(f"orgs[{index}]", (org.name, *org.projects, *org.domains, *org.clusters))
    orgs = {org.name: org for org in settings.orgs}
    for index, app in enumerate(settings.apps):
        _check_app(f"apps[{index}]", app, orgs)
    return settings


def _check_loopback(settings: ControlSettings) -> None:
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = settings.host == "localhost"
    if not loopback:
        raise SettingError(
            f"setting 'host' is '{settings.host}'; with insecure = true it must be a loopback "
            "address, e.g. 127.0.0.1"
        )


def _check_names(where: str, names: Iterable[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise SettingError(
                f"setting '{where}' holds the name '{name}'; "
                "names are letters, digits and . _ @ : -"
            )


def _check_app(where: str, app: AppSettings, orgs: Mapping[str, OrgSettings]) -> None:
    _check_names(where, (app.client_id,))
    org = orgs.get(app.org)
    if org is None:
        raise SettingError(f"setting '{where}.org' is '{app.org}'; known: {', '.join(orgs)}")
    if app.cluster and app.cluster not in org.clusters:
        raise SettingError(
            f"setting '{where}.cluster' is '{app.cluster}'; clusters of {org.name}: "
            f"{', '.join(org.clusters)}"
        )
    if bool(app.cluster) == bool(app.roles):
        raise SettingError(f"setting '{where}' must have either a cluster or roles")
    for role in app.roles:
        if role.role not in ROLES:
            raise SettingError(
                f"setting '{where}.roles' holds '{role.role}'; known: {', '.join(ROLES)}"
            )
