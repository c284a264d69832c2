"""`planesplit prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from planesplit.cli.options import Json, app

Canary = Annotated[
    str, Parameter(help="Your own value to look for, 8 to 64 characters, e.g. 'patient 4711'.")
]
Challenge = Annotated[
    str, Parameter(help="A nonce of yours in hexadecimal, folded into every canary.")
]
Rows = Annotated[
    tuple[str, ...], Parameter(negative="", help="Only these rows, e.g. A8,A9; else all.")
]
Faults = Annotated[
    bool, Parameter(help="Cut, stall, restart, and provoke errors while payload flows.")
]
Seal = Annotated[bool, Parameter(help="Seal the relay, as is usual.")]
Insecure = Annotated[bool, Parameter(negative="", help="Plain HTTP, no tokens.")]
Keep = Annotated[Path | None, Parameter(help="Keep the split's state in this new directory.")]
Attach = Annotated[
    Path | None,
    Parameter(help="Prove on the split of this ready file, which runs already; sees less of it."),
]
Html = Annotated[Path | None, Parameter(help="Write one HTML file that opens offline.")]
Bundle = Annotated[Path | None, Parameter(help="Write signed evidence for `planesplit verify`.")]
Leaks = Annotated[
    tuple[str, ...],
    Parameter(negative="", help="Plant a leak, sealed and unsealed: a name, or 'all'."),
]
Module = Annotated[
    Path | None,
    Parameter(help="Plant a leak of your own: a file with 'def leak(payload: bytes) -> None'."),
]
Listed = Annotated[bool, Parameter(negative="", help="List the leaks.")]


@app.command
async def prove(
    *,
    canary: Canary = "",
    challenge: Challenge = "",
    rows: Rows = (),
    faults: Faults = True,
    seal: Seal = True,
    insecure: Insecure = False,
    keep: Keep = None,
    ready_file: Attach = None,
    json: Json = False,
    html: Html = None,
    bundle: Bundle = None,
    sabotage: Leaks = (),
    sabotage_module: Module = None,
    list_sabotage: Listed = False,
) -> int:
    """Start a split, push canaries through every row, look everywhere, print the table.

    With --sabotage the same looking has to find leaks that are planted on
    purpose; the whole table is made only if a --bundle is to hold both. Exits
    with 0 if everything is as claimed (and every leak was caught), 1 if
    anything deviates (or a leak slipped through), 3 if no split can be
    started.
    """
    from planesplit.commands.outcome import UsageError, settle
    from planesplit.commands.prove import prove as command
    from planesplit.commands.prove import rows_of
    from planesplit.commands.sabotage import Sabotage, list_leaks
    from planesplit.proof.options import SECOND_CLUSTER, ProofOptions
    from planesplit.split.options import SplitOptions

    async def do() -> int:
        options = ProofOptions(
            split=SplitOptions(seal=seal, insecure=insecure, keep=keep, clusters=(SECOND_CLUSTER,)),
            rows=rows_of(rows),
            canary=canary,
            challenge=challenge,
            faults=faults,
        )
        if list_sabotage:
            return list_leaks(json=json)
        wanted = Sabotage(sabotage, sabotage_module)
        if ready_file is not None and (wanted or keep or insecure or not seal):
            raise UsageError(
                "--ready-file: that split is started already; leave --sabotage, --sabotage-module,"
                " --keep, --insecure and --no-seal out"
            )
        return await command(
            options, json=json, html=html, ready_file=ready_file, bundle=bundle, sabotage=wanted
        )

    return await settle(do)
