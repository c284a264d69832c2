"""The four planes as processes: started in the order of who needs whom, steered, and stopped."""

from __future__ import annotations

import signal
import ssl
import time
from typing import Any

import httpx
import trio

from planesplit.ready import Urls
from planesplit.split import configs
from planesplit.split.backend import AGENT, CONTROL, CUSTOMER, RELAY, TUNNEL_OPEN
from planesplit.split.directory import Directory
from planesplit.split.link import Link
from planesplit.split.operator import TUNNEL_SCOPE, keep_token
from planesplit.split.options import PLANES, SplitOptions
from planesplit.split.plane import PlaneFailed, PlaneProcess
from planesplit.split.ring import Ring
from planesplit.tokens import Tokens


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
        self.journals = {name: Ring() for name in PLANES}
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
            ops=f"http://{configs.LOOPBACK}:{self._port(RELAY, 'ops_port')}",
        )

    @property
    def pids(self) -> dict[str, int]:
        """Process id of every plane."""
        return {name: plane.pid for name, plane in self.planes.items()}

    def now_s(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    async def start(self) -> None:
        """Start everything and wait until the tunnel is up.

        Raises:
            PlaneFailed: naming the plane that did not come up, with its last lines.
        """
        async with trio.open_nursery() as starting:
            starting.start_soon(self._start, RELAY)
            starting.start_soon(self._start, CUSTOMER)
        await self._start(CONTROL)
        if self._options.link:
            await self._nursery.start(self.link.serve)
        if self._files.identities:
            await self._first_token()
        await self._start(AGENT)
        await self.tunnel_open()

    async def tunnel_open(self, since: int = 0) -> None:
        """Wait until the agent has opened its tunnel.

        Args:
            since: count of the agent's journal before which openings are not regarded.

        Raises:
            PlaneFailed: not within `ready_s` seconds.
        """
        journal = self.journals[AGENT]
        with trio.move_on_after(self._options.ready_s):
            try:
                await journal.event(TUNNEL_OPEN, since=since)
                return
            except EOFError:
                pass
        raise PlaneFailed(AGENT, "opened no tunnel", self.planes[AGENT].last_lines())

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

    def freeze(self, plane: str) -> None:
        """SIGSTOP: the process is there and silent."""
        self._named(plane).signal(signal.SIGSTOP)

    def thaw(self, plane: str) -> None:
        """SIGCONT."""
        self._named(plane).signal(signal.SIGCONT)

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
        config = self._files.write_config(name, self._table(name))
        plane = PlaneProcess(name, config, journal=self.journals[name], on_exit=self._on_exit)
        self.planes[name] = plane
        ready = await plane.start(self._nursery, ready_s=self._options.ready_s)
        self._ports[name] = {key: value for key, value in ready.items() if key.endswith("port")}

    def _table(self, name: str) -> dict[str, Any]:
        options, files = self._options, self._files
        ports = self._ports.get(name, {})  # those of an earlier life
        if name == RELAY:
            return configs.relay(options, files, ports)
        if name == CUSTOMER:
            return configs.customer(options, files, **ports)
        if name == CONTROL:
            private, viewers = self._url(RELAY, "control_port"), self._url(RELAY, "viewer_port")
            return configs.control(options, files, private, viewers, **ports)
        agent_port = self.link.port if options.link else self._port(RELAY, "agent_port")
        return configs.agent(options, files, agent_port, self._port(CUSTOMER, "port"))

    async def _first_token(self) -> None:
        with trio.move_on_after(self._options.ready_s):
            await self._nursery.start(self._operate)
            return
        lines = self.planes[CONTROL].last_lines()
        raise PlaneFailed(CONTROL, "gave no token for the agent", lines)

    async def _operate(self, *, task_status: trio.TaskStatus[None]) -> None:
        files = self._files
        context = ssl.create_default_context(cafile=files.ca_file)
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            client = files.agent_client
            secret_file = files.secret_file(client)
            tokens = Tokens(http, self.urls.control, client, secret_file, scope=TUNNEL_SCOPE)
            await keep_token(tokens, files.agent_token, task_status=task_status)

    def _on_exit(self, plane: PlaneProcess) -> None:
        reason = f"ended with status {plane.returncode} although nobody asked it to"
        self.failure = PlaneFailed(plane.name, reason, plane.last_lines())
        self._nursery.cancel_scope.cancel()

    async def _dial_relay(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(configs.LOOPBACK, self._port(RELAY, "agent_port"))

    def _url(self, name: str, key: str) -> str:
        scheme = "http" if self._options.insecure else "https"
        return f"{scheme}://{configs.LOOPBACK}:{self._port(name, key)}"

    def _port(self, name: str, key: str) -> int:
        return int(self._ports[name][key])

    def _named(self, name: str) -> PlaneProcess:
        try:
            return self.planes[name]
        except KeyError:
            raise ValueError(f"there is no plane '{name}'; known: {', '.join(PLANES)}") from None
