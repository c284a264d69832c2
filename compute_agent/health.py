"""Tells the control plane how the cluster fares: numbers, and reasons from a closed list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NoReturn

import trio

from compute_agent.inventory import Inventory
from compute_agent.settings import HealthLimits
from compute_agent.tell import Teller
from compute_agent.usage import UsageSource
from tunnel.capabilities import REPORT_HEALTH
from tunnel.first import first_of
from tunnel.health import REASONS
from tunnel.messages.planesplit_v1_pb2 import HealthRequest
from tunnel.session import Session

Check = Callable[[], Awaitable[bool]]


class Health:
    """Looks at what the agent stands on, and tells what changes and every `every_s` seconds.

    While pods run, the numbers are told with every check.

    Args:
        inventory: what the operator's account sees of the cluster.
        checks: reason -> whether that part can be reached; one of the closed list.
        usage: counts what the cluster offers and uses.
        data_url: the customer's own data endpoint, as viewers reach it, once it listens.
        teller: carries reports.
        limits: bounds.
        every_s: longest time between two reports.
        retry_s: pause after a report that was not taken.

    Raises:
        ValueError: a reason that the control plane would refuse: a bug.
    """

    def __init__(
        self,
        inventory: Inventory,
        checks: Mapping[str, Check],
        usage: UsageSource,
        data_url: Callable[[], str],
        teller: Teller,
        limits: HealthLimits,
        *,
        every_s: float,
        retry_s: float,
    ) -> None:
        if not checks.keys() <= REASONS:
            raise ValueError("a reason is not in the closed list")
        self._inventory, self._checks, self._usage = inventory, checks, usage
        self._data_url, self._teller, self._limits = data_url, teller, limits
        self._every_s, self._retry_s = every_s, retry_s
        self._failed: set[str] = set()
        self._changed = trio.Event()

    async def watch(self) -> NoReturn:
        """Check everything again and again, until cancelled."""
        while True:
            async with trio.open_nursery() as nursery:
                for reason, check in self._checks.items():
                    nursery.start_soon(self._check, reason, check)
            await trio.sleep(self._limits.check_s)

    async def run(self, session: Session) -> NoReturn:
        """Report over one tunnel until cancelled."""
        told = None
        while True:
            state = self._state()
            request = await self._request(state)
            if await self._teller.tell(session, REPORT_HEALTH, request):
                told = state
                with trio.move_on_after(self._every_s):
                    await first_of(partial(self._other_than, told), self._other_numbers)
            else:
                await trio.sleep(self._retry_s)

    async def _check(self, reason: str, check: Check) -> None:
        reachable = False
        with trio.move_on_after(self._limits.answer_s):
            reachable = await check()
        before = reason in self._failed
        (self._failed.discard if reachable else self._failed.add)(reason)
        if before == reachable:
            self._changed.set()
            self._changed = trio.Event()

    def _state(self) -> tuple[frozenset[str], str]:
        """Return what is wrong, and where the data endpoint is: what is told at once."""
        return self._inventory.reasons() | self._failed, self._data_url()

    async def _other_than(self, told: tuple[frozenset[str], str]) -> None:
        while self._state() == told:
            await first_of(self._changed.wait, *self._inventory.changes())

    async def _other_numbers(self) -> None:
        pods = self._pods()
        while True:
            await trio.sleep(self._limits.check_s)
            if self._pods() != pods or any(phase == "Running" for phase in pods):
                return

    def _pods(self) -> list[str]:
        return sorted(pod.phase for pod in self._inventory.pods())

    async def _request(self, state: tuple[frozenset[str], str]) -> HealthRequest:
        reasons, data_url = state
        return HealthRequest(
            org=self._teller.org,
            cluster=self._teller.cluster,
            healthy=not reasons,
            reasons=sorted(reasons),
            usage=await self._usage(),
            data_url=data_url,
        )
