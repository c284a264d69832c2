"""Objects of the cluster itself: its one node, and namespaces, which come with their first use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from customer_stub.settings import CustomerSettings
from kube.server.collection import Collection
from kube.server.kinds import NAMESPACES, NODES
from kube.server.store import Conflict, ObjectStore
from kube.server.values import timestamp

NODE = "planesplit-node"
KUBELET_VERSION = "v1.34.0+planesplit"

Json = dict[str, Any]


class NodeApi(Collection):
    """The node: this machine. Reads only."""

    def __init__(
        self,
        store: ObjectStore,
        settings: CustomerSettings,
        *,
        clock: Callable[[], int],
        new_uid: Callable[[], str],
    ) -> None:
        super().__init__(NODES, store, settings)
        now = timestamp(clock())
        store.create(NODES.name, _node(settings, new_uid(), now))


class NamespaceApi(Collection):
    """Namespaces; there is no need to make one before it is used."""

    def __init__(
        self,
        store: ObjectStore,
        settings: CustomerSettings,
        *,
        clock: Callable[[], int],
        new_uid: Callable[[], str],
    ) -> None:
        super().__init__(NAMESPACES, store, settings)
        self._clock, self._new_uid = clock, new_uid

    def ensure(self, name: str) -> None:
        """Make a namespace unless it is there."""
        meta = {"name": name, "uid": self._new_uid()}
        meta["creationTimestamp"] = timestamp(self._clock())
        namespace: Json = {"kind": "Namespace", "apiVersion": "v1", "metadata": meta}
        namespace |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        try:
            self._store.create(NAMESPACES.name, namespace)
        except Conflict:
            return


def _node(settings: CustomerSettings, uid: str, now: str) -> Json:
    page_bytes, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    resources = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{page_bytes * pages // 1024}Ki",
        "pods": str(settings.max_running),
    }
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}
    meta = {"name": NODE, "uid": uid, "creationTimestamp": now, "labels": labels}
    state = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
    state["nodeInfo"] = {"kubeletVersion": KUBELET_VERSION, "operatingSystem": "linux"}
    return {"kind": "Node", "apiVersion": "v1", "metadata": meta, "spec": {}, "status": state}
