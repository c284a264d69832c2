"""Turns what pods use into rows of `otel_metrics_gauge`.

CPU and memory are measured for containers that are processes. Pods of the built-in images
(`planesplit/workload`, `planesplit/replay`) have no process of their own and this machine has no
GPUs: their CPU and memory, and every GPU's utilisation, are simulated, from a seed, and say so by
the attribute `planesplit.simulated`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customer_stub.clickhouse_writer import timestamp
from customer_stub.kubernetes.observers import COSTS, GPUS, STATE
from customer_stub.samples.resources import Resources, resources_of
from customer_stub.samples.settings import SamplesSettings
from customer_stub.samples.usage import Usage

LABELS = ("org", "project", "domain", "run", "action", "attempt")
UNITS = {
    "container.cpu.usage": "{cpu}",
    "container.cpu.allocated": "{cpu}",
    "container.memory.usage": "By",
    "container.memory.allocated": "By",
    "gpu.utilization": "1",
    "container.cost": "USD/h",
}
SIMULATED = {"planesplit.simulated": "true"}
WAVE_SAMPLES = 60  # length of the simulated waves

Json = dict[str, Any]


@dataclass(slots=True)
class Running:
    """A pod that runs.

    Args:
        pod: its object.
        pid: leader of its session; None for a pod that is no process.
    """

    pod: Mapping[str, Any]
    pid: int | None

    @property
    def uid(self) -> str:
        """The pod's uid."""
        uid: str = self.pod["metadata"]["uid"]
        return uid


@dataclass(slots=True)
class _Track:
    """What is known of a pod between its samples."""

    resources: Resources
    attributes: dict[str, str]
    random: random.Random
    due_s: float
    started_ns: int
    samples: int = 0
    cpu_s: float = 0.0
    at_s: float | None = None
    gpu_phases: list[float] = field(default_factory=list)


class Sampler:
    """Samples pods when they are due; a new pod at once, so that also a short one has one.

    Attributes:
        sees: whether an account sees a pod at the API; without an API everybody sees all.

    Args:
        settings: period, prices, defaults.
        cluster: name of the cluster in every row.
        node: name of this node.
    """

    def __init__(self, settings: SamplesSettings, *, cluster: str, node: str) -> None:
        self._settings, self._cluster, self._node = settings, cluster, node
        self._tracks: dict[str, _Track] = {}
        self.sees: Callable[[str, Mapping[str, Any]], object] = lambda account, pod: True

    def due(self, running: Sequence[Running], now_s: float, now_ns: int) -> list[Running]:
        """Return the pods to sample now, and forget those that run no more."""
        gone = self._tracks.keys() - {one.uid for one in running}
        for uid in gone:
            del self._tracks[uid]
        for one in running:
            if one.uid not in self._tracks:
                self._tracks[one.uid] = self._track(one.pod, now_s, now_ns)
        return [one for one in running if self._tracks[one.uid].due_s <= now_s]

    def sample(self, one: Running, usage: Usage | None, *, now_s: float, now_ns: int) -> list[Json]:
        """Return the rows of one pod.

        Args:
            one: the pod; `due` has returned it.
            usage: what its processes use; None if it has none.
            now_s: seconds since the system's start, as `Usage.started_s`.
            now_ns: time of the rows, since the epoch.
        """
        track = self._tracks[one.uid]
        track.due_s = max(track.due_s + self._settings.period_s, now_s)
        head = {
            "ResourceAttributes": track.attributes,
            "ScopeName": "planesplit.pods",
            "ServiceName": track.attributes["k8s.container.name"],
            "StartTimeUnix": timestamp(track.started_ns),
            "TimeUnix": timestamp(now_ns),
        }
        rows = [
            head
            | {"MetricName": name, "MetricUnit": UNITS[name], "Value": value, "Attributes": how}
            for name, value, how in self._values(one, track, usage, now_s)
        ]
        track.samples += 1
        return rows

    def _values(
        self, one: Running, track: _Track, usage: Usage | None, now_s: float
    ) -> Iterator[tuple[str, float, dict[str, str]]]:
        given = track.resources
        if usage is not None:
            yield "container.cpu.usage", _cores(track, usage, now_s), {}
            yield "container.memory.usage", float(usage.memory_bytes), {}
        elif one.pid is None:
            wave = _wave(track, 0.0)
            yield "container.cpu.usage", given.cores * wave, SIMULATED
            memory = given.memory_bytes * (0.3 + 0.4 * wave)
            yield "container.memory.usage", round(memory), SIMULATED
        if self.sees(STATE, one.pod):
            yield "container.cpu.allocated", given.cores, {}
            yield "container.memory.allocated", given.memory_bytes, {}
        if self.sees(COSTS, one.pod):
            yield "container.cost", given.usd_per_hour(self._settings), {}
        for index, phase in enumerate(track.gpu_phases if self.sees(GPUS, one.pod) else ()):
            yield "gpu.utilization", _wave(track, phase), {"gpu": str(index), **SIMULATED}

    def _track(self, pod: Mapping[str, Any], now_s: float, now_ns: int) -> _Track:
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        seeded = random.Random(f"{self._settings.seed}/{meta['name']}")  # noqa: S311 - repeatable
        given = resources_of(pod, self._settings)
        attributes = {
            **{f"planesplit.{name}": labels.get(f"planesplit/{name}", "") for name in LABELS},
            "k8s.pod.name": meta["name"],
            "k8s.pod.uid": meta["uid"],
            "k8s.namespace.name": meta["namespace"],
            "k8s.container.name": pod["spec"]["containers"][0]["name"],
            "k8s.node.name": self._node,
            "k8s.cluster.name": self._cluster,
        }
        phases = [seeded.uniform(0, math.tau) for _ in range(given.gpus)]
        return _Track(given, attributes, seeded, now_s, now_ns, gpu_phases=phases)


def _cores(track: _Track, usage: Usage, now_s: float) -> float:
    """Return the cores used since the last sample, or since the start."""
    since_s = usage.started_s if track.at_s is None else track.at_s
    used_s = usage.cpu_s - track.cpu_s
    track.cpu_s, track.at_s = usage.cpu_s, now_s
    # A process whose parent was killed takes its CPU time out of the sum: that is no negative use.
    return max(0.0, used_s) / max(now_s - since_s, 0.01)


def _wave(track: _Track, phase: float) -> float:
    """Return a simulated share of 0 to 1: a slow wave with noise."""
    angle = math.tau * track.samples / WAVE_SAMPLES + phase
    return min(1.0, max(0.0, 0.6 + 0.3 * math.sin(angle) + track.random.uniform(-0.1, 0.1)))
