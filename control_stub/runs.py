"""Queries on runs and their phases. Every run has one action, `a0`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from control_stub.phases import ABORTED, FAILED, QUEUED, Report

ROOT_ACTION = "a0"
LOST_AFTER_NS = 60_000_000_000  # a report may have been on its way while a run was assigned
MAX_ATTEMPTS = 100  # an attempt is at most as many rows as there are phases
LOST, REFUSED = "lost", "refused_"  # reasons of the control plane's own FAILED


class RunKey(NamedTuple):
    """What names a run."""

    org: str
    project: str
    domain: str
    run: str


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `runs`; times in nanoseconds since the epoch, 0 for never.

    `offered_at`: its cluster may have heard of it; `assigned_at`: its cluster has said so of the
    current attempt. `attempt`, `phase` and `done` follow from the run's phases alone.
    """

    key: RunKey
    cluster: str
    task_name: str
    task_version: str
    digest: str
    created_by: str
    created_at: int
    updated_at: int
    offered_at: int
    assigned_at: int
    abort_at: int
    abort_by: str
    abort_reason: str
    inputs_uri: str
    max_attempts: int
    attempt: int
    phase: int
    done: bool


class NewRun(NamedTuple):
    """What the control plane knows of a run when it is made."""

    key: RunKey
    cluster: str
    task_name: str
    task_version: str
    digest: str
    created_by: str
    inputs_uri: str = ""
    max_attempts: int = 1


def create(db: sqlite3.Connection, new: NewRun, now_ns: int) -> bool:
    """Insert a run that is queued; False if its name is taken."""
    values = (*new.key, *new[1:], now_ns, now_ns)
    made = db.execute(
        "INSERT OR IGNORE INTO runs (org, project, domain, run, cluster, task_name, task_version,"
        " digest, created_by, inputs_uri, max_attempts, created_at, updated_at, abort_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')",
        values,
    )
    if made.rowcount == 0:
        return False
    _merge(db, new.key, [Report(1, QUEUED, 0, now_ns)], now_ns)
    return True


def get(db: sqlite3.Connection, key: RunKey) -> Run | None:
    """Return a run."""
    row = db.execute(
        "SELECT * FROM runs WHERE org = ? AND project = ? AND domain = ? AND run = ?", key
    ).fetchone()
    return None if row is None else from_row(row)


def reports(db: sqlite3.Connection, key: RunKey) -> list[Report]:
    """Return what is known of a run's phases, in the order of attempts and phases."""
    rows = db.execute(
        "SELECT * FROM phases WHERE org = ? AND project = ? AND domain = ? AND run = ?"
        " AND action = ?",
        (*key, ROOT_ACTION),
    ).fetchall()
    return sorted((_report(row) for row in rows), key=lambda report: report.order)


def open_runs(db: sqlite3.Connection, skip: Iterable[RunKey], limit: int) -> list[Run]:
    """Return runs that a cluster must still be told about, oldest first."""
    skipped = set(skip)
    rows = db.execute(
        "SELECT * FROM runs WHERE done = 0 AND (assigned_at = 0 OR abort_at > 0)"
        " ORDER BY created_at LIMIT ?",
        (limit + len(skipped),),
    )
    found = (from_row(row) for row in rows.fetchall())
    return [run for run in found if run.key not in skipped][:limit]


def offered(db: sqlite3.Connection, key: RunKey, now_ns: int) -> None:
    """Note, before it is sent, that a run is offered to its cluster."""
    _update(db, key, offered_at=now_ns)


def assigned(db: sqlite3.Connection, key: RunKey, attempt: int, now_ns: int) -> None:
    """Note that the cluster has acknowledged an attempt, unless another one has begun since."""
    run = get(db, key)
    if run is not None and run.attempt == attempt:
        _update(db, key, assigned_at=now_ns)


def request_abort(
    db: sqlite3.Connection, key: RunKey, subject: str, reason: str, now_ns: int
) -> None:
    """Note who wants a run to end and why; the first one counts."""
    run = get(db, key)
    if run is not None and not run.done and not run.abort_at:
        _update(db, key, abort_at=now_ns, abort_by=subject, abort_reason=reason, updated_at=now_ns)


def aborted(db: sqlite3.Connection, key: RunKey, now_ns: int) -> None:
    """End a run that its cluster has, or never had, and will not go on with."""
    run = get(db, key)
    assert run is not None
    _merge(db, key, [Report(run.attempt, ABORTED, 0, now_ns)], now_ns)


def refused(db: sqlite3.Connection, key: RunKey, attempt: int, code: str, now_ns: int) -> None:
    """End a run that its cluster does not accept; another attempt would not be either."""
    _update(db, key, max_attempts=attempt)
    report = Report(attempt, FAILED, 0, now_ns, reason=f"{REFUSED}{code}")
    _merge(db, key, [report], now_ns)


def record(
    db: sqlite3.Connection,
    cluster: tuple[str, str],
    events: Sequence[tuple[RunKey, Report]],
    now_ns: int,
) -> set[RunKey]:
    """Merge what an agent reported; return the runs that are its own.

    Args:
        cluster: org and cluster that reported; what it says of others' runs is ignored.
    """
    by_run: dict[RunKey, list[Report]] = {}
    for key, report in events:
        by_run.setdefault(key, []).append(report)
    own = {key for key in by_run if _belongs(db, key, cluster)}
    for key in own:
        _merge(db, key, by_run[key], now_ns)
    return own


def lost(
    db: sqlite3.Connection,
    cluster: tuple[str, str],
    told: Iterable[tuple[RunKey, int]],
    now_ns: int,
) -> set[RunKey]:
    """Fail the attempts that a cluster should have and that its full report does not name.

    Args:
        told: runs and attempts that the report names.
    """
    rows = db.execute(
        "SELECT * FROM runs WHERE done = 0 AND org = ? AND cluster = ? AND assigned_at BETWEEN 1"
        " AND ?",
        (*cluster, now_ns - LOST_AFTER_NS),
    )
    named = set(told)
    gone = [run for run in map(from_row, rows.fetchall()) if (run.key, run.attempt) not in named]
    for run in gone:
        _merge(db, run.key, [Report(run.attempt, FAILED, 0, now_ns, reason=LOST)], now_ns)
    return {run.key for run in gone}


def _belongs(db: sqlite3.Connection, key: RunKey, cluster: tuple[str, str]) -> bool:
    run = get(db, key)
    return run is not None and (run.key.org, run.cluster) == cluster


def _merge(db: sqlite3.Connection, key: RunKey, news: Iterable[Report], now_ns: int) -> None:
    """Add reports to what is known, and begin the next attempt where one is due."""
    run = get(db, key)
    assert run is not None
    known = {(report.attempt, report.phase): report for report in reports(db, key)}
    added = _add(known, (report for report in news if report.attempt <= run.max_attempts))
    current = max(known.values(), key=lambda report: report.order)
    if current.phase == FAILED and current.attempt < run.max_attempts and not run.abort_at:
        current = Report(current.attempt + 1, QUEUED, 0, now_ns)
        added += _add(known, [current])
    for report in added:
        _put(db, key, report)
    if not added:
        return
    if current.attempt != run.attempt:
        _update(db, key, attempt=current.attempt, assigned_at=0)
    _update(db, key, phase=current.phase, done=current.done, updated_at=now_ns)


def _add(known: dict[tuple[int, int], Report], news: Iterable[Report]) -> list[Report]:
    """Put reports into what is known; return those that count."""
    added = []
    for report in news:
        old = known.get((report.attempt, report.phase))
        if old is None or report.replaces(old):
            known[report.attempt, report.phase] = report
            added.append(report)
    return added


def _update(db: sqlite3.Connection, key: RunKey, **columns: int | str) -> None:
    assignments = ", ".join(f"{name} = ?" for name in columns)
    db.execute(
        f"UPDATE runs SET {assignments}"  # noqa: S608 - our own names
        " WHERE org = ? AND project = ? AND domain = ? AND run = ?",
        (*columns.values(), *key),
    )


def _put(db: sqlite3.Connection, key: RunKey, report: Report) -> None:
    known = report.exit_code is not None
    db.execute(
        "INSERT OR REPLACE INTO phases (org, project, domain, run, action, attempt, phase,"
        " sequence, at, exit_code, has_exit_code, pod, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, ROOT_ACTION, *report[:4], report.exit_code or 0, known, report.pod, report.reason),
    )


def _report(row: sqlite3.Row) -> Report:
    exit_code = row["exit_code"] if row["has_exit_code"] else None
    return Report(
        row["attempt"],
        row["phase"],
        row["sequence"],
        row["at"],
        exit_code,
        row["pod"],
        row["reason"],
    )


def from_row(row: sqlite3.Row) -> Run:
    """Make a run of its row."""
    fields = dict(row)
    key = RunKey(*(fields.pop(name) for name in RunKey._fields))
    fields["done"] = bool(fields["done"])
    return Run(key=key, **fields)
