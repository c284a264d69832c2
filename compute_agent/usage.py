"""What a cluster offers and what its pods use, counted for its state in the control plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from compute_agent.inventory import Inventory
from tunnel.messages.planesplit_v1_pb2 import Usage

UsageSource = Callable[[], Awaitable[Usage]]
Used = Callable[[Sequence[str]], Awaitable[tuple[float, float]]]

MAX_MEASURED = 1_000  # pods in one question
ANSWER_S = 5.0  # a report is not held back for the sake of its numbers


class UsageCounter:
    """Counts what the operator's account sees.

    Args:
        inventory: nodes and pods.
        used: returns cores and bytes that pods use now; None where nobody measures.
    """

    def __init__(self, inventory: Inventory, used: Used | None) -> None:
        self._inventory, self._used = inventory, used

    async def __call__(self) -> Usage:
        """Return the numbers; what cannot be counted is 0."""
        nodes, pods = self._inventory.nodes(), self._inventory.pods()
        running = [pod.uid for pod in pods if pod.phase == "Running"]
        usage = Usage(
            nodes=len(nodes),
            cpu_cores=sum(node.cores for node in nodes),
            memory_bytes=sum(node.memory_bytes for node in nodes),
            pods_running=len(running),
            pods_pending=sum(pod.phase == "Pending" for pod in pods),
        )
        with trio.move_on_after(ANSWER_S):
            if self._used is not None and running:
                cores, used_bytes = await self._used(running[:MAX_MEASURED])
                usage.cpu_used_cores, usage.memory_used_bytes = cores, int(used_bytes)
        return usage
