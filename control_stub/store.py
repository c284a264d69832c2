"""The metadata store: SQLite, one writer, in a worker thread or (simulated time) in line.

Queries are plain functions on a connection, in `runs.py`, `tasks.py` and `directory.py`; each call
is one transaction.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import trio

from control_stub import schema

P = ParamSpec("P")
T = TypeVar("T")

MEMORY = ":memory:"


class Store:
    """Runs queries in transactions, one at a time.

    Args:
        path: database file (made with mode 0600), or `:memory:`.
        threaded: False runs queries in line, as simulated time needs: a thread's real time would
            pass for no simulated time at all.

    Raises:
        OSError: the file cannot be used.
    """

    def __init__(self, path: str = MEMORY, *, threaded: bool = True) -> None:
        self._threaded = threaded
        self._one_writer = trio.CapacityLimiter(1)  # SQLite has one writer; queue here, not there
        if path != MEMORY:
            os.close(os.open(Path(path), os.O_CREAT | os.O_RDWR, 0o600))
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        try:
            _prepare(self._connection)
        except sqlite3.DatabaseError:
            raise OSError(
                errno.EINVAL,
                f"it is no database of version 1 to {schema.VERSION}; name another file",
            ) from None

    async def call(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `query(connection, ...)` as one transaction and return its result."""
        work = partial(_transaction, self._connection, query, *args, **kwargs)
        if self._threaded:
            return await trio.to_thread.run_sync(work, limiter=self._one_writer)
        await trio.lowlevel.checkpoint()
        return work()

    def close(self) -> None:
        """Close the database; no call may be running."""
        self._connection.close()


def _prepare(connection: sqlite3.Connection) -> None:
    # Write-ahead log: 3.2k writes/s measured; NORMAL loses nothing but the last writes of a machine
    # that crashes.
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"):
        connection.execute(statement)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    try:
        upgrades = schema.upgrades(version)
    except KeyError:
        raise sqlite3.DatabaseError from None
    connection.execute("BEGIN IMMEDIATE")
    for statement in (*upgrades, *schema.statements()):
        connection.execute(statement)
    connection.execute("COMMIT")


def _transaction(
    connection: sqlite3.Connection,
    query: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = query(connection, *args, **kwargs)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result
