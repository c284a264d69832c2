"""What a cluster offers and what its pods use, counted for its state in the control plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from compute_agent.pods import PodStore
from kube.client import ClusterError, KubernetesApi
from tunnel.messages.planesplit_v1_pb2 import Usage

UsageSource = Callable[[], Awaitable[Usage]]
Used = Callable[[Sequence[str]], Awaitable[tuple[float, float]]]

NODES = "/api/v1/nodes"
MAX_MEASURED = 1_000  # pods in one question
ANSWER_S = 5.0  # a report is not held back for the sake of its numbers

# Suffixes of quantities (kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity).
_SUFFIXES = {
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


class UsageCounter:
    """Counts pods from the agent's own picture, and resources from the nodes.

    Args:
        store: the agent's picture of its pods.
        api: the Kubernetes API; None: nodes are not counted.
        used: returns cores and bytes that pods use now; None where nobody measures.
    """

    def __init__(self, store: PodStore, api: KubernetesApi | None, used: Used | None) -> None:
        self._store, self._api, self._used = store, api, used

    async def __call__(self) -> Usage:
        """Return the numbers; what cannot be counted is 0."""
        pods = self._store.all()
        running = [pod.uid for pod in pods if pod.phase == "Running"]
        pending = sum(pod.phase == "Pending" for pod in pods)
        usage = Usage(pods_running=len(running), pods_pending=pending)
        with trio.move_on_after(ANSWER_S):
            await self._offered(usage)
            if self._used is not None and running:
                cores, used_bytes = await self._used(running[:MAX_MEASURED])
                usage.cpu_used_cores, usage.memory_used_bytes = cores, int(used_bytes)
        return usage

    async def _offered(self, usage: Usage) -> None:
        def count(node: dict[str, Any]) -> None:
            offered = node["status"]["allocatable"]
            usage.nodes += 1
            usage.cpu_cores += quantity(offered["cpu"])
            usage.memory_bytes += int(quantity(offered["memory"]))

        try:
            if self._api is not None:
                await self._api.pages(NODES, {}, count)
        except (ClusterError, KeyError, TypeError, ValueError, OverflowError):
            return  # told as far as it was counted


def quantity(text: str) -> float:
    """Read a Kubernetes quantity, such as `250m` or `16Gi`.

    Raises:
        ValueError: it is none.
    """
    digits = text.rstrip("".join(_SUFFIXES))
    suffix = text[len(digits) :]
    if suffix not in _SUFFIXES:
        raise ValueError("not a quantity")
    return float(digits) * _SUFFIXES[suffix]
