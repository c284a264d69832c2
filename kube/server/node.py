"""A cluster's one node: this machine."""

from __future__ import annotations

import os
from typing import Any

from kube.server.cluster import ClusterObjects
from kube.server.kinds import NODES
from kube.server.values import timestamp

NODE = "planesplit-node"
KUBELET_VERSION = "v1.34.0+planesplit"

Json = dict[str, Any]


def register_node(objects: ClusterObjects, *, max_pods: int) -> None:
    """Make the node's object, as a kubelet does when it starts.

    Args:
        max_pods: how many pods may run on it.
    """
    page_bytes, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    offered = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{page_bytes * pages // 1024}Ki",
        "pods": str(max_pods),
    }
    now = timestamp(objects.clock())
    labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}
    meta = {"name": NODE, "uid": objects.new_uid(), "creationTimestamp": now, "labels": labels}
    state: Json = {"capacity": offered, "allocatable": offered, "conditions": [_ready(now)]}
    state["nodeInfo"] = {"kubeletVersion": KUBELET_VERSION, "operatingSystem": "linux"}
    node = {"kind": "Node", "apiVersion": "v1", "metadata": meta, "spec": {}, "status": state}
    objects.store.create(NODES.key, node)


def _ready(now: str) -> Json:
    return {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
