"""Queries on deployed tasks and on specifications, which are kept once each."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import NamedTuple

from flyteidl2.task import task_definition_pb2


class TaskKey(NamedTuple):
    """What names a version of a task."""

    org: str
    project: str
    domain: str
    name: str
    version: str


class Task(NamedTuple):
    """A deployed task; `deployed_at` in nanoseconds since the epoch."""

    key: TaskKey
    digest: str
    deployed_by: str
    deployed_at: int


def put_spec(db: sqlite3.Connection, spec: task_definition_pb2.TaskSpec) -> str:
    """Keep a specification and return its digest."""
    data = spec.SerializeToString(deterministic=True)
    digest = hashlib.sha256(data).hexdigest()
    db.execute("INSERT OR IGNORE INTO specs (digest, spec) VALUES (?, ?)", (digest, data))
    return digest


def get_spec(db: sqlite3.Connection, digest: str) -> task_definition_pb2.TaskSpec:
    """Return a specification by its digest; an empty one if there is none."""
    row = db.execute("SELECT spec FROM specs WHERE digest = ?", (digest,)).fetchone()
    return task_definition_pb2.TaskSpec.FromString(row["spec"] if row else b"")


def deploy(
    db: sqlite3.Connection,
    key: TaskKey,
    spec: task_definition_pb2.TaskSpec,
    subject: str,
    now_ns: int,
) -> bool:
    """Keep a version of a task; False if that version exists with another specification."""
    digest = put_spec(db, spec)
    db.execute(
        "INSERT OR IGNORE INTO tasks (org, project, domain, name, version, digest, deployed_by,"
        " deployed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, digest, subject, now_ns),
    )
    task = get(db, key)
    return task is not None and task.digest == digest


def get(db: sqlite3.Connection, key: TaskKey) -> Task | None:
    """Return a deployed task."""
    row = db.execute(
        "SELECT * FROM tasks WHERE org = ? AND project = ? AND domain = ? AND name = ?"
        " AND version = ?",
        key,
    ).fetchone()
    return None if row is None else from_row(row)


def from_row(row: sqlite3.Row) -> Task:
    """Make a task of its row."""
    key = TaskKey(*(row[name] for name in TaskKey._fields))
    return Task(key, row["digest"], row["deployed_by"], row["deployed_at"])
