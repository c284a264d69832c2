"""What one organisation may have of the relay, so that none takes it from the others.

Streams and their rate are counted when an exchange begins. Bytes are counted where the tunnels
count theirs anyway, and looked at when an exchange begins and once a second: nothing is done for
a unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relay.connect_errors import ConnectCode, ConnectError
from relay.metrics import Reason
from relay.settings import RelaySettings


@dataclass(slots=True)
class Bucket:
    """Fills at a rate up to a size; what is taken out may leave a debt.

    Args:
        rate: units a second.
        size: most that it holds, and what it begins with.
        now: monotonic seconds.
    """

    rate: float
    size: float
    now: float
    level: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.size

    def fill(self, now: float) -> float:
        """Let time pass; return the level."""
        self.level = min(self.size, self.level + max(0.0, now - self.now) * self.rate)
        self.now = now
        return self.level


@dataclass(slots=True)
class _Tenant:
    begun: Bucket
    carried: Bucket
    seen_bytes: int
    streams: int = 0


class Tenants:
    """Counts for each organisation.

    Args:
        settings: `org_exchanges`, `org_rate`, `org_burst`, `org_bytes_s`, `org_bytes_burst_s`.
        carried_bytes: returns what an organisation's tunnels have carried, both ways.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: RelaySettings,
        carried_bytes: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._carried_bytes, self._clock = settings, carried_bytes, clock
        self._tenants: dict[str, _Tenant] = {}

    def enter(self, org: str) -> None:
        """Count an exchange of an organisation in, until `leave`.

        Raises:
            ConnectError: RESOURCE_EXHAUSTED; the reason names the limit.
        """
        limits, tenant = self._settings, self._tenant(org)
        if tenant.streams >= limits.org_exchanges:
            text = f"at most {limits.org_exchanges} exchanges of an organisation at a time"
            raise _exhausted(Reason.ORG_STREAMS, text)
        if tenant.begun.fill(self._clock()) < 1:
            text = f"at most {limits.org_rate:g} exchanges of an organisation begin in a second"
            raise _exhausted(Reason.ORG_RATE, text)
        if self._clock() - tenant.carried.now >= limits.org_look_s:
            self._look(org, tenant)
        if tenant.carried.level <= 0:
            raise self.spent()
        tenant.begun.level -= 1
        tenant.streams += 1

    def leave(self, org: str) -> None:
        """An exchange has ended."""
        self._tenants[org].streams -= 1

    def overdrawn(self) -> set[str]:
        """Return who has carried more than even a second burst allows; forget who is idle."""
        found = set()
        for org, tenant in list(self._tenants.items()):
            level = self._look(org, tenant)
            if level < -tenant.carried.size:
                found.add(org)
            elif not tenant.streams and level == tenant.carried.size and self._rested(tenant):
                del self._tenants[org]
        return found

    def spent(self) -> ConnectError:
        """What an organisation is told that has used up its bytes."""
        text = f"at most {self._settings.org_bytes_s} bytes a second for an organisation"
        return _exhausted(Reason.ORG_BYTES, text)

    def _rested(self, tenant: _Tenant) -> bool:
        return tenant.begun.fill(self._clock()) == tenant.begun.size

    def _look(self, org: str, tenant: _Tenant) -> float:
        """See what its tunnels have carried since the last look; return what is left."""
        carried = self._carried_bytes(org)
        tenant.carried.fill(self._clock())
        tenant.carried.level -= carried - tenant.seen_bytes
        tenant.seen_bytes = carried
        return tenant.carried.level

    def _tenant(self, org: str) -> _Tenant:
        tenant = self._tenants.get(org)
        if tenant is None:
            limits, now = self._settings, self._clock()
            rate = limits.org_bytes_s
            tenant = self._tenants[org] = _Tenant(
                Bucket(limits.org_rate, limits.org_burst, now),
                Bucket(rate, rate * limits.org_bytes_burst_s, now),
                self._carried_bytes(org),
            )
        return tenant


def _exhausted(reason: Reason, text: str) -> ConnectError:
    return ConnectError(ConnectCode.RESOURCE_EXHAUSTED, reason, text)
