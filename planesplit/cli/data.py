"""Commands about what the customer's plane holds, and what of it crosses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from planesplit.cli.options import Output, ReadyFile, app, get, put


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


@put.command(name="bundle")
async def put_bundle(
    file: Annotated[Path, Parameter(help="A code bundle, e.g. a .tar.gz.")],
    /,
    *,
    ready_file: ReadyFile = None,
) -> int:
    """Upload a code bundle to the customer's object store by a presigned URL; print its URI."""
    from planesplit.commands.objects import put_bundle as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, file, ready_file=ready_file))


@get.command(name="report")
async def get_report(
    run: Annotated[str, Parameter(help="The run's name.")],
    /,
    *,
    attempt: Annotated[int, Parameter(help="Of its action; 0 is the latest.")] = 0,
    output: Annotated[Path | None, Parameter(help="Write it to this file.")] = None,
    open: Annotated[  # noqa: A002 - the option's name
        bool, Parameter(negative="", help="Show it in a browser.")
    ] = False,
    ready_file: ReadyFile = None,
) -> int:
    """Print a run's HTML report, fetched from the customer's object store by a presigned URL."""
    from planesplit.commands.objects import get_report as command
    from planesplit.commands.outcome import settle

    return await settle(
        partial(command, run, attempt=attempt, output=output, show=open, ready_file=ready_file)
    )


@get.command(name="io")
async def get_io(
    run: Annotated[str, Parameter(help="The run's name.")],
    /,
    *,
    presigned: Annotated[
        bool, Parameter(negative="", help="From the object store by presigned URLs instead.")
    ] = False,
    ready_file: ReadyFile = None,
) -> int:
    """Print what a run was given and what it returned, from the customer's own data endpoint."""
    from planesplit.commands.objects import get_io as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, run, presigned=presigned, ready_file=ready_file))


@get.command(name="events")
async def get_events(
    run: Annotated[str, Parameter(help="The run's name.")],
    /,
    *,
    watch: Annotated[
        bool, Parameter(name=["--watch", "-w"], negative="", help="Go on until its pod has ended.")
    ] = False,
    attempt: Annotated[int, Parameter(help="Of its action; 0 is the latest.")] = 0,
    output: Output = "table",
    ready_file: ReadyFile = None,
) -> int:
    """Print what Kubernetes did with a run's pod; relayed live, stored nowhere on the way."""
    from planesplit.commands.events import get_events as command
    from planesplit.commands.outcome import settle

    return await settle(
        partial(command, run, watch=watch, attempt=attempt, output=output, ready_file=ready_file)
    )
