"""Counters and gauges of the relay, in Prometheus' text format.

Every name and every label value is declared here, so nothing that a peer sent can become a label.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

from tunnel.row_counts import DIRECTIONS, Direction, RowCounts

ROW_BYTES = "relay_row_bytes_total"


class Reason(enum.StrEnum):
    """Why somebody was refused or an exchange failed; one counter each."""

    # HTTP heads and bodies.
    MALFORMED = "malformed"
    SMUGGLING = "smuggling"
    VERSION = "http_version"
    TARGET = "target"
    UPGRADE = "upgrade"
    HEAD_TOO_LARGE = "head_too_large"
    SLOW = "slow"
    BODY_TOO_LARGE = "body_too_large"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_OF_PEER = "too_many_connections_of_peer"
    TLS = "tls"
    NOT_FOUND = "not_found"
    METHOD = "method"
    # Who and what.
    ANONYMOUS = "no_token"
    FORGED = "bad_token"
    EXPIRED = "expired_token"
    REVOKED = "revoked"
    IDENTITY = "identity"
    PROTOCOL_VERSION = "protocol_version"
    UNBOUND = "token_not_bound"
    FORBIDDEN = "forbidden"
    UNKNOWN_CLUSTER = "unknown_cluster"
    UNKNOWN_RPC = "unknown_rpc"
    HANDSHAKE = "handshake"
    # Circumstances.
    NOT_READY = "not_ready"
    DRAINING = "draining"
    TOO_MANY = "too_many"
    ORG_STREAMS = "org_streams"
    ORG_RATE = "org_rate"
    ORG_BYTES = "org_bytes"
    AGENT_ABSENT = "agent_absent"
    AGENT_SILENT = "agent_silent"
    AGENT_RESET = "agent_reset"
    AGENT_FAULT = "agent_fault"
    TUNNEL_LOST = "tunnel_lost"
    HOLD_EXPIRED = "hold_expired"
    CONTROL_ABSENT = "control_absent"
    FAN_OUT = "fan_out"


LISTENERS = ("viewer", "agent", "control", "ops")
ENDINGS = ("complete", "error", "aborted", "left")

# name -> (help, label name, label values)
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "relay_connections_total": ("Accepted connections.", "listener", LISTENERS),
    "relay_rejected_total": ("Refusals and failures told to a peer.", "reason", tuple(Reason)),
    "relay_exchanges_total": (
        "Exchanges that were opened.",
        "opened_by",
        ("viewer", "control", "agent"),
    ),
    "relay_endings_total": ("How exchanges ended towards the viewer.", "ending", ENDINGS),
    "relay_bytes_total": (
        "Body bytes forwarded; up: requests, down: answers.",
        "direction",
        DIRECTIONS,
    ),
    "relay_tunnels_total": (
        "Tunnels by what became of them.",
        "state",
        ("opened", "replaced", "closed"),
    ),
    "relay_resumes_total": ("Streams re-opened on another tunnel.", "", ("",)),
    "relay_discarded_bytes_total": ("Bytes of unfinished units discarded.", "", ("",)),
    "relay_keepalives_total": ("Empty messages injected while an agent was away.", "", ("",)),
    "relay_internal_errors_total": ("Connections ended by a fault of the relay.", "", ("",)),
}


class Metrics:
    """Counts. Unknown names and label values raise KeyError: they are bugs."""

    def __init__(self) -> None:
        self._counts = {
            (name, value): 0 for name, (_, _, values) in COUNTERS.items() for value in values
        }
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._states: dict[str, tuple[str, tuple[str, ...], Callable[[], str]]] = {}
        self.rows = RowCounts()

    def add(self, name: str, label: str = "", amount: int = 1) -> None:
        """Raise a counter."""
        self._counts[name, label] += amount

    def carried(self, row: str, direction: Direction, count_bytes: int) -> None:
        """Count body bytes that were forwarded, in all and for their row of the white paper."""
        self._counts["relay_bytes_total", direction] += count_bytes
        self.rows.add(row, direction, count_bytes)

    def reject(self, reason: Reason) -> None:
        """Count a refusal."""
        self._counts["relay_rejected_total", reason] += 1

    def get(self, name: str, label: str = "") -> int:
        """Return a counter's value."""
        return self._counts[name, label]

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Declare a gauge that is read when somebody looks."""
        self._gauges[name] = (text, read)

    def state(self, name: str, text: str, levels: tuple[str, ...], read: Callable[[], str]) -> None:
        """Declare a state that is one of several levels: 1 for the one that it is in, else 0."""
        self._states[name] = (text, levels, read)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format, version 0.0.4."""
        rows = self.rows.prometheus(ROW_BYTES)
        lines = [*self._counter_lines(), *rows, *self._gauge_lines(), *self._state_lines()]
        return ("\n".join(lines) + "\n").encode()

    def _counter_lines(self) -> Iterable[str]:
        for name, (text, label, values) in COUNTERS.items():
            yield f"# HELP {name} {text}"
            yield f"# TYPE {name} counter"
            for value in values:
                labels = f'{{{label}="{value}"}}' if label else ""
                yield f"{name}{labels} {self._counts[name, value]}"

    def _gauge_lines(self) -> Iterable[str]:
        for name, (text, read) in self._gauges.items():
            yield f"# HELP {name} {text}"
            yield f"# TYPE {name} gauge"
            yield f"{name} {read():g}"

    def _state_lines(self) -> Iterable[str]:
        for name, (text, levels, read) in self._states.items():
            yield f"# HELP {name} {text}"
            yield f"# TYPE {name} gauge"
            for level in levels:
                yield f'{name}{{level="{level}"}} {int(read() == level)}'
