"""What a pod has been given: its requests, or defaults, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customer_stub.samples.settings import SamplesSettings
from kube.server.values import quantity

GIB = 1 << 30
GPUS = ("nvidia.com/gpu", "amd.com/gpu")


@dataclass(frozen=True, slots=True)
class Resources:
    """Cores, bytes of memory and GPUs of a pod."""

    cores: float
    memory_bytes: float
    gpus: int

    def usd_per_hour(self, settings: SamplesSettings) -> float:
        """Return what they cost."""
        return (
            self.cores * settings.core_usd_h
            + self.memory_bytes / GIB * settings.gib_usd_h
            + self.gpus * settings.gpu_usd_h
        )


def resources_of(pod: Mapping[str, Any], settings: SamplesSettings) -> Resources:
    """Return what a pod has been given: requests count, else limits, else defaults."""
    given = pod["spec"]["containers"][0].get("resources") or {}
    wanted = {**(given.get("limits") or {}), **(given.get("requests") or {})}

    def amount(name: str, default: float) -> float:
        found = quantity(wanted[name]) if name in wanted else None
        return default if found is None else found

    return Resources(
        amount("cpu", settings.default_cpu),
        amount("memory", float(settings.default_memory_bytes)),
        int(sum(amount(name, 0) for name in GPUS)),
    )
