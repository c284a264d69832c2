"""The four planes in this process: the same objects, streams in memory, no thread, any clock.

The only mode that works in simulated time (`trio.testing.MockClock`). There are no processes to
kill or freeze: a plane is killed by dropping its connections and its tasks, and frozen by silence
on the tunnel. There is no TLS; who is at the other end of a stream is known without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import httpx
import trio

from compute_agent.accounts import Accounts
from compute_agent.agent import Agent, Chance, Sources
from compute_agent.kubernetes import open_cluster
from compute_agent.objects.objects import Objects
from compute_agent.settings import AgentSettings
from control_stub.app import ControlPlane, control_plane, read_secrets
from control_stub.settings import ControlSettings
from customer_stub.cluster import Cluster
from customer_stub.settings import CustomerSettings
from kube.client import KubernetesApi
from planesplit.pki import CONTROL_URI, agent_uri
from planesplit.ready import Urls
from planesplit.split import configs
from planesplit.split.backend import TUNNEL_OPEN, Listener
from planesplit.split.configs import SiteUrls
from planesplit.split.directory import Directory
from planesplit.split.link import Link
from planesplit.split.memory_http import AsgiTransport, StreamTransport
from planesplit.split.memory_kubernetes import CONTROL_URL as CONTROL_KUBE_URL
from planesplit.split.memory_kubernetes import CUSTOMER_URL as KUBERNETES_URL
from planesplit.split.memory_kubernetes import control_kubernetes, customer_kubernetes
from planesplit.split.memory_part import Part
from planesplit.split.memory_stream import memory_stream_pair
from planesplit.split.operator import operate, renew_certificate
from planesplit.split.options import (
    AGENT,
    CONTROL,
    CUSTOMER,
    KUBE,
    RELAY,
    SplitOptions,
)
from planesplit.split.plane import PlaneFailed
from planesplit.split.ring import Ring
from planesplit.split.site import Site
from relay.app import Relay
from relay.seal.level import Seal
from relay.settings import RelayConfig
from tunnel.journal import Journal
from tunnel.messages.rpc import AsgiApp
from tunnel.peer import Peer, file_thumbprint
from tunnel.settings import load
from tunnel.token import NoToken, TokenFile, TokenSource
from tunnel.transport import Transport
from tunnel.websocket import connect_websocket

URLS = Urls(control="http://control", relay="http://relay", ops="http://ops")
OBJECTS_URL = "http://localhost"
REGISTRY_URL = "http://registry"
PRIVATE_URL = "http://relay-private"

Serve = Callable[[trio.abc.Stream], Awaitable[None]]


class InProcess:
    """Runs the planes in the current trio loop; see `Backend`.

    Args:
        options: of the split.
        files: its private directory.
        nursery: where everything runs.
    """

    def __init__(self, options: SplitOptions, files: Directory, nursery: trio.Nursery) -> None:
        self._options, self._files, self._nursery = options, files, nursery
        self._parts: dict[str, Part] = {}
        self._relay: Relay
        self._operator: httpx.AsyncClient
        self._control: ControlPlane
        self._control_app: AsgiApp
        self._kubernetes_app: Any
        self._kube_app: Any
        self._objects_app: Any
        self._epoch_s = time.time() - trio.current_time()
        self.journals = {name: Ring() for name in options.planes}
        self.listeners: list[Listener] = []  # nothing writes here but journals
        self.failure: PlaneFailed | None = None
        self.urls = URLS
        self.link = Link(self._dial_relay)
        self.mounts: dict[str, httpx.AsyncBaseTransport] = {
            f"all://{httpx.URL(url).host}": transport
            for url, transport in (
                (URLS.control, AsgiTransport(lambda: self._control_app, self._in(CONTROL))),
                (URLS.relay, self._to_relay(lambda relay: relay.serve_viewer)),
                (URLS.ops, self._to_relay(lambda relay: relay.serve_ops)),
                (KUBERNETES_URL, AsgiTransport(lambda: self._kubernetes_app, self._in(CUSTOMER))),
                (CONTROL_KUBE_URL, AsgiTransport(lambda: self._kube_app, self._in(KUBE))),
                (OBJECTS_URL, AsgiTransport(lambda: self._objects_app, self._in(CUSTOMER))),
            )
        }

    def site_urls(self, site: Site) -> SiteUrls:
        """See Backend; nothing here listens on a socket."""
        return SiteUrls(kubernetes=KUBERNETES_URL, objects=OBJECTS_URL)

    @property
    def kube_url(self) -> str:
        """See Backend; nothing listens."""
        return CONTROL_KUBE_URL

    @property
    def pids(self) -> dict[str, int]:
        """This process, once for each."""
        return dict.fromkeys(self._options.planes, os.getpid())

    @property
    def seal(self) -> str:
        """See Backend: none."""
        return str(Seal())

    def memory(self, plane: str) -> None:
        """See Backend: all planes share this process, so no plane's memory is its own."""

    def now_s(self) -> float:
        """Wall clock in seconds since the epoch; simulated where the loop's clock is."""
        return self._epoch_s + trio.current_time()

    async def start(self) -> None:
        """Start everything and wait until the tunnel is up.

        Raises:
            PlaneFailed: the agent opened no tunnel in `ready_s`.
        """
        for name in (CUSTOMER, RELAY, KUBE, CONTROL):
            await self._start(name)
        if self._files.identities:
            await self._nursery.start(self._operate)
        await self._start(AGENT)
        await self.tunnel_open()

    async def tunnel_open(self, since: int = 0, plane: str = AGENT) -> None:
        """See Backend."""
        with trio.move_on_after(self._options.ready_s):
            await self.journals[plane].event(TUNNEL_OPEN, since=since)
            return
        raise PlaneFailed(plane, "opened no tunnel", self.journals[plane].lines)

    async def kill(self, plane: str) -> None:
        """Drop a plane's connections and tasks."""
        part = self._named(plane)
        if plane in (AGENT, RELAY):
            self.link.cut()
        part.scope.cancel()
        await part.ended.wait()

    async def stop_plane(self, plane: str) -> int:
        """Stop a plane; here that is the same as killing it, but for the relay, which drains."""
        if plane == RELAY and not self._named(RELAY).ended.is_set():
            await self._relay.drain()
        await self.kill(plane)
        return 0

    async def restart(self, plane: str) -> None:
        """See Backend."""
        await self.kill(plane)
        await self._start(plane)

    def plant(self, planted: Mapping[str, str]) -> None:
        """Refuse: a leak is planted into a process of its own.

        Raises:
            ValueError: always, unless there is nothing to plant.
        """
        if planted:
            raise ValueError("leaks are planted into processes; use mode 'processes'")

    def freeze(self, plane: str) -> None:
        """Silence the tunnel.

        Raises:
            ValueError: of another plane than agent and relay.
        """
        self._on_tunnel(plane)
        self.link.freeze()

    def thaw(self, plane: str) -> None:
        """Let the tunnel speak again."""
        self._on_tunnel(plane)
        self.link.thaw()

    async def rotate_certs(self) -> None:
        """See Backend; the relay has none here."""
        home = self._files.home
        since = self.journals[AGENT].count
        renewal = self._files.renew_agent(home.cluster)
        await renew_certificate(self._operator, URLS.control, home, renewal)
        await self.tunnel_open(since)

    async def revoke_control(self) -> None:
        """See Backend."""
        raise ValueError("in one process the control plane shows the relay no certificate")

    async def rotate_keys(self) -> None:
        """See Backend."""
        await self._control.rotate_keys()

    async def heal(self) -> None:
        """See Backend."""
        self.link.heal()
        for name, part in list(self._parts.items()):
            if part.ended.is_set():
                await self._start(name)

    async def stop(self) -> None:
        """End every plane."""
        for name in (AGENT, CONTROL, KUBE, RELAY, CUSTOMER):
            if name in self._parts:
                await self.kill(name)

    def kill_all(self) -> None:
        """See Backend."""
        for part in self._parts.values():
            part.scope.cancel()

    async def _start(self, name: str) -> None:
        runs = {
            RELAY: self._run_relay,
            KUBE: self._run_kube,
            CUSTOMER: self._run_customer,
            CONTROL: self._run_control,
            AGENT: self._run_agent,
        }
        self._parts[name] = part = Part()
        await self._nursery.start(part.run, runs[name])

    async def _run_relay(self, *, task_status: trio.TaskStatus[None]) -> None:
        config = load(
            RelayConfig, self._table(configs.relay(self._options, self._files, {}), RELAY)
        )
        self._relay = Relay(
            config.limits,
            config.tunnel,
            insecure=self._options.insecure,
            journal=self._journal(RELAY),
            clock=self.now_s,
        )
        self._relay.sealed(Seal())  # this process needs files, sockets and programs: said as it is
        task_status.started()
        await self._relay.watch_tokens()

    async def _run_customer(self, *, task_status: trio.TaskStatus[None]) -> None:
        table = self._table(
            configs.customer(self._options, self._files, self._files.home, {}, ""), CUSTOMER
        )
        settings = load(CustomerSettings, table)
        journal = self._journal(CUSTOMER)
        cluster = Cluster(settings, journal=journal, clock=lambda: int(self.now_s() * 1e9))
        assert cluster.stores is not None
        self._objects_app = cluster.stores.objects
        registry: Any = cluster.stores.registry
        cluster.reach_stores(
            objects_url=OBJECTS_URL,
            registry_url=REGISTRY_URL,
            registry_transport=AsgiTransport(lambda: registry, self._in(CUSTOMER)),
        )
        self._kubernetes_app = await customer_kubernetes(
            cluster, settings, journal, self._in(CUSTOMER)
        )
        await cluster.run(task_status=task_status)

    async def _run_kube(self, *, task_status: trio.TaskStatus[None]) -> None:
        table = self._table(configs.kube(self._options, self._files, {}), KUBE)
        self._kube_app = control_kubernetes(table, self._journal(KUBE), self.now_s)
        task_status.started()
        await trio.sleep_forever()

    async def _run_control(self, *, task_status: trio.TaskStatus[None]) -> None:
        plain = configs.control(
            self._options, self._files, PRIVATE_URL, URLS.relay, CONTROL_KUBE_URL
        )
        settings = load(ControlSettings, self._table(plain, CONTROL))
        private = self._to_relay(
            lambda relay: partial(relay.serve_control, peer=Peer((CONTROL_URI,)))
        )
        async with control_plane(
            settings,
            read_secrets(settings),
            URLS.control,
            journal=self._journal(CONTROL),
            clock=self.now_s,
            threaded=False,
            relay_transport=private,
            kubernetes_transport=AsgiTransport(lambda: self._kube_app, self._in(KUBE)),
        ) as plane:
            self._control, self._control_app = plane, plane.asgi
            task_status.started()
            await trio.sleep_forever()

    async def _run_agent(self, *, task_status: trio.TaskStatus[None]) -> None:
        home = self._files.home
        table = {
            **self._table(
                configs.agent(self._options, self._files, home, "", self.site_urls(home), {}),
                AGENT,
            ),
        }
        settings = load(AgentSettings, table)
        transport = AsgiTransport(lambda: self._kubernetes_app, self._in(CUSTOMER))
        api = KubernetesApi(KUBERNETES_URL, None, None, settings.kubernetes, transport)
        accounts = Accounts(api, settings.accounts)
        cluster = open_cluster(accounts, settings.kubernetes)
        assert settings.objects is not None
        store = AsgiTransport(lambda: self._objects_app, self._in(CUSTOMER))
        objects = Objects.open(settings.objects, self.now_s, transport=store)
        token: TokenSource = TokenFile(settings.token_file) if self._files.identities else NoToken()
        agent = Agent(
            settings,
            dial=self._dial,
            sources=Sources(cluster, token, objects, accounts=accounts),
            journal=self._journal(AGENT),
            chance=Chance(now_s=self.now_s),
        )
        task_status.started()
        await agent.run()

    async def _operate(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with httpx.AsyncClient(mounts=self.mounts, trust_env=False) as self._operator:
            await operate(self._operator, URLS.control, self._files.home, task_status=task_status)

    async def _dial(self) -> Transport:
        """The agent's way to the relay: through the link, as everywhere."""
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.link.forward, theirs)
        return await connect_websocket(ours, host="relay")

    async def _dial_relay(self) -> trio.abc.HalfCloseableStream:
        return self._connect(lambda relay: partial(relay.serve_agent, peer=self._peer()))

    def _peer(self) -> Peer:
        """Who the agent is, as its certificate would say."""
        place, leaves = self._options.place, self._files.home.leaves
        thumbprint = file_thumbprint(leaves.agent.cert_file) if leaves else ""
        return Peer((agent_uri(place.org, place.cluster),), thumbprint)

    def _to_relay(self, serve: Callable[[Relay], Serve]) -> StreamTransport:
        async def connect() -> trio.abc.Stream:
            return self._connect(serve)

        return StreamTransport(connect)

    def _connect(self, serve: Callable[[Relay], Serve]) -> trio.abc.HalfCloseableStream:
        ours, theirs = memory_stream_pair()
        self._in(RELAY)(serve(self._relay), theirs)
        return ours

    def _in(self, plane: str) -> Callable[..., None]:
        """Return what starts tasks in a plane; it raises OSError while the plane is dead."""

        def start(*task: object) -> None:
            part = self._parts.get(plane)
            if part is None or part.connections is None:
                raise ConnectionRefusedError(f"{plane} is not running")
            part.connections.start_soon(*task)  # type: ignore[arg-type]

        return start

    def _table(self, table: dict[str, object], plane: str) -> dict[str, object]:
        return self._files.merged(plane, table)

    def _journal(self, plane: str) -> Journal:
        ring = self.journals[plane]
        return Journal(plane, write=lambda line: ring.append(line.rstrip("\n")), clock=self.now_s)

    def _on_tunnel(self, plane: str) -> None:
        if plane not in (AGENT, RELAY):
            raise ValueError(f"in one process only {AGENT} and {RELAY} can be frozen, not {plane}")

    def _named(self, plane: str) -> Part:
        try:
            return self._parts[plane]
        except KeyError:
            raise ValueError(
                f"there is no plane '{plane}'; known: {', '.join(self._options.planes)}"
            ) from None
