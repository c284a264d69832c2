"""`planesplit query`: metrics of a run, as a table with a chart, as JSON lines, or as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from planesplit.commands.outcome import OK, UsageError
from planesplit.commands.output import Output, as_json, as_table, for_terminal, progress, stdout
from planesplit.connect_client import ConnectError
from planesplit.metrics import Lines, list_queries, open_query
from planesplit.plot import Point, chart
from planesplit.ready import find
from planesplit.viewer import Viewer, open_viewer
from tunnel.messages.planesplit_v1_pb2 import NamedQuery, QueryColumn

BATCH_ROWS = 1_000  # of a table: so many are held and aligned together
MAX_POINTS = 200_000  # of a chart: what is beyond is not drawn
MAX_SERIES = 12  # of a chart
TIME = "time"
LISTED = ("query", "parameters", "columns", "description")

Row = dict[str, Any]


async def query(
    name: str | None,
    *,
    run: str,
    parameters: Sequence[str],
    format: str | None,  # noqa: A002 - the option's name
    plot: bool | None,
    listed: bool,
    ready_file: Path | None,
) -> int:
    """Run a named query and print its result, or list the queries there are.

    Raises:
        UsageError: the options do not go together.
        ConnectError: the query failed; what was printed is then not the whole result.
    """
    if listed == (name is not None):
        raise UsageError("give the name of a query, or --list")
    if name is not None and not run:
        raise UsageError("--run is missing; 'planesplit get runs' lists runs")
    values = _parameters(parameters)
    async with stdout() as output:
        chosen = format or ("table" if output.terminal else "json")
        if chosen == "native" and output.terminal and not listed:
            raise UsageError("--format native is no text; send stdout to a file or a program")
        async with open_viewer(find(ready_file)) as viewer:
            if name is None:
                await output.write(_listing(await list_queries(viewer, run), chosen))
                return OK
            if chosen == "table":
                drawn = output.terminal if plot is None else plot
                return await _table(viewer, name, run, values, output, plot=drawn)
            return await _raw(viewer, name, run, values, output, native=chosen == "native")


def _parameters(given: Sequence[str]) -> dict[str, str]:
    values = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals or key in values:
            raise UsageError(f"--param '{text}' is no NAME=VALUE, or its name comes twice")
        values[key] = value
    return values


def _listing(queries: Sequence[NamedQuery], chosen: str) -> str:
    """Return what may be asked for: a table, or one JSON object a line."""
    if chosen == "table":
        rows = [
            {
                "query": query.name,
                "parameters": ", ".join(parameter.name for parameter in query.parameters),
                "columns": ", ".join(column.name for column in query.columns),
                "description": query.description,
            }
            for query in queries
        ]
        return as_table(rows, LISTED)
    return "".join(as_json(_as_record(query)) for query in queries)


def _as_record(query: NamedQuery) -> dict[str, Any]:
    return {
        "name": query.name,
        "description": query.description,
        "parameters": [
            {
                "name": p.name,
                "type": p.type,
                "description": p.description,
                "default": p.default,
                "required": p.required,
            }
            for p in query.parameters
        ],
        "columns": [{"name": c.name, "type": c.type, "unit": c.unit} for c in query.columns],
    }


async def _raw(
    viewer: Viewer, name: str, run: str, values: Mapping[str, str], output: Output, *, native: bool
) -> int:
    """Print the stream's bytes; on a terminal without control characters."""
    any_came = False
    try:
        async with open_query(viewer, name, run, values, native=native) as pieces:
            lines = Lines()
            async for piece in pieces:
                any_came = True
                if not output.terminal:
                    await output.write(piece)
                    continue
                for line in lines.feed(piece):
                    await output.write(for_terminal(line.decode(), colour=False) + "\n")
    except ConnectError:
        _tell_incomplete(any_came)
        raise
    return OK


async def _table(
    viewer: Viewer, name: str, run: str, values: Mapping[str, str], output: Output, *, plot: bool
) -> int:
    described = {query.name: query for query in await list_queries(viewer, run)}.get(name)
    columns = list(described.columns) if described else []  # the agent refuses what is unknown
    table, graph = _Table(columns, output), _Graph(columns)
    try:
        async with open_query(viewer, name, run, values) as pieces:
            async for row in _rows(pieces):
                await table.add(row)
                if plot:
                    graph.add(row)
    except ConnectError:
        _tell_incomplete(table.rows > 0)
        raise
    await table.finish()
    if plot:
        await output.write(graph.draw(colour=output.terminal))
    return OK


def _tell_incomplete(any_came: bool) -> None:
    if any_came:
        progress("the result is not complete")


async def _rows(pieces: AsyncIterator[bytes]) -> AsyncIterator[Row]:
    lines = Lines()
    async for piece in pieces:
        for line in lines.feed(piece):
            yield json.loads(line)


class _Table:
    """Prints rows below a header, aligned in batches, so that memory is bounded."""

    def __init__(self, columns: Sequence[QueryColumn], output: Output) -> None:
        self._names = [column.name for column in columns]
        self._headers = [_header(column) for column in columns]
        self._output = output
        self._held: list[Row] = []
        self.rows = 0

    async def add(self, row: Row) -> None:
        """Take one row."""
        self._held.append({name: _shown(row.get(name)) for name in self._names})
        self.rows += 1
        if len(self._held) == BATCH_ROWS:
            await self._print()

    async def finish(self) -> None:
        """Print what is held."""
        if self._held:
            await self._print()
        if not self.rows:
            progress("no rows: the run has no such metrics, or none in this time")

    async def _print(self) -> None:
        first = self.rows == len(self._held)
        await self._output.write(as_table(self._held, self._names, self._headers, headed=first))
        self._held.clear()


def _header(column: QueryColumn) -> str:
    return column.name.upper() + (f" [{column.unit}]" if column.unit else "")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return for_terminal(str(value), colour=False) if value is not None else ""


class _Graph:
    """Collects a chart for each unit: what has one, over time, for each value of text columns."""

    def __init__(self, columns: Sequence[QueryColumn]) -> None:
        over_time = bool(columns) and columns[0].name == TIME
        self._drawn = [c for c in columns if c.unit] if over_time else []
        self._texts = [c.name for c in columns if not c.unit and c.name != TIME]
        self._charts: dict[str, dict[str, list[Point]]] = {c.unit: {} for c in self._drawn}
        self._points = 0

    def add(self, row: Row) -> None:
        """Take one row."""
        if not self._drawn or self._points >= MAX_POINTS:
            return
        at = datetime.fromisoformat(row[TIME]).timestamp()
        of = " ".join(for_terminal(str(row[name]), colour=False) for name in self._texts)
        for column in self._drawn:
            lines = self._charts[column.unit]
            name = f"{column.name} {of}".rstrip()
            value = row[column.name]
            if value is not None and (name in lines or len(lines) < MAX_SERIES):
                lines.setdefault(name, []).append((at, float(value)))
                self._points += 1

    def draw(self, *, colour: bool) -> str:
        """Return the charts."""
        width = shutil.get_terminal_size().columns
        charts = [
            chart(lines, unit=unit, width=width, colour=colour)
            for unit, lines in self._charts.items()
        ]
        return "".join(f"\n{text}" for text in charts if text)
