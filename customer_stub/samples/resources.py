"""What a pod has been given: its requests, or defaults, and what that costs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customer_stub.samples.settings import SamplesSettings

GIB = 1 << 30
GPUS = ("nvidia.com/gpu", "amd.com/gpu")
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_DECIMAL = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_FACTORS = _DECIMAL | {
    f"{letter}i": float(1024**power) for power, letter in enumerate("KMGTP", start=1)
}


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


def quantity(value: object) -> float | None:
    """Return the number that a Kubernetes quantity stands for, None if it is none."""
    match = _QUANTITY.fullmatch(str(value))
    return float(match[1]) * _FACTORS[match[2] or ""] if match else None


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
