"""Quantities as people write them: 10000/s, 200B, 80ms, 50mbit, p99<50ms, p99>+10%."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z/]*)")
_TIMES = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 60.0, "min": 60.0}
_RATES = {"": 1.0, "/s": 1.0, "k/s": 1e3, "k": 1e3}
_SIZES = {"": 1.0, "b": 1.0, "kb": 1e3, "kib": 1024.0}
_WIDTHS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_LIMIT = re.compile(r"\s*([a-z0-9_.]+)\s*(<=|<|>=|>)\s*(\S+)\s*")
_CHANGE = re.compile(r"\s*([a-z0-9_.]+)\s*([<>])\s*([+-][0-9]+(?:\.[0-9]+)?)\s*%\s*")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Parser = Callable[[str], float]


class BadQuantity(ValueError):
    """Text that is no such quantity; the message says what one looks like."""


def _parse(text: str, units: Mapping[str, float], example: str) -> float:
    found = _NUMBER.fullmatch(text.strip())
    factor = units.get(found[2].lower()) if found else None
    if not found or factor is None:
        raise BadQuantity(f"'{text}' is not understood; write it as {example}")
    return float(found[1]) * factor


def seconds(text: str) -> float:
    """Parse a duration; without a unit it is in seconds.

    Raises:
        BadQuantity: it is none.
    """
    return _parse(text, _TIMES, "80ms, 2s or 0.5")


def per_second(text: str) -> float:
    """Parse a rate in lines a second.

    Raises:
        BadQuantity: it is none.
    """
    return _parse(text, _RATES, "10000/s or 10k/s")


def size_bytes(text: str) -> int:
    """Parse a size.

    Raises:
        BadQuantity: it is none.
    """
    return int(_parse(text, _SIZES, "200B or 1KiB"))


def bytes_per_second(text: str) -> float:
    """Parse a bandwidth in bits a second; returns bytes a second.

    Raises:
        BadQuantity: it is none.
    """
    return _parse(text, _WIDTHS, "50mbit or 1gbit") / 8


def rate_range(text: str) -> tuple[float, float]:
    """Parse LOW..HIGH, in lines a second.

    Raises:
        BadQuantity: it is none, or it is empty.
    """
    low, dots, high = text.partition("..")
    if not dots:
        raise BadQuantity(f"'{text}' is not understood; write it as 500..20000")
    found = per_second(low), per_second(high)
    if not 0 < found[0] < found[1]:
        raise BadQuantity(f"'{text}' is empty: the first rate must be the smaller one")
    return found


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound of one metric, such as p99<50ms.

    Args:
        metric: its name.
        sign: <, <=, > or >=.
        value: in milliseconds for times.
        text: as it was written.
    """

    metric: str
    sign: str
    value: float
    text: str

    def holds(self, value: float) -> bool:
        """Whether a value keeps within it."""
        return _COMPARE[self.sign](value, self.value)


def limit(text: str, metrics: Collection[str]) -> Limit:
    """Parse a bound of a latency, such as p99<50ms.

    Raises:
        BadQuantity: it is none, or the metric is unknown.
    """
    found = _LIMIT.fullmatch(text)
    if not found:
        raise BadQuantity(f"'{text}' is not understood; write it as p99<50ms")
    _known(found[1], metrics)
    return Limit(found[1], found[2], seconds(found[3]) * 1e3, text)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one metric that is too much, such as p99>+10%.

    Args:
        metric: its name.
        sign: < or >.
        share: 0.1 for 10 %.
        text: as it was written.
    """

    metric: str
    sign: str
    share: float
    text: str

    def exceeded(self, share: float) -> bool:
        """Whether a change is too much."""
        return _COMPARE[self.sign](share, self.share)


def change(text: str, metrics: Collection[str]) -> Change:
    """Parse a change that is too much, such as p99>+10%.

    Raises:
        BadQuantity: it is none, or the metric is unknown.
    """
    found = _CHANGE.fullmatch(text)
    if not found:
        raise BadQuantity(f"'{text}' is not understood; write it as p99>+10% or achieved<-5%")
    _known(found[1], metrics)
    return Change(found[1], found[2], float(found[3]) / 100, text)


def _known(metric: str, metrics: Collection[str]) -> None:
    if metric not in metrics:
        raise BadQuantity(f"metric '{metric}' is none of {', '.join(metrics)}")
