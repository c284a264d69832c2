"""The closed list of what may cross."""

from __future__ import annotations

import pytest
from cast import REQUEST

from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.exchange import RequestHead, Scope
from tunnel.rows import ROWS

# Written out once more: opening the list is a decision, never an accident.
NEVER_THERE = {"A4", "A5", "A6", "A7"}  # client and object store, cluster and registry: direct
_DATA_PROXY, _SECRETS = "/flyteidl2.dataproxy.DataProxyService/", "/flyteidl2.secret.SecretService/"
CLOSED_LIST = {
    _DATA_PROXY + "TailLogs": ("viewer", True),
    _DATA_PROXY + "CreateUploadLocation": ("viewer", False),
    _DATA_PROXY + "CreateDownloadLink": ("viewer", False),
    "/flyteidl2.workflow.RunService/WatchClusterEvents": ("viewer", True),
    _SECRETS + "CreateSecret": ("viewer", False),
    _SECRETS + "UpdateSecret": ("viewer", False),
    _SECRETS + "DeleteSecret": ("viewer", False),
    _SECRETS + "GetSecret": ("viewer", False),
    _SECRETS + "ListSecrets": ("viewer", False),
    "/planesplit.v1.DownloadService/CreateDownloadLinkV2": ("viewer", False),
    "/planesplit.v1.ObjectStoreService/SignDownload": ("viewer", False),
    "/planesplit.v1.ObjectStoreService/SignUpload": ("viewer", False),
    "/planesplit.v1.MetricsService/ListQueries": ("viewer", False),
    "/planesplit.v1.MetricsService/Query": ("viewer", False),
    "/planesplit.v1.ExecutorService/Assign": ("control", False),
    "/planesplit.v1.ExecutorService/Abort": ("control", False),
    "/planesplit.v1.AccessService/PutAccess": ("control", False),
    "/planesplit.v1.ReportService/Report": ("agent", False),
    "/planesplit.v1.ReportService/ReportHealth": ("agent", False),
}


def test_the_list_is_closed() -> None:
    assert {p: (c.opened_by, c.resumable) for p, c in CAPABILITIES.items()} == CLOSED_LIST


@pytest.mark.parametrize("capability", CAPABILITIES.values(), ids=lambda c: c.path)
def test_every_capability_can_cross(capability: Capability) -> None:
    prefix = REQUEST.scope.prefix
    assert Scope.from_path(prefix + capability.path) == (REQUEST.scope, capability.path)
    RequestHead("POST", capability.path, REQUEST.scope, "ann")
    assert capability.permission
    assert capability.row in ROWS
    assert capability.row not in NEVER_THERE


@pytest.mark.parametrize("row", ["", "-", "A0", "A13", "B4", *sorted(NEVER_THERE)])
def test_what_belongs_to_no_row_that_crosses_cannot_be_made(row: str) -> None:
    with pytest.raises(ValueError, match="no row that may cross"):
        Capability("/s.S/M", "viewer", "view", row)


def test_only_secrets_reach_every_cluster_and_are_never_replayed() -> None:
    spread = [capability for capability in CAPABILITIES.values() if capability.fan_out]
    assert {capability.row for capability in spread} == {"A9"}
    assert not any(capability.resumable for capability in spread)
