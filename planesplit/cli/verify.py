"""`planesplit verify`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from planesplit.cli.options import Json, app


@app.command
async def verify(
    file: Annotated[Path, Parameter(help="What `planesplit prove --bundle` has written.")],
    /,
    *,
    challenge: Annotated[
        str, Parameter(help="The nonce that must have been folded in, hexadecimal.")
    ] = "",
    rerun: Annotated[
        bool, Parameter(negative="", help="Repeat the run on this machine and compare.")
    ] = False,
    json: Json = False,
) -> int:
    """Check an evidence bundle: signature, schema, and that its verdicts follow from its finds.

    Exits with 0 if everything holds, 1 if it was changed, contradicts itself,
    tells of a deviation or of no driven row, or comes out otherwise when
    repeated, 2 if the file cannot be read.
    """
    from planesplit.commands.bundle import verify as command
    from planesplit.commands.outcome import settle

    return await settle(partial(command, file, challenge, rerun=rerun, json=json))
