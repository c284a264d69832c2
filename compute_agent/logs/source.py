"""Whose log is tailed, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flyteidl2.logs.dataplane.payload_pb2 import ContainerIdentifier


@dataclass(frozen=True, slots=True)
class Source:
    """Whose log it is.

    Args:
        cluster, namespace, pod, container: as shown to the viewer.
        uid: of the pod.
        short_pod_name: shown beside each line.
        directory: of the container's logs.
    """

    cluster: str
    namespace: str
    pod: str
    container: str
    uid: str
    short_pod_name: str
    directory: Path

    def identifier(self) -> ContainerIdentifier:
        """Return the message that names it."""
        return ContainerIdentifier(
            cluster_name=self.cluster,
            kubernetes_namespace=self.namespace,
            kubernetes_pod_name=self.pod,
            kubernetes_container_name=self.container,
        )
