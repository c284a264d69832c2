"""Limits and configuration of the relay. Every limit has a default, bounds and a reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.seal.level import LEVELS
from tunnel.handover import NOTHING
from tunnel.settings import SettingError, TunnelSettings, setting

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MODES = ("on", "off")


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What bounds the relay; times in seconds, sizes in bytes."""

    handshake_s: float = setting(
        10.0, low=0.1, high=120.0, why="TLS and a request's head; a slower peer is cut off"
    )
    idle_s: float = setting(
        75.0, low=1.0, high=3600.0, why="a kept-alive connection without a request"
    )
    max_head_bytes: int = setting(
        16_384, low=1_024, high=65_536, why="a request's head; what h11 itself allows"
    )
    max_headers: int = setting(
        64, low=8, high=256, why="headers of a request; real clients send about ten"
    )
    body_idle_s: float = setting(
        30.0, low=0.1, high=600.0, why="patience with a request's body that does not move"
    )
    body_rate_bytes_s: int = setting(
        1_024, low=1, high=1_048_576, why="slowest sender: so many bytes give a second back to it"
    )
    replay_bytes: int = setting(
        16_384,
        low=1_024,
        high=65_536,
        why="body of a resumable request, kept for replay; a tail's request is < 1 KiB",
    )
    fan_out_request_bytes: int = setting(
        131_072,
        low=1_024,
        high=1_048_576,
        why="body of a call to every cluster, kept until all have it; a secret has up to 64 KiB",
    )
    fan_out_answer_bytes: int = setting(
        4_194_304,
        low=1_024,
        high=67_108_864,
        why="answers of all clusters together; what a Connect client reads by default",
    )
    fan_out_s: float = setting(
        30.0, low=0.1, high=600.0, why="until every cluster has answered a call to all of them"
    )
    max_fan_out: int = setting(
        64, low=1, high=1_024, why="clusters that one call may reach; bounds streams and message"
    )
    max_fan_outs: int = setting(
        32,
        low=1,
        high=1_024,
        why="calls to every cluster at a time: each may hold its request and all answers, 4 MiB",
    )
    max_unit_bytes: int = setting(
        65_536,
        low=65_536,
        high=1_048_576,
        why="bytes between two MARKs; the tunnel's smallest window must hold a whole unit",
    )
    batch_bytes: int = setting(
        1_048_576,
        low=65_536,
        high=4_194_304,
        why="bytes in one send, and unsent in the kernel: a read's worth for one viewer",
    )
    hold_s: float = setting(
        30.0, low=0.1, high=600.0, why="how long a tail waits for its agent, from detection"
    )
    max_fruitless: int = setting(
        10,
        low=1,
        high=1_000,
        why="re-opens in a row that brought nothing; a request may be what kills its agent",
    )
    reopen_pause_s: float = setting(
        0.1,
        low=0.0,
        high=10.0,
        why="between two openings of a call on one tunnel; until who drains has said GOAWAY",
    )
    keepalive_s: float = setting(
        10.0, low=0.1, high=600.0, why="silence towards a viewer; clients give up after 30 s"
    )
    agent_wait_s: float = setting(
        10.0, low=0.0, high=600.0, why="how long a new tail waits for an agent to be there"
    )
    answer_s: float = setting(
        60.0, low=0.1, high=3600.0, why="time for the agent's first sign on an exchange"
    )
    write_stall_s: float = setting(
        3600.0,
        low=1.0,
        high=86_400.0,
        why="one write to a viewer; stalling is allowed and costs one window, not for ever",
    )
    close_s: float = setting(
        2.0, low=0.05, high=60.0, why="time to hand over a last error before a connection is cut"
    )
    drain_s: float = setting(
        10.0, low=0.0, high=600.0, why="time for open exchanges to finish after SIGTERM"
    )
    max_connections: int = setting(
        4_096, low=1, high=65_536, why="connections on one listener; each costs about 20 KiB"
    )
    max_connections_per_peer: int = setting(
        2_048,
        low=1,
        high=65_536,
        why="of one address on one listener; a load balancer's or an office's is shared by many",
    )
    max_exchanges: int = setting(
        2_048, low=1, high=65_536, why="viewer and control exchanges under way; each holds a window"
    )
    org_exchanges: int = setting(
        1_536,
        low=1,
        high=65_536,
        why="viewers' exchanges of one organisation: a quarter of all is left to the others",
    )
    org_rate: float = setting(
        1_000.0,
        low=0.1,
        high=100_000.0,
        why="exchanges of one organisation that begin in a second; the relay does about 1,500",
    )
    org_burst: int = setting(
        4_096,
        low=1,
        high=1_000_000,
        why="exchanges that may begin at once: everybody comes back when a relay was replaced",
    )
    org_bytes_s: int = setting(
        4_294_967_296,
        low=1_024,
        high=1_099_511_627_776,
        why="bytes a second through one organisation's tunnels; more than one relay can carry",
    )
    org_bytes_burst_s: float = setting(
        10.0, low=0.1, high=3_600.0, why="seconds of org_bytes_s that may be used at once"
    )
    org_look_s: float = setting(
        1.0, low=0.1, high=60.0, why="between two looks at bytes; what is over twice is ended then"
    )
    max_tunnels: int = setting(
        2_048, low=1, high=16_384, why="live tunnels; 1,000 agents with two each, and some room"
    )
    max_slots: int = setting(4, low=1, high=256, why="tunnels of one cluster; agents keep two")
    max_token_bytes: int = setting(
        4_096, low=256, high=16_384, why="a bearer token; ours have about 400 bytes"
    )
    clock_skew_s: int = setting(
        5, low=0, high=300, why="difference between the issuer's clock and ours"
    )
    max_policy_bytes: int = setting(
        4_194_304, low=4_096, high=67_108_864, why="one policy push; about 30,000 bindings"
    )
    poll_s: float = setting(30.0, low=0.0, high=300.0, why="longest long poll of the control plane")
    news_pause_s: float = setting(
        0.05,
        low=0.0,
        high=5.0,
        why="between two answers about tunnels; 1,000 that come back need no 1,000 lists of 1,000",
    )
    max_waiting: int = setting(
        256, low=1, high=65_536, why="agent-opened exchanges that wait for the control plane"
    )
    reverse_wait_s: float = setting(
        30.0, low=0.1, high=600.0, why="until the control plane fetches an agent's exchange"
    )
    reverse_answer_s: float = setting(
        30.0, low=0.1, high=600.0, why="until the control plane answers an agent's exchange"
    )


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the relay's certificate and key, and the CA of agents and control plane.

    Args:
        control_file: the control plane's client certificates, the only ones that count; without it
            each counts that the CA has signed in its name. All are read again at SIGHUP.
    """

    cert_file: str
    key_file: str
    ca_file: str
    control_file: str = ""


@dataclass(frozen=True, slots=True)
class SealSettings:
    """How the relay seals itself: see `relay.seal`.

    Args:
        mode: "on", or "off" for a relay that the kernel stops from nothing.
        require: least level to run at: "limits", "kernel" or "full"; "" for whatever can be had.
        prover_fd: socket from the parent that takes the relay's memory, for proofs; -1 for none.

    Raises:
        SettingError: an unknown mode or level, or a level of a seal that is off.
    """

    mode: str = "on"
    require: str = ""
    prover_fd: int = NOTHING

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingError(f"setting 'seal.mode' is '{self.mode}'; it must be 'on' or 'off'")
        if self.require not in ("", *LEVELS):
            known = ", ".join(LEVELS)
            raise SettingError(f"setting 'seal.require' is '{self.require}'; known: {known}")
        if self.require and self.mode == "off":
            raise SettingError(
                f"'seal.require' is '{self.require}', but seal.mode is 'off'; drop one of the two"
            )


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """What `python -m relay --config FILE` reads; port 0 lets the system choose.

    Raises:
        SettingError: neither or both of [tls] and insecure; insecure beyond loopback.
    """

    host: str = "127.0.0.1"
    viewer_port: int = 0
    agent_port: int = 0
    control_port: int = 0
    ops_port: int = 0
    insecure: bool = False
    tls: TlsFiles | None = None
    seal: SealSettings = field(default_factory=SealSettings)
    limits: RelaySettings = field(default_factory=RelaySettings)
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)

    def __post_init__(self) -> None:
        if self.insecure and self.host not in LOOPBACK:
            raise SettingError(
                f"'insecure' is for loopback only, but host is '{self.host}'; configure [tls]"
            )
        if self.insecure == (self.tls is not None):
            raise SettingError("configure either [tls] or insecure = true")
