"""Bounds of the API server's stand-in and of its clients."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.http.settings import HttpLimits
from tunnel.settings import SettingError, setting

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Bounds of one API server, and of the objects that it holds."""

    event_history: int = setting(
        8192, low=1, high=1_000_000, why="changes a watch may resume from; older is 410 Gone"
    )
    event_history_bytes: int = setting(
        67_108_864,
        low=65_536,
        high=1 << 40,
        why="of these changes, as JSON; fewer are kept where objects are large",
    )
    max_stored_bytes: int = setting(
        268_435_456,
        low=65_536,
        high=1 << 40,
        why="of all objects, as JSON; more is refused like a quota, as etcd has one",
    )
    bookmark_s: float = setting(
        10.0, low=0.1, high=600.0, why="period of watch bookmarks; Kubernetes promises none"
    )
    watch_timeout_s: float = setting(
        300.0, low=1.0, high=7200.0, why="longest watch; clients ask for less by timeoutSeconds"
    )
    max_watches: int = setting(
        512, low=1, high=10_000, why="watches and followed logs at once; more get 429"
    )
    max_requests: int = setting(64, low=1, high=10_000, why="other requests at once; more get 429")
    max_body_bytes: int = setting(
        3_145_728, low=1024, high=16_777_216, why="largest request; the API server's own limit"
    )
    body_s: float = setting(10.0, low=0.1, high=120.0, why="time for a request's body to arrive")
    max_secrets: int = setting(
        1000, low=1, high=100_000, why="Secrets held in memory; more is refused like a quota"
    )
    max_objects: int = setting(
        5000, low=10, high=1_000_000, why="of every other kind, held in memory"
    )
    max_pods: int = setting(
        1000, low=1, high=100_000, why="objects held in memory; more is refused like a quota"
    )
    grace_s: int = setting(
        5, low=0, high=3600, why="SIGTERM to SIGKILL of a deleted pod that names no period itself"
    )


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the API's server certificate and its private key."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class KubeSettings(ApiSettings):
    """An API server of its own, behind which nothing runs: the control plane's.

    Args:
        token_file: Kubernetes' static token file; empty only when insecure: everybody is a master.
        tls: required unless insecure.
    """

    host: str = setting("127.0.0.1", why="a simulator is reached from its own machine")
    port: int = setting(0, low=0, high=65_535, why="0 lets the system choose: no fixed ports")
    insecure: bool = setting(False, why="plain HTTP")
    tls: TlsFiles | None = None
    token_file: str = ""
    http: HttpLimits = field(default_factory=HttpLimits)

    def check(self) -> KubeSettings:
        """Return self if the settings agree with each other.

        Raises:
            SettingError: TLS or tokens are missing, or `insecure` is asked of a public address.
        """
        if self.insecure and self.host not in LOOPBACK:
            raise SettingError(
                f"setting 'host' is '{self.host}'; insecure = true needs one of {LOOPBACK}"
            )
        if not self.insecure and not (self.tls and self.token_file):
            raise SettingError(
                "settings 'tls' and 'token_file' are missing; give both, or insecure = true"
            )
        return self


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Bounds of talking to an API server."""

    request_s: float = setting(10.0, low=0.1, high=120.0, why="one call to the API server")
    watch_s: int = setting(
        300, low=1, high=3600, why="a watch ends and is renewed; as client-go does within 5-10 min"
    )
    retry_s: float = setting(0.5, low=0.01, high=60.0, why="pause after a failed list or watch")
