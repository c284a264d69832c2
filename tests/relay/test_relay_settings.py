"""The relay's limits: each has a bound, a reason, and a default inside the bound."""

from __future__ import annotations

import json

import pytest

from relay.app import Relay
from relay.settings import RelayConfig, RelaySettings
from tunnel.journal import Journal
from tunnel.settings import SettingError, TunnelSettings, describe, load


def test_every_limit_has_bounds_and_a_reason():
    limits = describe(RelaySettings)
    assert {limit["name"] for limit in limits} == set(RelaySettings.__slots__)
    for limit in limits:
        assert limit["low"] <= limit["default"] <= limit["high"]
        assert limit["why"]


def test_limits_are_read_from_their_table():
    config = load(RelayConfig, {"insecure": True, "limits": {"hold_s": 5}})
    assert config.limits.hold_s == 5.0


@pytest.mark.parametrize(
    "table", [{}, {"insecure": True, "host": "10.0.0.1"}, {"tls": {"cert_file": "a"}}]
)
def test_a_wrong_table_is_refused(table):
    with pytest.raises(SettingError):
        load(RelayConfig, table)


@pytest.mark.parametrize("in_c", [True, False])
def test_slow_masking_is_said_at_start(monkeypatch: pytest.MonkeyPatch, in_c: bool) -> None:
    monkeypatch.setattr("relay.app.MASK_IN_C", in_c)
    written: list[str] = []
    relay = Relay(RelaySettings(), TunnelSettings(), journal=Journal("relay", write=written.append))
    relay.check_machine()
    assert [json.loads(line)["event"] for line in written] == ([] if in_c else ["slow_masking"])
