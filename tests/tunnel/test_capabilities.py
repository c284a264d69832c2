"""The closed list of what may cross."""

from __future__ import annotations

import pytest
from cast import REQUEST

from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.exchange import RequestHead, Scope

# Written out once more: opening the list is a decision, never an accident.
CLOSED_LIST = {
    "/flyteidl2.dataproxy.DataProxyService/TailLogs": ("viewer", True),
    "/planesplit.v1.ExecutorService/Assign": ("control", False),
    "/planesplit.v1.ExecutorService/Abort": ("control", False),
    "/planesplit.v1.ReportService/Report": ("agent", False),
}


def test_the_list_is_closed() -> None:
    assert {p: (c.opened_by, c.resumable) for p, c in CAPABILITIES.items()} == CLOSED_LIST


@pytest.mark.parametrize("capability", CAPABILITIES.values(), ids=lambda c: c.path)
def test_every_capability_can_cross(capability: Capability) -> None:
    prefix = REQUEST.scope.prefix
    assert Scope.from_path(prefix + capability.path) == (REQUEST.scope, capability.path)
    RequestHead("POST", capability.path, REQUEST.scope, "ann")
    assert capability.permission
    assert capability.row.startswith("A")
