"""Settings: bounds, reasons, and errors that name key, value and remedy."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from tunnel.settings import SettingError, TunnelSettings, describe, load, setting


@dataclass(frozen=True)
class Inner:
    port: int = setting(0, low=0, high=65_535, why="0 lets the system choose")


@dataclass(frozen=True)
class Outer:
    name: str
    ratio: float = setting(0.5, low=0.0, high=1.0, why="a share")
    limit: int | None = setting(None, low=1, high=9, why="None: no limit")
    insecure: bool = False
    inner: Inner = field(default_factory=Inner)
    ports: tuple[int, ...] = setting((), low=1, high=10, why="several")
    apps: list[Inner] = field(default_factory=list)


def test_defaults() -> None:
    assert load(Outer, {"name": "x"}) == Outer("x")
    assert load(TunnelSettings, {}) == TunnelSettings()


def test_values_of_every_shape() -> None:
    table = {
        "name": "x",
        "ratio": 1,
        "limit": 3,
        "insecure": True,
        "inner": {"port": 80},
        "ports": [1, 2],
        "apps": [{"port": 1}, {}],
    }
    loaded = load(Outer, table)
    assert loaded == Outer("x", 1.0, 3, True, Inner(80), (1, 2), [Inner(1), Inner(0)])
    assert type(loaded.ratio) is float


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "setting 'name' is missing; add it to the configuration"),
        ({"name": 1}, "setting 'name' must be str, not int"),
        ({"name": "x", "ratio": 1.5}, "setting 'ratio' is 1.5; it must be between 0.0 and 1.0"),
        ({"name": "x", "ratio": float("nan")}, "setting 'ratio' is nan"),
        ({"name": "x", "ratio": "1"}, "setting 'ratio' must be float, not str"),
        ({"name": "x", "limit": 0}, "setting 'limit' is 0; it must be between 1 and 9"),
        ({"name": "x", "limit": True}, "setting 'limit' must be int, not bool"),
        ({"name": "x", "insecure": 1}, "setting 'insecure' must be bool, not int"),
        ({"name": "x", "inner": {"port": -1}}, "setting 'inner.port' is -1"),
        ({"name": "x", "inner": {"prot": 1}}, "unknown setting 'inner.prot'; known: port"),
        ({"name": "x", "inner": 7}, "setting 'inner' must be Inner, not int"),
        ({"name": "x", "ports": [1, 11]}, "setting 'ports[1]' is 11"),
        ({"name": "x", "ports": 1}, "setting 'ports' must be a list, not int"),
        ({"name": "x", "apps": "none"}, "setting 'apps' must be a list, not str"),
        ({"name": "x", "apps": [{"port": "a"}]}, "setting 'apps[0].port' must be int, not str"),
        ({"name": "x", "nmae": 1}, "unknown setting 'nmae'; known: apps, inner, insecure"),
    ],
)
def test_errors_name_key_value_and_remedy(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as error:
        load(Outer, table)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", [f.name for f in fields(TunnelSettings)])
def test_every_limit_of_the_tunnel_has_bounds_and_a_reason(name: str) -> None:
    (row,) = [row for row in describe(TunnelSettings) if row["name"] == name]
    assert len(row["why"]) > 20
    assert row["low"] <= row["default"] <= row["high"]
    kind = type(row["default"])
    for bound in ("low", "high"):
        assert getattr(load(TunnelSettings, {name: kind(row[bound])}), name) == row[bound]
    for beyond in (row["low"] - 1, row["high"] + 1):
        with pytest.raises(SettingError, match=f"setting '{name}'"):
            load(TunnelSettings, {name: kind(beyond)})


def test_units_are_in_the_names() -> None:
    plain = {"max_streams"}
    names = {f.name for f in fields(TunnelSettings)} - plain
    assert all(name.endswith(("_bytes", "_s")) for name in names)


def test_the_cap_counts_both_directions() -> None:
    settings = TunnelSettings(max_streams=10, growth_bytes=7)
    assert settings.granted_cap_bytes == 2 * 10 * settings.window_bytes + 7


def test_settings_without_bounds_are_not_listed() -> None:
    assert [row["name"] for row in describe(Outer)] == ["ratio", "limit", "ports"]
