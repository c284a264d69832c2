"""Settings with a default, bounds and a reason each, and their loading from TOML tables."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class SettingError(ValueError):
    """A setting is unknown, missing or out of bounds; the message names key, value and remedy."""


def setting(default: Any, *, low: float | None = None, high: float | None = None, why: str) -> Any:
    """Declare a dataclass field that is a bounded setting.

    Args:
        default: value when nothing is configured.
        low: smallest allowed value, in the field's unit.
        high: largest allowed value.
        why: one sentence: why this default and these bounds.
    """
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "why": why})


def load(cls: type[T], table: Mapping[str, Any], *, where: str = "") -> T:
    """Make a settings dataclass from a (TOML) table; nested dataclasses are sub-tables.

    Raises:
        SettingError: unknown key, missing key, wrong type, out of bounds.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise SettingError(
                f"unknown setting '{where}{key}'; known: {', '.join(sorted(fields))}"
            )
    values = {k: _value(hints[k], table[k], fields[k], f"{where}{k}") for k in table}
    for name, field in fields.items():
        if name not in values and _required(field):
            raise SettingError(f"setting '{where}{name}' is missing; add it to the configuration")
    return cls(**values)


def describe(cls: type) -> list[dict[str, Any]]:
    """List every bounded setting of a dataclass: name, default, low, high, why."""
    return [
        {"name": f.name, "default": f.default, **f.metadata}
        for f in dataclasses.fields(cls)
        if "why" in f.metadata
    ]


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any, field: dataclasses.Field[Any], name: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
        origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return load(typing.cast("type[Any]", hint), value, where=f"{name}.")
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise SettingError(f"setting '{name}' must be a list, not {type(value).__name__}")
        item = typing.get_args(hint)[0]
        values = [_value(item, v, field, f"{name}[{i}]") for i, v in enumerate(value)]
        return values if origin is list else tuple(values)
    if hint is float and type(value) is int:
        value = float(value)
    if isinstance(hint, type) and type(value) is not hint:
        raise SettingError(f"setting '{name}' must be {hint.__name__}, not {type(value).__name__}")
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        raise SettingError(f"setting '{name}' is {value}; it must be between {low} and {high}")
    return value


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelSettings:
    """Limits of one tunnel. Both ends have their own; HELLO tells the peer those that bind it."""

    window_bytes: int = setting(
        81_920,
        low=81_920,
        high=4_194_304,
        why="credit reserved per stream; a 64 KiB unit fits beside the eighth not yet re-granted",
    )
    window_default_bytes: int = setting(
        262_144,
        low=81_920,
        high=4_194_304,
        why="first growth step of a stream that drains; covers 20 ms at 100 Mbit/s",
    )
    window_max_bytes: int = setting(
        4_194_304,
        low=81_920,
        high=67_108_864,
        why="largest window: 320 Mbit/s at 100 ms; the most that one stalled viewer can hold",
    )
    growth_bytes: int = setting(
        33_554_432,
        low=0,
        high=1_073_741_824,
        why="per-tunnel cap of all credit granted above the reserved windows",
    )
    max_streams: int = setting(
        1024,
        low=1,
        high=65_536,
        why="open streams of each end; reserved credit is 2 * max_streams * window_bytes",
    )
    stall_s: float = setting(
        5.0,
        low=0.1,
        high=300.0,
        why="a stream that drained nothing for so long loses its window growth",
    )
    send_queue_bytes: int = setting(
        262_144,
        low=65_536,
        high=4_194_304,
        why="unsent bytes per stream before its writer waits: four units go in one turn",
    )
    ping_interval_s: float = setting(
        3.0,
        low=0.1,
        high=60.0,
        why="silence after which a PING asks; three of them fit into dead_after_s",
    )
    dead_after_s: float = setting(
        9.0,
        low=0.5,
        high=300.0,
        why="silence after which the peer counts as gone; half-open detection within 10 s",
    )
    handshake_s: float = setting(
        10.0,
        low=0.1,
        high=120.0,
        why="time for HELLO and AUTH; a slower peer is cut off",
    )
    close_s: float = setting(
        2.0,
        low=0.05,
        high=60.0,
        why="time to flush the last frames when a tunnel is closed on purpose",
    )

    @property
    def granted_cap_bytes(self) -> int:
        """Most credit that can ever be outstanding or queued on one tunnel."""
        return 2 * self.max_streams * self.window_bytes + self.growth_bytes
