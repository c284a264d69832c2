"""Exchanges that agents open: they wait here, bounded, until the control plane fetches and answers.

The relay never dials, so the control plane asks. What an exchange carries is not looked into.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import trio

from relay.auth import AgentIdentity
from relay.core import Core
from relay.metrics import Reason
from relay.registry import TunnelStream
from tunnel.capabilities import Capability
from tunnel.errors import Code


@dataclass(eq=False, slots=True)
class Exchange:
    """One agent's exchange.

    Args:
        id: its name towards the control plane.
        identity: the agent, as proved by its tunnel.
        stream: where its request comes from and its answer goes.
        row: what its bytes are counted as.
    """

    id: str
    identity: AgentIdentity
    stream: TunnelStream
    row: str
    alive: bool = True
    fetched: trio.Event = field(default_factory=trio.Event)
    answered: trio.Event = field(default_factory=trio.Event)


class Exchanges:
    """The bounded queue.

    Args:
        core: the relay's.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ids = itertools.count(1)
        self._fetched: dict[str, Exchange] = {}
        self._put, self._get = trio.open_memory_channel[Exchange](core.settings.max_waiting)

    async def serve(self, identity: AgentIdentity, stream: TunnelStream) -> None:
        """Run one agent-opened stream: wait until it is fetched and answered, or end it."""
        capability = self._capability(identity, stream)
        if capability is None:
            self._refuse(stream, Code.REFUSED, Reason.UNKNOWN_RPC)
            return
        exchange = Exchange(str(next(self._ids)), identity, stream, capability.row)
        try:
            self._put.send_nowait(exchange)
        except trio.WouldBlock:
            self._refuse(stream, Code.NOT_READY, Reason.TOO_MANY)
            return
        self._core.metrics.add("relay_exchanges_total", "agent")
        try:
            await self._wait(exchange)
        finally:
            exchange.alive = False
            self._fetched.pop(exchange.id, None)

    async def next(self) -> Exchange:
        """Wait for an exchange that nobody has fetched yet."""
        while True:
            exchange = await self._get.receive()
            if exchange.alive:
                exchange.fetched.set()
                self._fetched[exchange.id] = exchange
                return exchange

    def claim(self, name: str) -> Exchange | None:
        """Return a fetched exchange to be answered, once; None when it is gone."""
        return self._fetched.pop(name, None)

    async def _wait(self, exchange: Exchange) -> None:
        with trio.move_on_after(self._core.settings.reverse_wait_s):
            await exchange.fetched.wait()
        if exchange.fetched.is_set():
            with trio.move_on_after(self._core.settings.reverse_answer_s):
                await exchange.answered.wait()
        if not exchange.answered.is_set():
            self._refuse(exchange.stream, Code.TIMEOUT, Reason.CONTROL_ABSENT)

    def _capability(self, identity: AgentIdentity, stream: TunnelStream) -> Capability | None:
        """What an agent asks for, if agents may and it is for its own cluster."""
        head = stream.request
        capability = self._core.capabilities.get(head.path)
        if capability is None or capability.opened_by != "agent":
            return None
        own = (head.scope.org, head.scope.cluster) == (identity.org, identity.cluster)
        return capability if own else None

    def _refuse(self, stream: TunnelStream, code: Code, reason: Reason) -> None:
        self._core.metrics.reject(reason)
        stream.reset(code)
