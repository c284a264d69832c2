"""Kubernetes' ways to write times and quantities."""

from __future__ import annotations

import re
import time

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_DECIMAL = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_FACTORS = _DECIMAL | {
    f"{letter}i": float(1024**power) for power, letter in enumerate("KMGTP", start=1)
}


def timestamp(at_ns: int) -> str:
    """Format nanoseconds since the epoch as Kubernetes does: RFC 3339, whole seconds, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns // 1_000_000_000))


def quantity(value: object) -> float | None:
    """Return the number that a Kubernetes quantity stands for, None if it is none."""
    match = _QUANTITY.fullmatch(str(value))
    return float(match[1]) * _FACTORS[match[2] or ""] if match else None
