"""What `Split` needs of whatever runs the planes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import httpx

from planesplit.ready import Urls
from planesplit.split.configs import SiteUrls
from planesplit.split.link import Link
from planesplit.split.options import AGENT
from planesplit.split.plane import PlaneFailed
from planesplit.split.process_memory import ProcessMemory
from planesplit.split.ring import Ring
from planesplit.split.site import Site

Listener = Callable[[str, str], None]  # plane, line
TUNNEL_OPEN = "tunnel_open"  # the agent's journal event


class Backend(Protocol):
    """Runs the planes: as processes, or in this one.

    Attributes:
        journals: last journal lines by plane; they go on over restarts.
        link: the hop from agent to relay.
        listeners: told of every line that a plane's process writes, on either stream.
        mounts: transports by URL pattern, for clients of planes that have no sockets.
        failure: the plane that ended unasked, if one did.
    """

    journals: dict[str, Ring]
    link: Link
    listeners: list[Listener]
    failure: PlaneFailed | None

    @property
    def mounts(self) -> Mapping[str, httpx.AsyncBaseTransport]:
        """See above."""

    @property
    def urls(self) -> Urls:
        """Where clients find the control plane and the relay."""

    @property
    def kube_url(self) -> str:
        """Where the control plane's own Kubernetes API listens."""

    @property
    def seal(self) -> str:
        """How the relay is sealed, as it tells."""

    def site_urls(self, site: Site) -> SiteUrls:
        """Where a cluster's infrastructure listens."""

    @property
    def pids(self) -> dict[str, int]:
        """Process id of every plane."""

    def memory(self, plane: str) -> ProcessMemory | None:
        """Memory that a plane handed over; None if it was not asked to."""

    def now_s(self) -> float:
        """Wall clock of the planes, seconds since the epoch."""

    async def start(self) -> None:
        """Start everything and wait until the tunnel is up.

        Raises:
            PlaneFailed: naming the plane that did not come up, with its last lines.
        """

    async def tunnel_open(self, since: int = 0, plane: str = AGENT) -> None:
        """Wait until an agent has opened its tunnel.

        Args:
            since: count of the agent's journal before which openings are not regarded.
            plane: which agent.

        Raises:
            PlaneFailed: not within `ready_s` seconds.
        """

    async def kill(self, plane: str) -> None:
        """End a plane at once and wait for its end."""

    async def stop_plane(self, plane: str) -> int:
        """Stop a plane in order; return its exit status."""

    async def restart(self, plane: str) -> None:
        """Start a plane again where it was; one that still runs is killed first."""

    def plant(self, planted: Mapping[str, str]) -> None:
        """Say which plane is started with which leak from now on; `{}` for none."""

    def freeze(self, plane: str) -> None:
        """Let a plane be there and silent, until `thaw`."""

    def thaw(self, plane: str) -> None:
        """Let a frozen plane go on."""

    async def rotate_certs(self) -> None:
        """Give the relay and every agent other certificates; returns when all of them use them.

        Raises:
            ValueError: the split is insecure.
            ConnectError: the control plane gives no token.
            PlaneFailed: an agent did not come with its new one.
        """

    async def revoke_control(self) -> None:
        """Have the relay refuse the control plane's client certificate, and give it another.

        Raises:
            ValueError: the split is insecure, or has no such certificate.
            PlaneFailed: the control plane did not come with its new one.
        """

    async def rotate_keys(self) -> None:
        """Have the control plane sign with another key, once everybody knows it."""

    async def heal(self) -> None:
        """Let the link pass everything; thaw and restart what needs it."""

    async def stop(self) -> None:
        """Stop every plane in order."""

    def kill_all(self) -> None:
        """End whatever still runs."""
