"""The store: phases merge the same in any order and never go backwards; no column holds payload."""

from __future__ import annotations

import itertools
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from control_stub import directory, runs, schema
from control_stub.directory import Tunnel
from control_stub.phases import FAILED, RANKS, RUNNING, SUCCEEDED, Report
from control_stub.runs import NewRun, RunKey
from control_stub.settings import OrgSettings
from control_stub.store import Store

KEY = RunKey("acme", "p1", "development", "r")
NEW = NewRun(KEY, "c1", "ml.train", "v1", "digest", "alice")
RETRIED = NEW._replace(max_attempts=3)
CLUSTER = ("acme", "c1")

REPORTS = st.builds(
    Report,
    attempt=st.integers(1, 3),
    phase=st.sampled_from(sorted(RANKS)),
    sequence=st.integers(0, 6),
    at_ns=st.integers(0, 10).map(lambda s: s * 1_000_000_000),
    exit_code=st.none() | st.integers(-1, 2),
    pod=st.sampled_from(["", "pod-a", "pod-b"]),
    reason=st.sampled_from(["", "lost"]),
)


@pytest.fixture
def db() -> sqlite3.Connection:
    return _database()


def _database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    for statement in schema.statements():
        connection.execute(statement)
    return connection


def _started() -> sqlite3.Connection:
    connection = _database()
    assert runs.create(connection, NEW, 0)
    return connection


def _tell(connection: sqlite3.Connection, reports: Sequence[Report], now_ns: int = 1) -> None:
    runs.record(connection, CLUSTER, [(KEY, report) for report in reports], now_ns)


def _state(connection: sqlite3.Connection) -> tuple[Any, ...]:
    run = runs.get(connection, KEY)
    assert run is not None
    return run.attempt, run.phase, run.done, runs.reports(connection, KEY)


@st.composite
def tellings(draw: Any) -> tuple[list[list[Report]], list[list[Report]]]:
    """Two ways to tell the same set of reports: order, repetition and batches differ."""
    reports = draw(st.lists(REPORTS, max_size=12))

    def telling() -> list[list[Report]]:
        told = draw(st.permutations(reports + draw(st.lists(st.sampled_from(reports or [None])))))
        told = [report for report in told if report is not None]
        cuts = sorted(draw(st.lists(st.integers(0, len(told)), max_size=3)))
        places = [0, *cuts, len(told)]
        return [told[a:b] for a, b in itertools.pairwise(places)]

    return telling(), telling()


@given(tellings())
def test_any_order_and_repetition_gives_the_same_state(
    told: tuple[list[list[Report]], list[list[Report]]],
) -> None:
    states = []
    for telling in told:
        connection = _started()
        for batch in telling:
            _tell(connection, batch)
        states.append(_state(connection))
    assert states[0] == states[1]


@given(st.lists(REPORTS, max_size=12))
def test_phases_never_go_backwards(reports: list[Report]) -> None:
    connection = _started()
    before = (1, 0)
    for report in reports:
        _tell(connection, [report])
        attempt, phase, *_ = _state(connection)
        assert (attempt, RANKS[phase]) >= before
        before = (attempt, RANKS[phase])


@given(st.lists(REPORTS, max_size=12))
def test_telling_everything_again_changes_nothing(reports: list[Report]) -> None:
    connection = _started()
    _tell(connection, reports, now_ns=1)
    before = runs.get(connection, KEY), _state(connection)
    _tell(connection, reports, now_ns=2)
    assert (runs.get(connection, KEY), _state(connection)) == before


def test_a_mutant_that_forgets_the_rank_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    late = [Report(1, SUCCEEDED, 5, 5), Report(1, RUNNING, 6, 4)]
    connection = _started()
    _tell(connection, late)
    assert _state(connection)[1] == SUCCEEDED
    monkeypatch.setattr(Report, "order", property(lambda r: (r.attempt, r.sequence)))
    connection = _started()
    _tell(connection, late)
    assert _state(connection)[1] == RUNNING


def test_a_report_of_another_cluster_is_ignored(db: sqlite3.Connection) -> None:
    runs.create(db, NEW, 0)
    before = _state(db)
    for stranger in (("acme", "c2"), ("globex", "c1")):
        assert runs.record(db, stranger, [(KEY, Report(1, RUNNING, 1, 1))], 1) == set()
    assert runs.record(db, CLUSTER, [(KEY._replace(run="x"), Report(1, RUNNING, 1, 1))], 1) == set()
    assert _state(db) == before


def test_rows_of_an_attempt_are_bounded_by_the_number_of_phases(db: sqlite3.Connection) -> None:
    runs.create(db, NEW, 0)
    for sequence in range(100):
        _tell(db, [Report(1, phase, sequence, sequence) for phase in RANKS])
    assert len(runs.reports(db, KEY)) == len(RANKS)


def test_first_abort_counts_and_an_ended_run_takes_none(db: sqlite3.Connection) -> None:
    runs.create(db, NEW, 0)
    runs.request_abort(db, KEY, "alice", "first", 5)
    runs.request_abort(db, KEY, "carol", "second", 6)
    run = runs.get(db, KEY)
    assert run is not None
    assert (run.abort_by, run.abort_reason, run.abort_at) == ("alice", "first", 5)
    other = NEW._replace(key=KEY._replace(run="ended"))
    runs.create(db, other, 0)
    runs.record(db, CLUSTER, [(other.key, Report(1, SUCCEEDED, 1, 1))], 1)
    runs.request_abort(db, other.key, "alice", "late", 7)
    ended = runs.get(db, other.key)
    assert ended is not None
    assert ended.abort_at == 0


def test_cluster_states(db: sqlite3.Connection) -> None:
    directory.bootstrap(db, [OrgSettings("acme", ("p1",), ("d",), ("c1", "c2"))], 0)
    assert {c.state for c in directory.clusters(db)} == {"CREATED"}
    online = {CLUSTER: Tunnel((7,), 150)}
    assert directory.set_tunnels(db, online, 8) == [("acme", "c1", "ONLINE")]
    assert directory.set_tunnels(db, online, 9) == []
    assert directory.set_tunnels(db, {}, 10) == [("acme", "c1", "LOST")]
    states = {c.cluster: (c.state, c.since_ns) for c in directory.clusters(db, "acme")}
    assert states == {"c1": ("LOST", 10), "c2": ("CREATED", 0)}


def test_every_column_is_an_identifier_a_number_or_declared() -> None:
    connection = _database()
    found = set()
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        assert table in schema.TABLES
        for column in connection.execute(f"PRAGMA table_info({table})"):
            found.add((table, column["name"]))
            if column["type"] != "INTEGER" and not _is_secret(table, column["name"]):
                holds = _accepts_text(table, column["name"])
                assert holds == ((table, column["name"]) in schema.USER_TEXT)
    assert found >= schema.USER_TEXT


def _is_secret(table: str, column: str) -> bool:
    return (table, column) in {("signing_keys", "jwk"), ("apps", "hash")}


def _accepts_text(table: str, column: str) -> bool:
    """Whether a column takes a line of a log."""
    connection = _database()
    columns, _ = schema.TABLES[table]
    values: dict[str, Any] = {
        name: 0 if "INTEGER" in kind else b"" if "BLOB" in kind else ""
        for name, kind in columns.items()
    }
    line = "2026-11-22 loss=0.1 done\n"
    values[column] = line.encode() if "BLOB" in columns[column] else line
    places = ", ".join("?" * len(values))
    try:
        connection.execute(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", list(values.values())
        )
    except sqlite3.IntegrityError:
        return False
    return True


async def test_a_failed_query_leaves_nothing_behind() -> None:
    store = Store(threaded=False)

    def fails(db: sqlite3.Connection) -> None:
        runs.create(db, NEW, 0)
        raise KeyError

    with pytest.raises(KeyError):
        await store.call(fails)
    assert await store.call(runs.get, KEY) is None
    store.close()


@pytest.mark.parametrize("content", [b"not a database" * 100, None])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "control.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(OSError, match="no database of version 1 to 2"):
        Store(str(path))


async def test_threads_write_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    store = Store(str(path))
    async with trio.open_nursery() as nursery:
        for number in range(20):
            new = NEW._replace(key=KEY._replace(run=f"r{number}"))
            nursery.start_soon(store.call, runs.create, new, number)
    found = await store.call(runs.open_runs, [], 100)
    assert sorted(run.key.run for run in found) == sorted(f"r{n}" for n in range(20))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()


async def test_open_runs_are_those_a_cluster_must_hear_of() -> None:
    store = Store(threaded=False)
    keys = [KEY._replace(run=name) for name in ("new", "told", "abort", "over")]
    for key in keys:
        await store.call(runs.create, NEW._replace(key=key), 1)
    for key in keys[1:3]:
        await store.call(runs.assigned, key, 1, 2)
    await store.call(runs.request_abort, keys[2], "alice", "", 3)
    await store.call(runs.aborted, keys[3], 5)
    found = await store.call(runs.open_runs, [], 10)
    assert {run.key.run for run in found} == {"new", "abort"}
    assert [r.key.run for r in await store.call(runs.open_runs, [keys[0]], 10)] == ["abort"]
    store.close()


def test_a_full_report_ends_what_it_does_not_name(db: sqlite3.Connection) -> None:
    minute = 60_000_000_000
    named, lost, fresh, elsewhere = (KEY._replace(run=name) for name in ("n", "l", "f", "e"))
    for key in (named, lost, fresh, elsewhere):
        cluster = "c2" if key == elsewhere else "c1"
        runs.create(db, NEW._replace(key=key, cluster=cluster), 0)
        runs.assigned(db, key, 1, 5 * minute if key == fresh else 1)
    assert runs.lost(db, CLUSTER, {(named, 1)}, 5 * minute) == {lost}
    assert runs.lost(db, CLUSTER, {(named, 1)}, 5 * minute) == set()
    run = runs.get(db, lost)
    assert run is not None
    assert (run.phase, runs.reports(db, lost)[-1].reason) == (FAILED, runs.LOST)
    for key in (named, fresh, elsewhere):
        run = runs.get(db, key)
        assert run is not None
        assert not run.done


# A database as the first release made it: what an upgrade must bring along.
FIRST = """
CREATE TABLE clusters (org TEXT NOT NULL, cluster TEXT NOT NULL, enabled INTEGER NOT NULL DEFAULT 0,
 state TEXT NOT NULL, since INTEGER NOT NULL DEFAULT 0, healthy INTEGER NOT NULL DEFAULT 0,
 PRIMARY KEY (org, cluster)) STRICT;
CREATE TABLE apps (client_id TEXT NOT NULL, org TEXT NOT NULL, cluster TEXT NOT NULL,
 hash TEXT NOT NULL, PRIMARY KEY (client_id)) STRICT;
CREATE TABLE revoked (subject TEXT NOT NULL, not_before_s INTEGER NOT NULL DEFAULT 0,
 PRIMARY KEY (subject)) STRICT;
CREATE TABLE runs (org TEXT NOT NULL, project TEXT NOT NULL, domain TEXT NOT NULL,
 run TEXT NOT NULL, cluster TEXT NOT NULL, task_name TEXT NOT NULL, task_version TEXT NOT NULL,
 digest TEXT NOT NULL, created_by TEXT NOT NULL, created_at INTEGER NOT NULL DEFAULT 0,
 updated_at INTEGER NOT NULL DEFAULT 0, offered_at INTEGER NOT NULL DEFAULT 0,
 assigned_at INTEGER NOT NULL DEFAULT 0, abort_at INTEGER NOT NULL DEFAULT 0,
 abort_by TEXT NOT NULL, abort_reason TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT ''
 CHECK (length(error) <= 1024), attempt INTEGER NOT NULL DEFAULT 0,
 phase INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0,
 PRIMARY KEY (org, project, domain, run)) STRICT;
CREATE TABLE phases (org TEXT NOT NULL, project TEXT NOT NULL, domain TEXT NOT NULL,
 run TEXT NOT NULL, action TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
 phase INTEGER NOT NULL DEFAULT 0, sequence INTEGER NOT NULL DEFAULT 0,
 at INTEGER NOT NULL DEFAULT 0, exit_code INTEGER NOT NULL DEFAULT 0,
 has_exit_code INTEGER NOT NULL DEFAULT 0, pod TEXT NOT NULL,
 PRIMARY KEY (org, project, domain, run, action, attempt, phase)) STRICT;
INSERT INTO clusters VALUES ('acme', 'c1', 1, 'LOST', 7, 1);
INSERT INTO apps VALUES ('alice', 'acme', '', 'hash'), ('agent-c1', 'acme', 'c1', 'hash');
INSERT INTO revoked VALUES ('alice', 11), ('agent:acme/c1', 12), ('forgotten', 13);
INSERT INTO runs (org, project, domain, run, cluster, task_name, task_version, digest, created_by,
 abort_by, attempt, phase) VALUES
 ('acme', 'p1', 'development', 'r', 'c1', 't', 'v', 'd', 'alice', '', 1, 4);
INSERT INTO phases (org, project, domain, run, action, attempt, phase, sequence, pod) VALUES
 ('acme', 'p1', 'development', 'r', 'a0', 1, 4, 4, 'pod');
PRAGMA user_version = 1;
"""


async def test_a_database_of_the_first_release_is_brought_along(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    connection.close()
    for _ in range(2):  # and opens again as one of today's
        store = Store(str(path), threaded=False)
        run = await store.call(runs.get, KEY)
        assert run is not None
        assert (run.phase, run.max_attempts, run.inputs_uri) == (RUNNING, 1, "")
        assert [r.pod for r in await store.call(runs.reports, KEY)] == ["pod"]
        assert await store.call(directory.revoked) == {
            ("acme", "alice"): 11,
            ("acme", "agent:acme/c1"): 12,
        }
        [cluster] = await store.call(directory.clusters)
        assert (cluster.state, cluster.health.healthy, cluster.health.reasons) == ("LOST", True, ())
        store.close()


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    return {
        table: {column["name"] for column in connection.execute(f"PRAGMA table_info({table})")}
        for table in schema.TABLES
    }


def test_an_upgrade_leaves_no_column_out() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.executescript(FIRST)
    for statement in (*schema.upgrades(1), *schema.statements()):
        connection.execute(statement)
    assert _columns(connection) == _columns(_database())
