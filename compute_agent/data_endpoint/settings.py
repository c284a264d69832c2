"""What an operator may set of the customer's data endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.http.settings import HttpLimits
from tunnel.settings import setting


@dataclass(frozen=True, slots=True)
class DataTls:
    """Files of the endpoint's TLS identity."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class DataSettings:
    """The listener for viewers in the customer's network.

    Args:
        host: where to listen; without TLS it must be on loopback.
        tls: certificate and key; None speaks plain HTTP.
        public_url: how viewers reach it; made of host and port if empty.
    """

    host: str = "127.0.0.1"
    port: int = setting(0, low=0, high=65_535, why="0 lets the system choose")
    tls: DataTls | None = None
    public_url: str = ""
    message_max_bytes: int = setting(
        33_554_432,
        low=1_048_576,
        high=268_435_456,
        why="largest inputs or outputs in one message; flyte's clients allow 10 MiB by default",
    )
    calls: int = setting(
        8, low=1, high=256, why="calls at a time: each may hold two messages of message_max_bytes"
    )
    http: HttpLimits = field(default_factory=HttpLimits)
