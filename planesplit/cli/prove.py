"""`planesplit prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from planesplit.cli.options import Json, app


@app.command
async def prove(
    *,
    canary: Annotated[
        str, Parameter(help="Your own value to look for, 8 to 64 characters, e.g. 'patient 4711'.")
    ] = "",
    challenge: Annotated[
        str, Parameter(help="A nonce of yours in hexadecimal, folded into every canary.")
    ] = "",
    rows: Annotated[
        tuple[str, ...], Parameter(negative="", help="Only these rows, e.g. A8,A9; else all.")
    ] = (),
    faults: Annotated[
        bool, Parameter(help="Cut, stall, restart, and provoke errors while payload flows.")
    ] = True,
    seal: Annotated[bool, Parameter(help="Seal the relay, as is usual.")] = True,
    insecure: Annotated[bool, Parameter(negative="", help="Plain HTTP, no tokens.")] = False,
    keep: Annotated[
        Path | None, Parameter(help="Keep the split's state in this new directory.")
    ] = None,
    json: Json = False,
    html: Annotated[Path | None, Parameter(help="Write one HTML file that opens offline.")] = None,
) -> int:
    """Start a split, push canaries through every row, look everywhere, print the table.

    Exits with 0 if everything is as claimed, 1 if anything deviates, 3 if no split can be started.
    """
    from planesplit.commands.outcome import settle
    from planesplit.commands.prove import prove as command
    from planesplit.commands.prove import rows_of
    from planesplit.proof.options import ProofOptions
    from planesplit.split.options import SplitOptions

    async def do() -> int:
        options = ProofOptions(
            split=SplitOptions(seal=seal, insecure=insecure, keep=keep),
            rows=rows_of(rows),
            canary=canary,
            challenge=challenge,
            faults=faults,
        )
        return await command(options, json=json, html=html)

    return await settle(do)
