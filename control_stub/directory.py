"""Queries on who and what there is: projects, clusters, apps, roles, revocations, signing keys."""

from __future__ import annotations

import hashlib
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


class SigningKey(NamedTuple):
    """A private key of the issuer (JWK), which is never printed."""

    kid: str
    jwk: str
    created_ns: int

    def __repr__(self) -> str:
        return "<SigningKey>"


class Project(NamedTuple):
    """A project and its org's domains."""

    org: str
    project: str
    domains: tuple[str, ...]


class Usage(NamedTuple):
    """What a cluster offers and what its pods use, as its agent counts."""

    nodes: int = 0
    pods_running: int = 0
    pods_pending: int = 0
    cpu_millicores: int = 0
    cpu_used_millicores: int = 0
    memory_bytes: int = 0
    memory_used_bytes: int = 0


class Health(NamedTuple):
    """What an agent says of its cluster; `reasons` are identifiers, why it is not healthy.

    Args:
        data_url: the cluster's own data endpoint, as viewers reach it; empty without one.
    """

    healthy: bool
    reasons: tuple[str, ...] = ()
    data_url: str = ""
    usage: Usage = Usage()


class Cluster(NamedTuple):
    """A cluster: whether it may connect, what the relay says of its tunnel, what its agent says."""

    org: str
    cluster: str
    enabled: bool
    state: ClusterState
    since_ns: int
    health: Health
    heard_ns: int
    rtt_us: int


class Tunnel(NamedTuple):
    """What the relay says of a cluster that is online.

    Args:
        times_ns: since when each of its tunnels is up; another tunnel is another agent.
        server_id: names the start of the agent whose tunnel is the newest; empty if unknown.
    """

    times_ns: tuple[int, ...]
    rtt_us: int = 0
    server_id: str = ""

    @property
    def since_ns(self) -> int:
        """Since when the cluster is online."""
        return min(self.times_ns)


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
    """Keep an app as configured.

    Its configured roles are set when they are new or have changed; else what was bound and unbound
    since stays.
    """
    roles = [Binding(app.client_id, r.role, app.org, r.project, r.domain) for r in app.roles]
    configured = hashlib.sha256(repr((app.org, app.cluster, roles)).encode()).hexdigest()
    row = db.execute("SELECT configured FROM apps WHERE client_id = ?", (app.client_id,)).fetchone()
    db.execute(
        "INSERT OR REPLACE INTO apps (client_id, org, cluster, hash, configured)"
        " VALUES (?, ?, ?, ?, ?)",
        (app.client_id, app.org, app.cluster, secret_hash, configured),
    )
    if row is None or row["configured"] != configured:
        set_bindings(db, app.client_id, roles)


def set_bindings(db: sqlite3.Connection, subject: str, bindings: Iterable[Binding]) -> None:
    """Give a subject exactly these roles."""
    db.execute("DELETE FROM bindings WHERE subject = ?", (subject,))
    for binding in bindings:
        bind(db, binding)


def bind(db: sqlite3.Connection, binding: Binding) -> None:
    """Give a subject a role; it may have it already."""
    db.execute("INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?, ?)", binding)


def unbind(db: sqlite3.Connection, binding: Binding) -> bool:
    """Take a role away; False if the subject did not have exactly this one."""
    done = db.execute(
        "DELETE FROM bindings WHERE subject = ? AND role = ? AND org = ? AND project = ?"
        " AND domain = ?",
        binding,
    )
    return done.rowcount > 0


def homes(db: sqlite3.Connection) -> dict[str, str]:
    """Return the org of every app by its client id."""
    return {row["client_id"]: row["org"] for row in db.execute("SELECT * FROM apps")}


def apps(db: sqlite3.Connection, org: str) -> list[App]:
    """Return an org's apps."""
    rows = db.execute("SELECT * FROM apps WHERE org = ? ORDER BY client_id", (org,))
    return [_app(row) for row in rows]


def get_app(db: sqlite3.Connection, client_id: str) -> App | None:
    """Return an app by its client id."""
    row = db.execute("SELECT * FROM apps WHERE client_id = ?", (client_id,)).fetchone()
    return None if row is None else _app(row)


def _app(row: sqlite3.Row) -> App:
    return App(*(row[name] for name in App._fields))


def bindings(db: sqlite3.Connection) -> list[Binding]:
    """Return every role of every subject."""
    return [Binding(*row) for row in db.execute("SELECT * FROM bindings")]


def revoke(db: sqlite3.Connection, org: str, subject: str, not_before_s: int) -> None:
    """Refuse the tokens of an org's subject that were issued before."""
    db.execute("INSERT OR REPLACE INTO revoked VALUES (?, ?, ?)", (org, subject, not_before_s))


def revoked(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Return (org, subject) -> seconds since the epoch before which its tokens do not count."""
    rows = db.execute("SELECT * FROM revoked")
    return {(row["org"], row["subject"]): row["not_before_s"] for row in rows}


def orgs_of(db: sqlite3.Connection, subject: str) -> list[str]:
    """Return where a subject is known: as an app, or by a role."""
    rows = db.execute(
        "SELECT org FROM apps WHERE client_id = ? UNION SELECT org FROM bindings WHERE subject = ?",
        (subject, subject),
    )
    return [row["org"] for row in rows]


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
    return [_cluster(row) for row in rows]


def _cluster(row: sqlite3.Row) -> Cluster:
    reasons = tuple(row["reasons"].split(",")) if row["reasons"] else ()
    usage = Usage(*(row[name] for name in Usage._fields))
    return Cluster(
        org=row["org"],
        cluster=row["cluster"],
        enabled=bool(row["enabled"]),
        state=row["state"],
        since_ns=row["since"],
        health=Health(bool(row["healthy"]), reasons, row["data_url"], usage),
        heard_ns=row["heard_at"],
        rtt_us=row["rtt_us"],
    )


def set_tunnels(
    db: sqlite3.Connection, online: Mapping[tuple[str, str], Tunnel], now_ns: int
) -> list[tuple[str, str, ClusterState]]:
    """Note which clusters have a tunnel; return those whose state changed.

    A cluster that was never seen stays CREATED; one that was and is not there is LOST.
    """
    changes: list[tuple[str, str, ClusterState]] = []
    for cluster in clusters(db):
        key = (cluster.org, cluster.cluster)
        tunnel = online.get(key)
        state: ClusterState = "ONLINE" if tunnel else "LOST"
        if tunnel is not None and tunnel.rtt_us:
            _update_cluster(db, *key, rtt_us=tunnel.rtt_us)
        if cluster.state == state or (cluster.state == "CREATED" and tunnel is None):
            continue
        _update_cluster(db, *key, state=state, since=tunnel.since_ns if tunnel else now_ns)
        changes.append((*key, state))
    return changes


def set_health(db: sqlite3.Connection, org: str, cluster: str, health: Health, now_ns: int) -> bool:
    """Note what an agent says of its cluster; whether it fares otherwise than before."""
    before = [known.health for known in clusters(db, org) if known.cluster == cluster]
    _update_cluster(
        db,
        org,
        cluster,
        healthy=health.healthy,
        reasons=",".join(health.reasons),
        data_url=health.data_url,
        heard_at=now_ns,
        **health.usage._asdict(),
    )
    return [known[:3] for known in before] != [health[:3]]  # whatever its usage


def heard(db: sqlite3.Connection, org: str, cluster: str, now_ns: int) -> None:
    """Note that an agent has reported something."""
    _update_cluster(db, org, cluster, heard_at=now_ns)


def set_enabled(db: sqlite3.Connection, org: str, cluster: str, enabled: bool) -> Cluster | None:
    """Let a cluster connect, or not; None if there is none."""
    _update_cluster(db, org, cluster, enabled=enabled)
    return next((c for c in clusters(db, org) if c.cluster == cluster), None)


def _update_cluster(db: sqlite3.Connection, org: str, cluster: str, **columns: int | str) -> None:
    assignments = ", ".join(f"{name} = ?" for name in columns)
    db.execute(
        f"UPDATE clusters SET {assignments} WHERE org = ? AND cluster = ?",  # noqa: S608 - our own
        (*columns.values(), org, cluster),
    )


def put_signing_key(db: sqlite3.Connection, kid: str, jwk: str, now_ns: int) -> None:
    """Keep a private key of the issuer, so that tokens outlive a restart."""
    db.execute("INSERT INTO signing_keys VALUES (?, ?, ?)", (kid, jwk, now_ns))


def drop_signing_key(db: sqlite3.Connection, kid: str) -> None:
    """Forget a private key of the issuer."""
    db.execute("DELETE FROM signing_keys WHERE kid = ?", (kid,))


def signing_keys(db: sqlite3.Connection) -> list[SigningKey]:
    """Return the issuer's private keys, oldest first."""
    rows = db.execute("SELECT kid, jwk, created_at FROM signing_keys ORDER BY created_at, kid")
    return [SigningKey(*row) for row in rows]
