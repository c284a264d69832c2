"""The planes as processes: started in the order of who needs whom, steered, and stopped."""

from __future__ import annotations

import signal
import ssl
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import trio

from planesplit.ready import Urls
from planesplit.split import configs
from planesplit.split.backend import TUNNEL_OPEN, Listener
from planesplit.split.configs import SiteUrls
from planesplit.split.directory import Directory
from planesplit.split.link import Link
from planesplit.split.operator import operate, renew_certificate
from planesplit.split.options import (
    AGENT,
    CLICKHOUSE,
    CONTROL,
    CUSTOMER,
    KUBE,
    LOOPBACK,
    RELAY,
    WIPE_ON_FREE,
    SplitOptions,
)
from planesplit.split.plane import PlaneFailed, PlaneProcess
from planesplit.split.process_memory import Handover, ProcessMemory
from planesplit.split.ring import Ring
from planesplit.split.site import Site
from tunnel.handover import NOTHING

PLANTER = "planesplit.proof.sabotage.plant"
MODULES = {CLICKHOUSE: "customer_stub.clickhouse"}  # of planes that are not named for theirs


class Processes:
    """Runs the planes as processes; see `Backend`.

    Args:
        options: of the split.
        files: its private directory.
        nursery: where everything is watched; cancelled when a plane ends unasked.
    """

    def __init__(self, options: SplitOptions, files: Directory, nursery: trio.Nursery) -> None:
        self._options, self._files, self._nursery = options, files, nursery
        self.planes: dict[str, PlaneProcess] = {}
        self.journals = {name: Ring() for name in options.planes}
        self._planted = dict(options.planted)
        self.listeners: list[Listener] = []
        self.failure: PlaneFailed | None = None
        self.mounts: dict[str, httpx.AsyncBaseTransport] = {}
        self._ports: dict[str, dict[str, Any]] = {}
        self.link = Link(self._dial_relay)

    @property
    def urls(self) -> Urls:
        """Where clients find the control plane and the relay."""
        return Urls(
            control=self._url(CONTROL, "port"),
            relay=self._url(RELAY, "viewer_port"),
            ops=f"http://{self._options.vendor.address}:{self._port(RELAY, 'ops_port')}",
        )

    @property
    def pids(self) -> dict[str, int]:
        """Process id of every plane."""
        return {name: plane.pid for name, plane in self.planes.items()}

    @property
    def seal(self) -> str:
        """See Backend."""
        return str(self.planes[RELAY].ready.get("seal", ""))

    def memory(self, plane: str) -> ProcessMemory | None:
        """See Backend."""
        return self._named(plane).memory

    def now_s(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    @property
    def kube_url(self) -> str:
        """See Backend."""
        return self._url(KUBE, "port")

    def site_urls(self, site: Site) -> SiteUrls:
        """Return where a cluster's infrastructure listens."""
        customer = self._options.plane(CUSTOMER, site.cluster)
        clickhouse = self._options.plane(CLICKHOUSE, site.cluster)
        return SiteUrls(
            kubernetes=self._url(customer, "port"),
            objects=self._url(customer, "objects_port"),
            registry=self._url(customer, "registry_port"),
            clickhouse=self._url(clickhouse, "port"),
            data=self._url(self._options.plane(AGENT, site.cluster), "data_port"),
        )

    async def start(self) -> None:
        """Start everything and wait until every agent has its tunnel.

        Raises:
            PlaneFailed: naming the plane that did not come up, with its last lines.
        """
        sites = self._files.sites.values()
        async with trio.open_nursery() as starting:
            starting.start_soon(self._start_vendor)
            for site in sites:
                starting.start_soon(self._start_customer, site)
        if self._options.link:
            await self._nursery.start(self.link.serve)
        async with trio.open_nursery() as starting:
            for site in sites:
                starting.start_soon(self._start_agent, site)

    async def _start_vendor(self) -> None:
        async with trio.open_nursery() as starting:
            for plane in (RELAY, KUBE):
                starting.start_soon(self._start, plane)
        await self._start(CONTROL)

    async def _start_customer(self, site: Site) -> None:
        if self._options.has_clickhouse:
            await self._start(self._options.plane(CLICKHOUSE, site.cluster))
        await self._start(self._options.plane(CUSTOMER, site.cluster))

    async def _start_agent(self, site: Site) -> None:
        if self._files.identities:
            await self._first_token(site)
        plane = self._options.plane(AGENT, site.cluster)
        await self._start(plane)
        await self.tunnel_open(plane=plane)

    async def tunnel_open(self, since: int = 0, plane: str = AGENT) -> None:
        """See Backend."""
        journal = self.journals[plane]
        with trio.move_on_after(self._options.ready_s):
            try:
                await journal.event(TUNNEL_OPEN, since=since)
                return
            except EOFError:
                pass
        raise PlaneFailed(plane, "opened no tunnel", self.planes[plane].last_lines())

    async def kill(self, plane: str) -> None:
        """SIGKILL a plane's process group and wait for its end."""
        self._named(plane).kill()
        await self._named(plane).wait()

    async def stop_plane(self, plane: str) -> int:
        """Stop a plane in order (SIGTERM, killed after `stop_s`); return its exit status."""
        return await self._named(plane).stop(self._options.stop_s)

    async def restart(self, plane: str) -> None:
        """Start a plane again on its old ports; one that still runs is killed first."""
        await self.kill(plane)
        await self._start(plane)

    def plant(self, planted: Mapping[str, str]) -> None:
        """See Backend."""
        self._planted = dict(planted)

    def freeze(self, plane: str) -> None:
        """SIGSTOP: the process is there and silent."""
        self._named(plane).signal(signal.SIGSTOP)

    def thaw(self, plane: str) -> None:
        """SIGCONT."""
        self._named(plane).signal(signal.SIGCONT)

    async def rotate_certs(self) -> None:
        """See Backend."""
        self._files.renew_relay()
        self._named(RELAY).signal(signal.SIGHUP)
        async with trio.open_nursery() as nursery:
            for site in self._files.sites.values():
                nursery.start_soon(self._rotate_agent, site)

    async def _rotate_agent(self, site: Site) -> None:
        plane = self._options.plane(AGENT, site.cluster)
        since = self.journals[plane].count
        context = ssl.create_default_context(cafile=self._files.ca_file)
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            renewal = self._files.renew_agent(site.cluster)
            await renew_certificate(http, self.urls.control, site, renewal)
        await self.tunnel_open(since, plane)

    async def revoke_control(self) -> None:
        """See Backend."""
        self._files.renew_control()
        self._named(RELAY).signal(signal.SIGHUP)
        await self.restart(CONTROL)

    async def rotate_keys(self) -> None:
        """See Backend."""
        since = self.journals[CONTROL].count
        self._named(CONTROL).signal(signal.SIGHUP)
        told = await self.journals[CONTROL].event("keys_changed", "keys_full", since=since)
        if told["event"] == "keys_full":
            raise ValueError(f"{told['most']} keys are published; one goes after key_overlap_s")

    async def heal(self) -> None:
        """Let the link pass everything; thaw and restart what needs it."""
        self.link.heal()
        for name, plane in list(self.planes.items()):
            self.thaw(name)
            if plane.returncode is not None:
                await self._start(name)

    async def stop(self) -> None:
        """Stop every plane in order, all at once; what does not end in `stop_s` is killed."""
        async with trio.open_nursery() as nursery:
            for plane in self.planes.values():
                nursery.start_soon(plane.stop, self._options.stop_s)

    def kill_all(self) -> None:
        """SIGKILL whatever still runs."""
        for plane in self.planes.values():
            plane.kill()

    async def _start(self, name: str) -> None:
        handover = self._handover(name)
        child_fd = handover.child_fd if handover else NOTHING
        config = self._files.write_config(name, self._table(name, child_fd))
        plane = PlaneProcess(
            name,
            config,
            command=self._command(name, str(config)),
            journal=self.journals[name],
            handover=handover,
            on_exit=self._on_exit,
            on_line=partial(self._on_line, name),
        )
        self.planes[name] = plane
        ready = await plane.start(self._nursery, ready_s=self._options.ready_s)
        self._ports[name] = {key: value for key, value in ready.items() if key.endswith("port")}

    def _command(self, name: str, config: str) -> list[str]:
        kind, cluster = self._options.kind(name)
        host = self._options.customer if cluster else self._options.vendor
        # -P: the caller's directory may hold a package of the same name.
        module = [MODULES.get(kind, kind), "--config", config]
        if leak := self._planted.get(name):
            module = [PLANTER, leak, "--", *module]
        wipes = kind == RELAY and self._options.wipe_on_free
        environment = ("env", *WIPE_ON_FREE) if wipes else ()
        return [*host.command, *environment, sys.executable, "-P", "-m", *module]

    def _handover(self, name: str) -> Handover | None:
        wanted = self._options.provable and self._options.kind(name)[0] in (RELAY, CONTROL)
        return Handover() if wanted else None

    def _table(self, name: str, prover_fd: int) -> dict[str, Any]:
        options, files = self._options, self._files
        ports = self._ports.get(name, {})  # those of an earlier life
        kind, cluster = options.kind(name)
        if kind == RELAY:
            return configs.relay(options, files, ports, prover_fd)
        if kind == KUBE:
            return configs.kube(options, files, ports)
        if kind == CONTROL:
            private, viewers = self._url(RELAY, "control_port"), self._url(RELAY, "viewer_port")
            own = self._url(KUBE, "port")
            return configs.control(
                options, files, private, viewers, own, prover_fd=prover_fd, **ports
            )
        site = files.sites[cluster]
        if kind == CLICKHOUSE:
            return configs.clickhouse(options, site, ports)
        urls = self.site_urls(site)
        if kind == CUSTOMER:
            return configs.customer(options, files, site, ports, urls.clickhouse)
        return configs.agent(options, files, site, self._relay_url(), urls, ports)

    def _relay_url(self) -> str:
        scheme = "ws" if self._options.insecure else "wss"
        if self._options.link:
            return f"{scheme}://{LOOPBACK}:{self.link.port}/tunnel"
        vendor, port = self._options.vendor, self._port(RELAY, "agent_port")
        address = vendor.tunnel_address or vendor.address
        return f"{scheme}://{address}:{port}/tunnel"

    async def _first_token(self, site: Site) -> None:
        with trio.move_on_after(self._options.ready_s):
            await self._nursery.start(self._operate, site)
            return
        lines = self.planes[CONTROL].last_lines()
        raise PlaneFailed(CONTROL, "gave no token for the agent", lines)

    async def _operate(self, site: Site, *, task_status: trio.TaskStatus[None]) -> None:
        context = ssl.create_default_context(cafile=self._files.ca_file)
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            await operate(http, self.urls.control, site, task_status=task_status)

    def _on_line(self, plane: str, line: str) -> None:
        for listener in self.listeners:
            listener(plane, line)

    def _on_exit(self, plane: PlaneProcess) -> None:
        reason = f"ended with status {plane.returncode} although nobody asked it to"
        self.failure = PlaneFailed(plane.name, reason, plane.last_lines())
        self._nursery.cancel_scope.cancel()

    async def _dial_relay(self) -> trio.SocketStream:
        port = self._port(RELAY, "agent_port")
        return await trio.open_tcp_stream(self._options.vendor.address, port)

    def _url(self, name: str, key: str) -> str:
        """Return a listener's URL; empty while it has none."""
        port = self._ports.get(name, {}).get(key)
        if not port:
            return ""
        _, cluster = self._options.kind(name)
        host = self._options.customer if cluster else self._options.vendor
        scheme = "http" if self._options.insecure else "https"
        return f"{scheme}://{host.address}:{port}"

    def _port(self, name: str, key: str) -> int:
        return int(self._ports[name][key])

    def _named(self, name: str) -> PlaneProcess:
        try:
            return self.planes[name]
        except KeyError:
            known = ", ".join(self._options.planes)
            raise ValueError(f"there is no plane '{name}'; known: {known}") from None
