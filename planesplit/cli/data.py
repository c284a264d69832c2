"""Commands about what the customer's plane holds, and what of it crosses."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from cyclopts import Parameter

from planesplit.cli.options import ReadyFile, app


@app.command
async def residency(
    *,
    json: Annotated[bool, Parameter(negative="", help="One JSON object.")] = False,
    watch: Annotated[
        bool, Parameter(negative="", help="Again every second, until Ctrl-C.")
    ] = False,
    ready_file: ReadyFile = None,
) -> int:
    """Show the white paper's residency table with each hop's live byte counters."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.residency import residency as command

    return await settle(partial(command, json=json, watch=watch, ready_file=ready_file))


@app.command
async def query(
    name: Annotated[str | None, Parameter(help="The query's name; --list shows all.")] = None,
    /,
    *,
    run: Annotated[str, Parameter(help="The run's name.")] = "",
    param: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A parameter as NAME=VALUE; may be repeated."),
    ] = (),
    format: Annotated[  # noqa: A002 - the option's name
        Literal["table", "json", "native"] | None,
        Parameter(
            help="Table, JSON lines, or ClickHouse's Native; table on a terminal, else json."
        ),
    ] = None,
    plot: Annotated[
        bool | None, Parameter(help="A chart below the table; by default on a terminal.")
    ] = None,
    list: Annotated[  # noqa: A002 - the option's name
        bool, Parameter(negative="", help="List the queries that there are.")
    ] = False,
    ready_file: ReadyFile = None,
) -> int:
    """Query a run's metrics in the customer's ClickHouse, through the relay."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.query import query as command

    return await settle(
        partial(
            command,
            name,
            run=run,
            parameters=param,
            format=format,
            plot=plot,
            listed=list,
            ready_file=ready_file,
        )
    )
