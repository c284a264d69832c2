"""What the operator's account sees of its cluster (white paper, D4): nodes and pods, in numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from compute_agent.pods import PodStore
from kube.client import KubernetesApi
from kube.view import View
from tunnel.health import KUBERNETES_UNREACHABLE, NODES_NOT_READY

NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
ENDED = ("Succeeded", "Failed")

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

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offered:
    """What a node that is ready offers to pods; 0 where it does not say."""

    cores: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod that has not ended: its uid, and its phase."""

    uid: str
    phase: str


class Inventory:
    """Follows nodes and pods, whoever made them; of a pod it keeps uid and phase.

    Args:
        store: the executor's picture of the pods that it made; told as unreachable, too.
        api: as operator-system; None: pods are those of the store, and there are no nodes.
    """

    def __init__(self, store: PodStore, api: KubernetesApi | None) -> None:
        self._store = store
        self._nodes = View(api, NODES, kept=_node) if api else None
        self._pods = View(api, PODS, kept=_pod) if api else None

    async def run(self) -> None:
        """Follow until cancelled."""
        async with trio.open_nursery() as nursery:
            for view in self._views():
                nursery.start_soon(view.keep)

    def reasons(self) -> frozenset[str]:
        """Return why the cluster is not healthy, as far as it can be seen here."""
        if not self._store.synced or not all(view.current for view in self._views()):
            return frozenset({KUBERNETES_UNREACHABLE})
        return frozenset({NODES_NOT_READY} if self._nodes and not self.nodes() else ())

    def nodes(self) -> list[Offered]:
        """Return what each node offers that is ready."""
        found = self._nodes.all() if self._nodes else []
        return [Offered(node["cores"], node["memory"]) for node in found if node["ready"]]

    def pods(self) -> list[SeenPod]:
        """Return the pods that have not ended."""
        if self._pods is None:
            return [SeenPod(pod.uid, pod.phase) for pod in self._store.all() if not pod.ended]
        found = (SeenPod(**pod) for pod in self._pods.all())
        return [pod for pod in found if pod.phase not in ENDED]

    def changes(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what to wait for: of the next changes, the first."""
        return [self._store.change.wait, *(view.change.wait for view in self._views())]

    def _views(self) -> list[View]:
        return [view for view in (self._nodes, self._pods) if view is not None]


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


def _node(node: Json) -> Json:
    status = node["status"]
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    offered = status.get("allocatable") or {}
    return {
        "ready": conditions.get("Ready") == "True",
        "cores": _number(offered.get("cpu")),
        "memory": int(_number(offered.get("memory"))),
    }


def _number(text: object) -> float:
    try:
        number = quantity(str(text))
    except ValueError:
        return 0.0
    return number if 0 <= number < 1e18 else 0.0


def _pod(pod: Json) -> Json:
    return {"uid": pod["metadata"]["uid"], "phase": pod["status"].get("phase", "Pending")}
