"""The live tunnels, by organisation, cluster and slot: where an exchange can be opened.

The newest authenticated tunnel of a slot wins and the older one is told so (GOAWAY REPLACED). A key
holds only what its certificate and token prove, so a stranger can displace nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import trio

from relay.auth import AgentIdentity
from relay.connect_errors import ConnectCode, ConnectError
from relay.metrics import Metrics, Reason
from tunnel.errors import Code, TunnelError
from tunnel.events import Event
from tunnel.exchange import RequestHead, ResponseHead
from tunnel.payload import Buffer


class TunnelStream(Protocol):
    """What the relay uses of a tunnel's stream; see tunnel.stream.Stream."""

    @property
    def request(self) -> RequestHead:
        """Head of the exchange."""
        ...

    async def ready(self) -> None:
        """Wait until `take` returns something."""
        ...

    def take(self) -> list[Event]:
        """Return all that has arrived."""
        ...

    def tap(self, tap: Callable[[TunnelStream], bool] | None) -> None:
        """Have what arrives consumed at once, by `tap`."""
        ...

    def nudge(self) -> None:
        """Have `ready` return once."""
        ...

    @property
    def held(self) -> int:
        """Bytes that have arrived and were not released yet."""
        ...

    def release(self, count: int) -> None:
        """Give back the credit of `count` bytes."""
        ...

    def head(self, head: ResponseHead) -> None:
        """Answer with status and headers."""
        ...

    async def send(self, data: Buffer, *, alone: bool = False) -> None:
        """Queue payload, waiting for room; `alone` if nothing follows for now."""
        ...

    def end(self) -> None:
        """End this half in order."""
        ...

    def reset(self, code: Code) -> None:
        """Abort the exchange."""
        ...


class TunnelSession(Protocol):
    """What the relay uses of a tunnel's session; see tunnel.session.Session."""

    @property
    def is_open(self) -> bool:
        """Whether streams can be opened now."""
        ...

    @property
    def rtt_s(self) -> float | None:
        """Latest round-trip time in seconds."""
        ...

    @property
    def carried_bytes(self) -> int:
        """Bytes of frames so far, both ways."""
        ...

    def open(self, head: RequestHead, cursor: bytes = b"") -> TunnelStream:
        """Open a stream."""
        ...

    def goaway(self, code: Code) -> None:
        """Take no new streams."""
        ...

    def close(self, code: Code) -> None:
        """End the tunnel now."""
        ...


@dataclass(eq=False, slots=True)
class Tunnel:
    """A slot's current or last tunnel; `session` is None when it is lost."""

    identity: AgentIdentity
    session: TunnelSession | None
    since_s: float


Key = tuple[str, str, int]


class Registry:
    """Keeps the tunnels and tells who waits for one.

    Args:
        clock: wall clock, seconds since the epoch.
        metrics: counters.
        max_slots: slots of one cluster, counted from 0.
    """

    def __init__(self, clock: Callable[[], float], metrics: Metrics, max_slots: int) -> None:
        self._max_slots = max_slots
        self._clock, self._metrics = clock, metrics
        self._slots: dict[Key, Tunnel] = {}
        self._carried: dict[str, int] = {}  # by tunnels that have ended
        self._counted: dict[str, set[Tunnel]] = {}  # those that have not, also when replaced
        self._relieved: dict[Key, Tunnel] = {}  # those that drain beside their successors
        self._arrivals: dict[tuple[str, str], trio.Event] = {}
        self._changed = trio.Event()
        self.version = int(clock() * 1_000)  # never one of an earlier life, which a poller may hold

    def admit(self, identity: AgentIdentity, session: TunnelSession) -> Tunnel:
        """Take an authenticated tunnel; an older one of the same slot is told REPLACED and ends.

        One that it relieves may drain instead, one at a time.
        """
        key = (identity.org, identity.cluster, identity.slot)
        older = self._slots.get(key)
        tunnel = Tunnel(identity, session, self._clock())
        self._slots[key] = tunnel
        self._counted.setdefault(identity.org, set()).add(tunnel)
        self._metrics.add("relay_tunnels_total", "opened")
        self._bump()
        self._arrivals.pop(key[:2], trio.Event()).set()
        if older is not None and older.session is not None:
            self._metrics.add("relay_tunnels_total", "replaced")
            if identity.relieves and identity.relieves == older.identity.epoch:
                older = self._relieve(key, older)
            if older is not None and older.session is not None:
                older.session.close(Code.REPLACED)
        return tunnel

    def _relieve(self, key: Key, older: Tunnel) -> Tunnel | None:
        """Let a tunnel drain; returns the one that had done so until now."""
        before = self._relieved.pop(key, None)
        self._relieved[key] = older
        return before

    def leave(self, tunnel: Tunnel) -> None:
        """The tunnel has ended; a newer one of the slot stays untouched."""
        org = tunnel.identity.org
        counted = self._counted.get(org, set())
        counted.discard(tunnel)
        if not counted:
            self._counted.pop(org, None)
        if tunnel.session is not None:
            self._carried[org] = self._carried.get(org, 0) + tunnel.session.carried_bytes
        tunnel.session, tunnel.since_s = None, self._clock()
        identity = tunnel.identity
        key = (identity.org, identity.cluster, identity.slot)
        if self._relieved.get(key) is tunnel:
            del self._relieved[key]
        self._metrics.add("relay_tunnels_total", "closed")
        self._bump()

    def open(self, head: RequestHead, cursor: bytes = b"") -> TunnelStream | None:
        """Open a stream on the cluster's newest tunnel; None when no agent is there.

        Raises:
            ConnectError: RESOURCE_EXHAUSTED: every tunnel of the cluster carries all it may.
        """
        full = False
        for session in self._sessions(head.scope.org, head.scope.cluster):
            try:
                return session.open(head, cursor)
            except TunnelError as error:
                full = full or error.code is Code.REFUSED
        if full:
            text = "the agent's tunnel carries all the streams it may"
            raise ConnectError(ConnectCode.RESOURCE_EXHAUSTED, Reason.TOO_MANY, text)
        return None

    async def arrival(self, org: str, cluster: str) -> None:
        """Wait until the next tunnel of a cluster is admitted."""
        await self._arrivals.setdefault((org, cluster), trio.Event()).wait()

    async def news(self, since: int) -> None:
        """Wait until `version` is above `since` (or `since` belongs to another relay's life)."""
        while self.version == since:
            await self._changed.wait()

    def carried_bytes(self, org: str) -> int:
        """Return what an organisation's tunnels have carried so far, both ways."""
        sessions = (tunnel.session for tunnel in self._counted.get(org, ()))
        live_bytes = sum(session.carried_bytes for session in sessions if session is not None)
        return self._carried.get(org, 0) + live_bytes

    def live(self) -> Iterator[Tunnel]:
        """The tunnels that are up."""
        tunnels = [*self._slots.values(), *self._relieved.values()]
        return (tunnel for tunnel in tunnels if tunnel.session is not None)

    def sessions(self) -> list[TunnelSession]:
        """The sessions of the tunnels that are up."""
        return [tunnel.session for tunnel in self.live() if tunnel.session is not None]

    def count(self) -> int:
        """How many tunnels are up."""
        return len(self.sessions())

    async def none_live(self) -> None:
        """Wait until no tunnel is up."""
        while self.count():
            await self._changed.wait()

    def forget_lost(self, keep: Callable[[Tunnel], bool]) -> None:
        """Drop lost tunnels that nobody asks for any more."""
        for key, tunnel in list(self._slots.items()):
            if tunnel.session is None and not keep(tunnel):
                del self._slots[key]

    def snapshot(self) -> list[dict[str, object]]:
        """Every known slot, for the control plane."""
        return [
            {
                "org": tunnel.identity.org,
                "cluster": tunnel.identity.cluster,
                "slot": tunnel.identity.slot,
                "server_id": tunnel.identity.server_id,
                "state": "LOST" if tunnel.session is None else "ONLINE",
                "since_s": tunnel.since_s,
                "rtt_ms": _rtt_ms(tunnel.session),
            }
            for tunnel in self._slots.values()
        ]

    def _sessions(self, org: str, cluster: str) -> list[TunnelSession]:
        slots = (self._slots.get((org, cluster, slot)) for slot in range(self._max_slots))
        tunnels = [tunnel for tunnel in slots if tunnel is not None]
        tunnels.sort(key=lambda t: t.since_s, reverse=True)
        return [t.session for t in tunnels if t.session is not None and t.session.is_open]

    def _bump(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = trio.Event()


def _rtt_ms(session: TunnelSession | None) -> float | None:
    if session is None or session.rtt_s is None:
        return None
    return round(session.rtt_s * 1_000, 3)
