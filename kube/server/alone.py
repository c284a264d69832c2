"""A cluster in which nothing runs: the control plane's. Its pods, if any, have no logs here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from kube.server.api import KubernetesApp
from kube.server.cluster import ClusterObjects
from kube.server.log_options import LogOptions
from kube.server.node import register_node
from kube.server.status import not_started
from kube.server.tokens import Tokens
from kube.settings import ApiSettings
from tunnel.journal import Journal

MAX_PODS = 110  # kubelet's default


def control_api(
    settings: ApiSettings, tokens: Tokens, journal: Journal, clock: Callable[[], int]
) -> KubernetesApp:
    """Return the API of the control plane's own cluster, with its roles (Appendix C).

    Args:
        clock: wall clock, nanoseconds since the epoch.
    """
    objects = ClusterObjects(settings, clock=clock)
    register_node(objects, max_pods=MAX_PODS)

    async def logs(namespace: str, name: str, _options: LogOptions) -> AsyncIterator[bytes]:
        pod = objects.pods.get(namespace, name)
        raise not_started(pod)
        yield b""

    return KubernetesApp(
        objects, plane="control", logs=logs, tokens=tokens, settings=settings, journal=journal
    )
