"""The control plane's metadata store: every value of every column of every table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import trio

from planesplit.proof import claims
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage


class Database(Detector):
    """Reads the database as it is, also tables and columns that nobody knows."""

    name = "database"
    blind_to = "what was written and deleted again (the file as bytes is scanned by `files`)"

    async def look(self, stage: Stage) -> list[Find]:
        """Scan column by column."""
        return await trio.to_thread.run_sync(self._look, stage)

    def _look(self, stage: Stage) -> list[Find]:
        finds: list[Find] = []
        tables = columns = 0
        for path in sorted((stage.directory / "control").glob("*.db")):
            for table, column, values in _columns(str(path)):
                columns += 1
                tables += column == "(schema)"
                place = f"{path.name}: {table}.{column}"
                data = b"\0".join(map(_bytes, values))
                finds += stage.canaries.scan(place, data, self.name, claims.DATABASE)
        self.looked = f"{columns - tables} columns of {tables} tables"
        return finds


def _columns(path: str) -> Iterator[tuple[str, str, list[object]]]:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        for table, sql in found.fetchall():
            yield table, "(schema)", [table, sql]
            quoted = '"' + table.replace('"', '""') + '"'
            rows = database.execute(f"SELECT * FROM {quoted}")  # noqa: S608 - a name, quoted
            names = [column[0] for column in rows.description]
            content = rows.fetchall()
            for index, name in enumerate(names):
                yield table, name, [row[index] for row in content]
    finally:
        database.close()


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
