"""Bounds of watching Kubernetes events."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.settings import setting


@dataclass(frozen=True, slots=True)
class EventSettings:
    """Bounds of watching the events of pods."""

    max_watches: int = setting(
        256, low=1, high=10_000, why="viewers at once; those of one pod share a watch"
    )
    max_events: int = setting(
        1000, low=10, high=100_000, why="events held of a watched pod; kubelet makes about ten"
    )
    max_message_bytes: int = setting(
        4096, low=256, high=16_384, why="Kubernetes allows 1 KiB; a longer message is cut"
    )
    keepalive_s: float = setting(
        10.0, low=0.1, high=25.0, why="the flyte client gives up after 30 s without a message"
    )
    pod_wait_s: float = setting(
        3.0, low=0.0, high=60.0, why="an assignment that is under way when somebody looks already"
    )
    settle_s: float = setting(
        0.5, low=0.0, high=30.0, why="kubelet's last events may follow the end of their pod"
    )
    unavailable_s: float = setting(
        10.0, low=0.1, high=20.0, why="the API may be away so long before a viewer is told"
    )
