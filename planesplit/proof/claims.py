"""Where each kind of payload must be found, may be found, and therefore nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field

from planesplit.proof.canaries import CUT_METADATA, Kind

# Stores: what a place belongs to. A find of no store is a find where no payload may ever be.
DATABASE = "database"
OBJECTS, REGISTRY, IMAGES, LOGS = "objects", "registry", "images", "logs"
CLICKHOUSE, KUBERNETES, SECRETS = "clickhouse", "kubernetes", "secrets"
INJECTED, AGENT_STATE = "injected", "agent state"
JOURNAL, CUSTOMER_JOURNAL = "vendor's journal", "customer's journal"
RELAY_MEMORY, CONTROL_MEMORY = "relay's memory", "control plane's memory"

PLACES = {
    DATABASE: "control plane's database",
    OBJECTS: "customer's object store",
    REGISTRY: "customer's registry",
    IMAGES: "customer's node: unpacked images",
    LOGS: "customer's node: log files",
    CLICKHOUSE: "customer's ClickHouse",
    KUBERNETES: "customer's Kubernetes API",
    SECRETS: "customer's secrets backend",
    INJECTED: "customer's node: a pod's own files",
    AGENT_STATE: "customer's agent",
    JOURNAL: "vendor's journal",
    CUSTOMER_JOURNAL: "customer's journal",
    RELAY_MEMORY: "relay's memory",
    CONTROL_MEMORY: "control plane's memory",
}

# Names are metadata: both sides need them to say of what they speak.
_NAMES = frozenset(
    {OBJECTS, LOGS, CLICKHOUSE, KUBERNETES, AGENT_STATE, JOURNAL, CUSTOMER_JOURNAL, INJECTED}
)
_VENDOR = frozenset({RELAY_MEMORY, CONTROL_MEMORY})


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of one kind of payload.

    Args:
        must: stores where it is to be found, or the looking proves nothing.
        may: further stores where it may be.
    """

    must: frozenset[str] = frozenset()
    may: frozenset[str] = field(default=frozenset())

    def allows(self, store: str) -> bool:
        """Whether a find in this store is as claimed."""
        return store in self.must or store in self.may


def _claim(*must: str, may: frozenset[str] = frozenset()) -> Claim:
    return Claim(frozenset(must), may)


TASK_SPEC, RUN_NAME = Kind("A1", "task spec"), Kind("A2", "run name")
ABORT_REASON = Kind("A3", "abort reason")
INPUT, OUTPUT = Kind("A4", "input"), Kind("A4", "output")
BUNDLE, BUNDLE_NAME = Kind("A5", "code bundle"), Kind("A5", "bundle's file name")
REPORT, LAYER = Kind("A6", "report"), Kind("A7", "image layer")
LOG_LINE, EVENT = Kind("A8", "log line"), Kind("A8", "event message")
SECRET, SECRET_UPDATED = Kind("A9", "secret"), Kind("A9", "secret's new value")
SECRET_SHARED, SECRET_ALONE = Kind("A9", "secret of the org"), Kind("A9", "secret of one cluster")
LABEL, VALUE = Kind("A10", "metric label"), Kind("A10", "metric value")
USER, STATE = Kind("A11", "user name"), Kind("A12", "cluster state")
SIGNATURE = Kind("B", "URL's signature")
# Put into requests that are refused: they are to be nowhere at all.
BAD_TOKEN, BAD_SECRET = Kind("A11", "refused token"), Kind("A9", "secret in a bad request")
BAD_QUERY, BAD_PATH = Kind("A10", "refused query"), Kind("A2", "refused path")
BAD_SPEC = Kind("A1", "refused task spec")

REFUSED = (BAD_TOKEN, BAD_SECRET, BAD_QUERY, BAD_PATH, BAD_SPEC)
ROWS_OF_ERRORS = tuple(sorted({kind.row for kind in REFUSED}))

CLAIMS: dict[Kind, Claim] = {
    TASK_SPEC: _claim(DATABASE, may=frozenset({KUBERNETES, *_VENDOR})),
    RUN_NAME: _claim(DATABASE, may=_NAMES | _VENDOR),
    ABORT_REASON: _claim(DATABASE, may=_VENDOR),
    INPUT: _claim(OBJECTS),
    OUTPUT: _claim(OBJECTS),
    BUNDLE: _claim(OBJECTS),
    BUNDLE_NAME: _claim(OBJECTS),
    REPORT: _claim(OBJECTS),
    LAYER: _claim(REGISTRY, may=frozenset({IMAGES, INJECTED})),
    LOG_LINE: _claim(LOGS, CLICKHOUSE),
    EVENT: _claim(KUBERNETES),
    SECRET: _claim(SECRETS),
    SECRET_UPDATED: _claim(SECRETS),
    SECRET_SHARED: _claim(SECRETS),
    SECRET_ALONE: _claim(SECRETS),
    LABEL: _claim(CLICKHOUSE),
    VALUE: _claim(CLICKHOUSE),
    USER: _claim(DATABASE, may=frozenset({JOURNAL, CUSTOMER_JOURNAL, *_VENDOR})),
    STATE: _claim(DATABASE, may=frozenset({KUBERNETES, *_VENDOR})),
    SIGNATURE: _claim(),
    BAD_SECRET: _claim(),
    BAD_QUERY: _claim(),
    # Heads of requests are no payload: who asks, and for what. They are not wiped from memory, nor
    # is a specification that the control plane itself refuses.
    BAD_TOKEN: _claim(may=_VENDOR),
    BAD_PATH: _claim(may=_VENDOR),
    BAD_SPEC: _claim(may=frozenset({CONTROL_MEMORY})),
}
# What may stay in memory of the vendor's planes: freed memory holds pieces of it, too.
METADATA = frozenset(kind for kind, claim in CLAIMS.items() if claim.may & _VENDOR)


def of_row(row: str) -> dict[Kind, Claim]:
    """Return the claims of one row."""
    return {kind: claim for kind, claim in CLAIMS.items() if kind.row == row}


def allowed(row: str, kind: str, store: str) -> bool:
    """Whether a find is as claimed; a canary of an unknown kind is so nowhere.

    A piece of metadata, its code overwritten, may be where metadata may be: in memory.
    """
    if Kind(row, kind) == CUT_METADATA:
        return store in _VENDOR
    claim = CLAIMS.get(Kind(row, kind))
    return claim is not None and claim.allows(store)
