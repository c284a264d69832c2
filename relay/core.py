"""What all sides of one relay share. Everything is in memory, and nothing of it is payload."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping

import trio

from relay.auth import Authenticator
from relay.calls import Calls
from relay.departures import Departures
from relay.drain import Drain
from relay.memory import Memory
from relay.metrics import Metrics
from relay.policy import PolicyHolder
from relay.registry import Registry
from relay.seal.level import LEVELS, Seal
from relay.settings import RelaySettings
from relay.tenants import Tenants
from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.journal import Journal


class Core:
    """Shared state of one relay.

    Args:
        settings: limits.
        insecure: no tokens, no certificates, one fixed demo subject; for loopback only.
        journal: where events go.
        clock: wall clock, seconds since the epoch.
        capabilities: the closed list of RPCs.
    """

    def __init__(
        self,
        settings: RelaySettings,
        *,
        insecure: bool = False,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.time,
        capabilities: Mapping[str, Capability] = CAPABILITIES,
    ) -> None:
        self.boot_id = secrets.token_hex(8)  # names this life of the relay
        self.settings, self.clock, self.capabilities = settings, clock, capabilities
        self.journal = journal or Journal("relay")
        self.metrics = Metrics()
        self.memory = Memory()
        self.authenticator = Authenticator(settings, insecure=insecure)
        self.policy = PolicyHolder()
        self.registry = Registry(clock, self.metrics, settings.max_slots)
        tenants = Tenants(settings, self.registry.carried_bytes, trio.current_time)
        self.calls = Calls(settings.max_exchanges, tenants, clock, settings.clock_skew_s)
        self.departures = Departures()
        self.drain = Drain(settings)
        self.seal = Seal()
        self.policy.watch(self.calls.stop_forbidden)
        self.metrics.gauge("relay_tunnels", "Live tunnels.", self.registry.count)
        self.metrics.gauge("relay_exchanges", "Exchanges under way.", lambda: len(self.calls))
        self.metrics.state(
            "relay_seal_level", "How the relay is sealed.", LEVELS, lambda: str(self.seal.level)
        )

    def sealed(self, seal: Seal) -> None:
        """Note and publish the seal that this process has got."""
        self.seal = seal
        self.journal.event("sealed", level=str(seal.level), **seal.parts)
        for part in seal.missing:
            self.journal.event("seal_missing", part=part, remedy="planesplit_doctor")

    def not_ready(self) -> str:
        """Why the relay is not ready, "" when it is."""
        if self.drain.started.is_set():
            return "draining"
        return "" if self.policy.current is not None else "no policy yet"
