"""One relay, two tenants' agents and their viewers, in memory and in simulated time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from access import CLUSTER, ORGS, THUMBPRINT, now, policy, viewer_token
from evidence import Evidence, Seen
from program import Program
from seeded import run as run_seeded
from service import STREAMING, UNARY, Agent, Source, message
from viewing_end import Viewer
from witness import listening

from planesplit.proof.canaries import Canaries
from planesplit.split.memory_stream import MAX_BUFFERED_BYTES, memory_stream_pair
from relay.app import Relay
from relay.auth import CONTROL_URI, agent_uri
from relay.settings import RelaySettings
from tunnel.capabilities import CREATE_SECRET, QUERY, TAIL_LOGS, WATCH_CLUSTER_EVENTS
from tunnel.journal import Journal
from tunnel.memory import MemoryLink, memory_transport_pair
from tunnel.peer import Peer
from tunnel.settings import TunnelSettings
from tunnel.transport import Transport

SECRET = Canaries().secret  # made anew in every process
MARKS = tuple(f"{SECRET}-t{tenant}-".encode() for tenant in range(len(ORGS)))
WINDOW_BYTES = 81_920  # windows do not grow here: a small bound shows more
BOUND_BYTES = WINDOW_BYTES + MAX_BUFFERED_BYTES + 16_384  # and what viewer and h11 have in hand
LIFE = "the relay's life"
CLOSE_S = 30.0  # until the relay has let go of those who hung up
PATIENCE_S = 300.0  # all that can be made up for is made up for by then
MANY_CUTS = 10  # `max_fruitless`: a tail may be given up after so many
PATHS = {"tail": TAIL_LOGS, "watch": WATCH_CLUSTER_EVENTS}


class World:
    """Runs one program.

    Args:
        evidence: where everything is told.
        nursery: for the relay's lives.
    """

    def __init__(self, evidence: Evidence, nursery: trio.Nursery) -> None:
        self._evidence, self._nursery = evidence, nursery
        self._sources: dict[int, Source] = {}
        self._viewers: list[Viewer] = []
        self._cuts = [0] * len(ORGS)
        self._relay: Relay | None = None
        self._relay_tasks: trio.Nursery | None = None
        self._agents = [
            Agent(tenant, self._connect, evidence, self._sources) for tenant in range(len(ORGS))
        ]

    async def run(self, program: Program) -> None:
        """Do all steps, then let everything come to its end, and look at what is left."""
        living = trio.lowlevel.current_statistics().tasks_living
        await self._nursery.start(self._life_of_relay)
        async with trio.open_nursery() as self._customers:
            for agent in self._agents:
                self._customers.start_soon(agent.run)
            for step in program.steps:
                await getattr(self, f"do_{step[0]}")(*step[1:])
            await self._settle()
            self._customers.cancel_scope.cancel()
        await trio.sleep(CLOSE_S)
        assert self._relay_tasks
        names = [task.name for task in self._relay_tasks.child_tasks]
        self._evidence.left += [name for name in names if name != LIFE]
        self._stop_relay()
        await trio.sleep(CLOSE_S)
        if more := trio.lowlevel.current_statistics().tasks_living - living:
            self._evidence.left.append(f"{more} tasks outside of the relay's")

    # Steps.

    async def do_wait(self, ms: int) -> None:
        """Let time pass."""
        await trio.sleep(ms / 1e3)

    async def do_tail(self, *source: int) -> None:
        """Follow a new log."""
        self._stream("tail", *source)

    async def do_watch(self, *source: int) -> None:
        """Follow new events."""
        self._stream("watch", *source)

    async def do_holey(self, first: int, count: int, *source: int) -> None:
        """Follow a log of which the source has lost some lines."""
        self._evidence.holes[len(self._evidence.seen)] = set(range(first, first + count))
        self._stream("tail", *source)

    async def do_query(self, tenant: int, rows: int) -> None:
        """Ask for metrics."""
        self._ask("query", tenant, QUERY, {"rows": rows})

    async def do_secret(self, tenant: int) -> None:
        """Write a secret."""
        value = f"{MARKS[tenant].decode()}s{len(self._evidence.seen)}s"
        self._ask("secret", tenant, CREATE_SECRET, {"secret": value})

    async def do_stale(self, tenant: int) -> None:
        """Ask with a token that has expired."""
        self._ask("stale", tenant, QUERY, {"rows": 1}, token=viewer_token(tenant, -60))

    async def do_trespass(self, tenant: int) -> None:
        """Ask for what is another's."""
        self._ask("trespass", tenant, QUERY, {"rows": 1}, org=ORGS[1 - tenant])

    async def do_cut(self, tenant: int) -> None:
        """Cut a tunnel."""
        self._cuts[tenant] += 1
        if link := self._agents[tenant].link:
            link.cut()

    async def do_freeze(self, tenant: int) -> None:
        """Silence a tunnel until somebody gives up on it, or a thaw."""
        self._cuts[tenant] += 1
        if link := self._agents[tenant].link:
            link.freeze()

    async def do_thaw(self, tenant: int) -> None:
        """Let it speak again."""
        if link := self._agents[tenant].link:
            link.thaw()

    async def do_expire(self, tenant: int, seconds: int) -> None:
        """Have the agent come with a token that it does not renew in time."""
        self._agents[tenant].valid_s = seconds
        await self.do_cut(tenant)
        self._cuts[tenant] += 1

    async def do_second(self, tenant: int) -> None:
        """Start another agent in the place of the one there is."""
        self._cuts[tenant] += 1
        self._agents[tenant] = Agent(tenant, self._connect, self._evidence, self._sources)
        self._customers.start_soon(self._agents[tenant].run)

    async def do_tamper(self, tenant: int, how: str) -> None:
        """Have a frame of the agent sent twice, or after the next one."""
        if wire := self._agents[tenant].wire:
            wire.orders.append(how)
        for source in self._sources.values():
            if source.seen.tenant == tenant:
                source.seen.excused = "tampered"

    async def do_stall(self, which: int) -> None:
        """Have a viewer stop reading."""
        if self._viewers:
            self._viewers[which % len(self._viewers)].stall()

    async def do_go(self, which: int) -> None:
        """Have it read on."""
        if self._viewers:
            self._viewers[which % len(self._viewers)].go()

    async def do_leave(self, which: int) -> None:
        """Have it hang up."""
        if self._viewers:
            self._viewers[which % len(self._viewers)].leave()

    async def do_restart(self, gone_ms: int) -> None:
        """Kill the relay, and start another one after a while."""
        self._excuse_all("restart")
        self._stop_relay()
        await trio.sleep(gone_ms / 1e3)
        await self._nursery.start(self._life_of_relay)

    # How they are done.

    def _stream(
        self, kind: str, tenant: int, lines: int, width: int, unit: int, pieces: int, pace_ms: int
    ) -> None:
        seen = self._seen(kind, tenant)
        seen.lines = lines
        self._sources[seen.ident] = Source(lines, width, unit, pieces, pace_ms / 1e3, seen)
        request = {"ident": seen.ident, "mark": MARKS[tenant].decode()}
        body = message(json.dumps(request).encode())[5:]
        self._start(seen, PATHS[kind], STREAMING, body, ORGS[tenant], viewer_token(tenant))

    def _ask(
        self, kind: str, tenant: int, rpc: str, request: dict[str, object], **other: str
    ) -> None:
        seen = self._seen(kind, tenant)
        seen.secret = str(request.get("secret", "")).encode()
        body = json.dumps({**request, "mark": MARKS[tenant].decode()}).encode()
        org, token = other.get("org", ORGS[tenant]), other.get("token", viewer_token(tenant))
        self._start(seen, rpc, UNARY, body, org, token)

    def _seen(self, kind: str, tenant: int) -> Seen:
        seen = Seen(tenant, kind, len(self._evidence.seen))
        self._evidence.seen.append(seen)
        return seen

    def _start(
        self, seen: Seen, rpc: str, content_type: str, body: bytes, org: str, token: str
    ) -> None:
        ours, theirs = memory_stream_pair()
        assert self._relay
        assert self._relay_tasks
        self._relay_tasks.start_soon(self._relay.serve_viewer, theirs)
        viewer = Viewer(ours, seen)
        self._viewers.append(viewer)
        headers = {"authorization": f"Bearer {token}", "content-type": content_type}
        self._customers.start_soon(viewer.run, f"/r/{org}/p/d/{CLUSTER}{rpc}", headers, body)

    async def _connect(self, tenant: int) -> tuple[Transport, MemoryLink]:
        if self._relay is None or self._relay_tasks is None:
            raise ConnectionRefusedError
        ours, theirs, link = memory_transport_pair()
        peer = Peer((agent_uri(ORGS[tenant], CLUSTER),), THUMBPRINT)
        self._relay_tasks.start_soon(self._relay.serve_agent_transport, theirs, peer)
        return ours, link

    async def _life_of_relay(self, *, task_status: trio.TaskStatus[None]) -> None:
        settings = TunnelSettings(
            window_bytes=WINDOW_BYTES,
            window_default_bytes=WINDOW_BYTES,
            window_max_bytes=WINDOW_BYTES,
            growth_bytes=0,
        )
        write: Callable[[str], None] = lambda line: self._evidence.said.append(("journal", line))  # noqa: E731
        journal = Journal("relay", write=write, clock=now)
        async with trio.open_nursery() as self._relay_tasks:
            self._relay = Relay(RelaySettings(), settings, journal=journal, clock=now)
            self._relay_tasks.start_soon(trio.sleep_forever, name=LIFE)
            body = json.dumps(policy()).encode()
            answer = await self._call(
                partial(self._relay.serve_control, peer=Peer((CONTROL_URI,))),
                b"PUT /v1/policy",
                body,
            )
            assert b" 204 " in answer, answer
            task_status.started()

    async def _call(
        self, serve: Callable[[trio.abc.Stream], Awaitable[None]], what: bytes, body: bytes = b""
    ) -> bytes:
        """Make one request on a connection of its own and return all that comes."""
        ours, theirs = memory_stream_pair()
        assert self._relay_tasks
        self._relay_tasks.start_soon(serve, theirs)
        head = b"%s HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        await ours.send_all(head % (what, len(body)) + body)
        found = b""
        while data := await ours.receive_some():
            found += data
        await ours.aclose()
        return found

    def _stop_relay(self) -> None:
        if self._relay_tasks is not None:
            self._relay_tasks.cancel_scope.cancel()
        self._relay = self._relay_tasks = None

    def _excuse_all(self, why: str) -> None:
        for seen in self._evidence.seen:
            if seen.ending == "open" and not seen.excused:
                seen.excused = why

    async def _settle(self) -> None:
        """Mend what was broken, wait for all exchanges, hang up, and look round."""
        for tenant, cuts in enumerate(self._cuts):
            await self.do_thaw(tenant)
            if cuts >= MANY_CUTS:
                self._excuse_all("many cuts")
        for viewer in self._viewers:
            viewer.go()
        with trio.move_on_after(PATIENCE_S):
            while any(seen.ending == "open" for seen in self._evidence.seen):
                await trio.sleep(1)
        assert self._relay
        pages = await self._call(self._relay.serve_ops, b"GET /metrics")
        self._evidence.said.append(("metrics", pages.decode()))
        faults = self._relay.metrics.get("relay_internal_errors_total")
        self._evidence.left += ["a fault of the relay's own"] * faults


def play(program: Program) -> Evidence:
    """Run a program and return what was seen."""
    evidence = Evidence(MARKS, SECRET, bound=BOUND_BYTES)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await World(evidence, nursery).run(program)
            nursery.cancel_scope.cancel()

    with listening(evidence):
        run_seeded(program.seed, main)
    return evidence
