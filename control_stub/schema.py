"""The metadata store's tables.

No column can hold payload: names are checked identifiers, everything else is a number, except the
few columns in USER_TEXT. Those hold what the control plane is meant to know: task specifications
(image, command, environment) and the reason of an abort. They can carry text that a user wrote, and
are stored; say so wherever residency is described. Addresses of objects name inputs, never hold
them.
"""

from __future__ import annotations

VERSION = 2  # of the tables; `upgrades` brings an older database here

_IDENTIFIER = "TEXT NOT NULL CHECK (length({0}) <= 256 AND {0} NOT GLOB '*[^A-Za-z0-9._:@/*-]*')"
_LIST = "TEXT NOT NULL DEFAULT '' CHECK (length({0}) <= 256 AND {0} NOT GLOB '*[^a-z0-9_,]*')"
_ADDRESS = (
    "TEXT NOT NULL DEFAULT '' CHECK"
    " (length({0}) <= 1024 AND {0} NOT GLOB '*[^]A-Za-z0-9._:/@+=[-]*' AND"
    " ({0} = '' OR {0} GLOB 'http*://*' OR {0} GLOB 's3://*'))"
)
_NUMBER = "INTEGER NOT NULL DEFAULT 0"
_TIME = "INTEGER NOT NULL DEFAULT 0"  # nanoseconds since the epoch, 0 for never
_TEXT = "TEXT NOT NULL DEFAULT '' CHECK (length({0}) <= 1024)"
_BLOB = "BLOB NOT NULL CHECK (length({0}) <= 1048576)"
_SECRET = "TEXT NOT NULL CHECK (length({0}) <= 1024)"  # noqa: S105 - a column's type

_RUN = {"org": _IDENTIFIER, "project": _IDENTIFIER, "domain": _IDENTIFIER, "run": _IDENTIFIER}
_RUN_KEY = ("org", "project", "domain", "run")

# table -> (columns, primary key)
TABLES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "signing_keys": ({"kid": _IDENTIFIER, "jwk": _SECRET, "created_at": _TIME}, ("kid",)),
    "projects": (
        {"org": _IDENTIFIER, "project": _IDENTIFIER, "created_at": _TIME},
        ("org", "project"),
    ),
    "domains": ({"org": _IDENTIFIER, "domain": _IDENTIFIER}, ("org", "domain")),
    "clusters": (
        {
            "org": _IDENTIFIER,
            "cluster": _IDENTIFIER,
            "enabled": _NUMBER,
            "state": _IDENTIFIER,
            "since": _TIME,
            "healthy": _NUMBER,
            "reasons": _LIST,
            "heard_at": _TIME,
            "data_url": _ADDRESS,
            "rtt_us": _NUMBER,
            "nodes": _NUMBER,
            "pods_running": _NUMBER,
            "pods_pending": _NUMBER,
            "cpu_millicores": _NUMBER,
            "cpu_used_millicores": _NUMBER,
            "memory_bytes": _NUMBER,
            "memory_used_bytes": _NUMBER,
        },
        ("org", "cluster"),
    ),
    "apps": (
        {
            "client_id": _IDENTIFIER,
            "org": _IDENTIFIER,
            "cluster": _IDENTIFIER,
            "hash": _SECRET,
            "configured": _LIST,
        },
        ("client_id",),
    ),
    "bindings": (
        {
            "subject": _IDENTIFIER,
            "role": _IDENTIFIER,
            "org": _IDENTIFIER,
            "project": _IDENTIFIER,
            "domain": _IDENTIFIER,
        },
        ("subject", "role", "org", "project", "domain"),
    ),
    "revoked": (
        {"org": _IDENTIFIER, "subject": _IDENTIFIER, "not_before_s": _NUMBER},
        ("org", "subject"),
    ),
    "specs": ({"digest": _IDENTIFIER, "spec": _BLOB}, ("digest",)),
    "tasks": (
        {
            "org": _IDENTIFIER,
            "project": _IDENTIFIER,
            "domain": _IDENTIFIER,
            "name": _IDENTIFIER,
            "version": _IDENTIFIER,
            "digest": _IDENTIFIER,
            "deployed_by": _IDENTIFIER,
            "deployed_at": _TIME,
        },
        ("org", "project", "domain", "name", "version"),
    ),
    "runs": (
        {
            **_RUN,
            "cluster": _IDENTIFIER,
            "task_name": _IDENTIFIER,
            "task_version": _IDENTIFIER,
            "digest": _IDENTIFIER,
            "created_by": _IDENTIFIER,
            "created_at": _TIME,
            "updated_at": _TIME,
            "offered_at": _TIME,
            "assigned_at": _TIME,
            "abort_at": _TIME,
            "abort_by": _IDENTIFIER,
            "abort_reason": _TEXT,
            "inputs_uri": _ADDRESS,
            "max_attempts": "INTEGER NOT NULL DEFAULT 1",
            "attempt": _NUMBER,
            "phase": _NUMBER,
            "done": _NUMBER,
        },
        _RUN_KEY,
    ),
    # One row per phase that an attempt has been in, so that their number is bounded.
    "phases": (
        {
            **_RUN,
            "action": _IDENTIFIER,
            "attempt": _NUMBER,
            "phase": _NUMBER,
            "sequence": _NUMBER,
            "at": _TIME,
            "exit_code": _NUMBER,
            "has_exit_code": _NUMBER,
            "pod": _IDENTIFIER,
            "reason": _LIST,
        },
        (*_RUN_KEY, "action", "attempt", "phase"),
    ),
}

USER_TEXT = frozenset({("specs", "spec"), ("runs", "abort_reason")})

INDEXES = (
    "CREATE INDEX IF NOT EXISTS runs_open ON runs (done, created_at)",
    "CREATE INDEX IF NOT EXISTS runs_by_time ON runs (org, project, domain, created_at)",
)


def _create(table: str) -> str:
    columns, key = TABLES[table]
    parts = [f"{name} {kind.format(name)}" for name, kind in columns.items()]
    parts.append(f"PRIMARY KEY ({', '.join(key)})")
    return f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(parts)}) STRICT"


def statements() -> list[str]:
    """Return the DDL that makes an empty database ours; harmless on one that is."""
    return [*map(_create, TABLES), *INDEXES, f"PRAGMA user_version = {VERSION}"]


def upgrades(version: int) -> list[str]:
    """Return the DDL that brings a database of an older version here, to be run in order.

    Raises:
        KeyError: the version is unknown: of a later release, or no database of ours.
    """
    if version in (0, VERSION):
        return []
    made = [
        f"ALTER TABLE {table} ADD COLUMN {name} {TABLES[table][0][name].format(name)}"
        for table, name in _ADDED[version]
    ]
    return [*made, *_CHANGED[version]]


_ADDED = {
    1: (
        *(
            ("clusters", name)
            for name in TABLES["clusters"][0]
            if name not in ("org", "cluster", "enabled", "state", "since", "healthy")
        ),
        ("apps", "configured"),
        ("runs", "inputs_uri"),
        ("runs", "max_attempts"),
        ("phases", "reason"),
    )
}
_CHANGED = {
    1: (
        "ALTER TABLE runs DROP COLUMN error",
        "ALTER TABLE revoked RENAME TO revoked_1",
        _create("revoked"),
        # An agent's subject is `agent:{org}/{cluster}`, everybody else's the name of an app.
        "INSERT INTO revoked SELECT CASE WHEN subject GLOB 'agent:*'"
        " THEN substr(subject, 7, instr(subject, '/') - 7)"
        " ELSE (SELECT org FROM apps WHERE client_id = subject) END, subject, not_before_s"
        " FROM revoked_1 WHERE subject GLOB 'agent:*'"
        " OR subject IN (SELECT client_id FROM apps)",
        "DROP TABLE revoked_1",
    )
}
