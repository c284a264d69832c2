"""Commands about what the customer's plane holds, and what of it crosses."""

from __future__ import annotations

from functools import partial
from typing import Annotated

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
