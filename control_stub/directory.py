"""Queries on who and what there is: projects, clusters, apps, roles, revocations, signing keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from control_stub.settings import AppSettings, OrgSettings

ClusterState = Literal["CREATED", "ONLINE", "LOST"]


class Binding(NamedTuple):
    """A role that a subject has in an org's project and domain; `*` is all of them."""

    subject: str
    role: str
    org: str
    project: str
    domain: str


class App(NamedTuple):
    """A client of the token endpoint; `cluster` is empty unless it is that cluster's agent."""

    client_id: str
    org: str
    cluster: str
    hash: str


class Project(NamedTuple):
    """A project and its org's domains."""

    org: str
    project: str
    domains: tuple[str, ...]


class Cluster(NamedTuple):
    """A cluster: whether it may connect, and what the relay says of its tunnel."""

    org: str
    cluster: str
    enabled: bool
    state: ClusterState
    since_ns: int
    healthy: bool


def bootstrap(db: sqlite3.Connection, orgs: Iterable[OrgSettings], now_ns: int) -> None:
    """Make what the configuration names and is not there yet."""
    for org in orgs:
        db.executemany(
            "INSERT OR IGNORE INTO projects (org, project, created_at) VALUES (?, ?, ?)",
            [(org.name, project, now_ns) for project in org.projects],
        )
        db.executemany(
            "INSERT OR IGNORE INTO domains (org, domain) VALUES (?, ?)",
            [(org.name, domain) for domain in org.domains],
        )
        db.executemany(
            "INSERT OR IGNORE INTO clusters (org, cluster, enabled, state) VALUES (?, ?, 1,"
            " 'CREATED')",
            [(org.name, cluster) for cluster in org.clusters],
        )


def put_app(db: sqlite3.Connection, app: AppSettings, secret_hash: str) -> None:
    """Keep an app as configured, with exactly its configured roles."""
    db.execute(
        "INSERT OR REPLACE INTO apps (client_id, org, cluster, hash) VALUES (?, ?, ?, ?)",
        (app.client_id, app.org, app.cluster, secret_hash),
    )
    bind(
        db,
        app.client_id,
        [Binding(app.client_id, r.role, app.org, r.project, r.domain) for r in app.roles],
    )


def bind(db: sqlite3.Connection, subject: str, bindings: Iterable[Binding]) -> None:
    """Give a subject exactly these roles."""
    db.execute("DELETE FROM bindings WHERE subject = ?", (subject,))
    db.executemany("INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?, ?)", list(bindings))


def get_app(db: sqlite3.Connection, client_id: str) -> App | None:
    """Return an app by its client id."""
    row = db.execute("SELECT * FROM apps WHERE client_id = ?", (client_id,)).fetchone()
    return None if row is None else App(*row)


def bindings(db: sqlite3.Connection) -> list[Binding]:
    """Return every role of every subject."""
    return [Binding(*row) for row in db.execute("SELECT * FROM bindings")]


def revoke(db: sqlite3.Connection, subject: str, not_before_s: int) -> None:
    """Refuse the tokens of a subject that were issued before."""
    db.execute("INSERT OR REPLACE INTO revoked VALUES (?, ?)", (subject, not_before_s))


def revoked(db: sqlite3.Connection) -> dict[str, int]:
    """Return subject -> seconds since the epoch before which its tokens do not count."""
    return {row["subject"]: row["not_before_s"] for row in db.execute("SELECT * FROM revoked")}


def projects(db: sqlite3.Connection, org: str) -> list[Project]:
    """Return an org's projects."""
    rows = db.execute("SELECT * FROM projects WHERE org = ? ORDER BY created_at, project", (org,))
    domains = tuple(
        row["domain"]
        for row in db.execute("SELECT domain FROM domains WHERE org = ? ORDER BY domain", (org,))
    )
    return [Project(row["org"], row["project"], domains) for row in rows]


def clusters(db: sqlite3.Connection, org: str | None = None) -> list[Cluster]:
    """Return the clusters of an org, or all."""
    rows = db.execute(
        "SELECT * FROM clusters WHERE ? IS NULL OR org = ? ORDER BY org, cluster", (org, org)
    )
    return [
        Cluster(
            r["org"], r["cluster"], bool(r["enabled"]), r["state"], r["since"], bool(r["healthy"])
        )
        for r in rows
    ]


def set_tunnels(
    db: sqlite3.Connection, online: Mapping[tuple[str, str], int]
) -> list[tuple[str, str, ClusterState]]:
    """Note which clusters have a tunnel, since when (ns); return those whose state changed.

    A cluster that was never seen stays CREATED; one that was and is not there is LOST.
    """
    changes: list[tuple[str, str, ClusterState]] = []
    for cluster in clusters(db):
        key = (cluster.org, cluster.cluster)
        there = key in online
        state: ClusterState = "ONLINE" if there else "LOST"
        if cluster.state == state or (cluster.state == "CREATED" and not there):
            continue
        db.execute(
            "UPDATE clusters SET state = ?, since = ? WHERE org = ? AND cluster = ?",
            (state, online.get(key, 0), *key),
        )
        changes.append((*key, state))
    return changes


def set_healthy(db: sqlite3.Connection, org: str, cluster: str, healthy: bool) -> None:
    """Note what an agent says of its own health."""
    db.execute(
        "UPDATE clusters SET healthy = ? WHERE org = ? AND cluster = ?", (healthy, org, cluster)
    )


def put_signing_key(db: sqlite3.Connection, kid: str, jwk: str, now_ns: int) -> None:
    """Keep a private key of the issuer, so that tokens outlive a restart."""
    db.execute("INSERT INTO signing_keys VALUES (?, ?, ?)", (kid, jwk, now_ns))


def signing_keys(db: sqlite3.Connection) -> list[str]:
    """Return the issuer's private keys (JWK), oldest first."""
    rows = db.execute("SELECT jwk FROM signing_keys ORDER BY created_at, kid")
    return [row["jwk"] for row in rows]
