"""The closed list of RPCs that may cross; relay and agent refuse what is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunnel.rows import CROSSING, SIGNED

Opener = Literal["viewer", "control", "agent"]


@dataclass(frozen=True, slots=True)
class Capability:
    """One RPC that may cross.

    Args:
        path: `/{service}/{method}`.
        opened_by: whose exchange it is.
        permission: what the caller must hold in the scope.
        row: row of the white paper that the bytes belong to, see `tunnel.rows`.
        resumable: whether the relay may keep the request and re-open it at the last MARK. Only for
            reads that stream; a write is never replayed.
        fan_out: whether a scope whose cluster is `-` reaches every cluster of the org, each once.

    Raises:
        ValueError: the row is unknown, or one that never crosses: nothing crosses uncounted.
    """

    path: str
    opened_by: Opener
    permission: str
    row: str
    resumable: bool = False
    fan_out: bool = False

    def __post_init__(self) -> None:
        if self.row not in CROSSING:
            raise ValueError(f"'{self.path}' belongs to no row that may cross the tunnel")


_DATA_PROXY = "/flyteidl2.dataproxy.DataProxyService/"
_SECRETS = "/flyteidl2.secret.SecretService/"
_OWN = "/planesplit.v1."

TAIL_LOGS = _DATA_PROXY + "TailLogs"
CREATE_UPLOAD_LOCATION = _DATA_PROXY + "CreateUploadLocation"
CREATE_DOWNLOAD_LINK = _DATA_PROXY + "CreateDownloadLink"
CREATE_DOWNLOAD_LINK_V2 = _OWN + "DownloadService/CreateDownloadLinkV2"
SIGN_DOWNLOAD = _OWN + "ObjectStoreService/SignDownload"
SIGN_UPLOAD = _OWN + "ObjectStoreService/SignUpload"
WATCH_CLUSTER_EVENTS = "/flyteidl2.workflow.RunService/WatchClusterEvents"
LIST_QUERIES = _OWN + "MetricsService/ListQueries"
QUERY = _OWN + "MetricsService/Query"
CREATE_SECRET = _SECRETS + "CreateSecret"
UPDATE_SECRET = _SECRETS + "UpdateSecret"
DELETE_SECRET = _SECRETS + "DeleteSecret"
GET_SECRET = _SECRETS + "GetSecret"
LIST_SECRETS = _SECRETS + "ListSecrets"
ASSIGN = _OWN + "ExecutorService/Assign"
ABORT = _OWN + "ExecutorService/Abort"
PUT_ACCESS = _OWN + "AccessService/PutAccess"
REPORT = _OWN + "ReportService/Report"
REPORT_HEALTH = _OWN + "ReportService/ReportHealth"

CAPABILITIES: dict[str, Capability] = {
    capability.path: capability
    for capability in (
        Capability(TAIL_LOGS, "viewer", "view", "A8", resumable=True),
        # Kubernetes events are in no row of the white paper; they are treated as what they are most
        # like: relayed in memory, not stored.
        Capability(WATCH_CLUSTER_EVENTS, "viewer", "view", "A8", resumable=True),
        Capability(CREATE_UPLOAD_LOCATION, "viewer", "run", SIGNED),
        Capability(CREATE_DOWNLOAD_LINK, "viewer", "view", SIGNED),
        Capability(CREATE_DOWNLOAD_LINK_V2, "viewer", "view", SIGNED),
        Capability(SIGN_DOWNLOAD, "viewer", "view", SIGNED),
        Capability(SIGN_UPLOAD, "viewer", "run", SIGNED),
        Capability(CREATE_SECRET, "viewer", "manage", "A9", fan_out=True),
        Capability(UPDATE_SECRET, "viewer", "manage", "A9", fan_out=True),
        Capability(DELETE_SECRET, "viewer", "manage", "A9", fan_out=True),
        Capability(GET_SECRET, "viewer", "view", "A9", fan_out=True),
        Capability(LIST_SECRETS, "viewer", "view", "A9", fan_out=True),
        Capability(LIST_QUERIES, "viewer", "view", "A10"),
        Capability(QUERY, "viewer", "view", "A10"),
        Capability(ASSIGN, "control", "assign", "A1"),
        Capability(ABORT, "control", "assign", "A3"),
        Capability(PUT_ACCESS, "control", "assign", "A11"),
        Capability(REPORT, "agent", "report", "A3"),
        Capability(REPORT_HEALTH, "agent", "report", "A12"),
    )
}
