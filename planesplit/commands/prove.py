"""`planesplit prove`: canaries through every row, a look everywhere, a verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from planesplit.commands.bundle import save
from planesplit.commands.outcome import FAILED, OK, UsageError
from planesplit.commands.output import as_json, progress
from planesplit.commands.sabotage import NONE, Sabotage
from planesplit.proof.canaries import BadCanary
from planesplit.proof.options import ALL_ROWS, Proof, ProofOptions
from planesplit.proof.report.page import as_page
from planesplit.proof.report.text import as_text
from planesplit.proof.run import UNDRIVEN, attach
from planesplit.proof.run import prove as run
from planesplit.ready import Ready


async def prove(
    options: ProofOptions,
    *,
    json: bool,
    html: Path | None,
    ready_file: Path | None = None,
    bundle: Path | None = None,
    sabotage: Sabotage = NONE,
) -> int:
    """Prove once and print the result; exit 1 if anything is not as claimed.

    Args:
        ready_file: of a split that runs already; None starts one.
        bundle: where signed evidence goes.
        sabotage: leaks to plant; then the table itself is made only for a page or a bundle.

    Raises:
        UsageError: the canary, nonce or a leak cannot be used, or a file cannot be written.
        PlaneFailed: a plane did not come up, or ended unasked.
    """
    _check_directory("--html", html)
    _check_directory("--bundle", bundle)
    matrix = await sabotage.run(json=json) if sabotage else None
    good = matrix is None or matrix.red
    if matrix is not None and html is None and bundle is None:
        return OK if good else FAILED
    try:
        proof = await (attached(ready_file, options) if ready_file else run(options, progress))
    except BadCanary as error:
        raise UsageError(str(error)) from None
    if html is not None:
        _write(html, as_page(proof))
    if bundle is not None:
        save(bundle, proof, matrix)
    sys.stdout.write(as_json(proof.as_json()) if json else as_text(proof))
    return OK if proof.clean and good else FAILED


async def attached(ready_file: Path, options: ProofOptions) -> Proof:
    """Prove on a split that runs already.

    Raises:
        NoSplit: there is none by this file.
        UsageError: no row is left that can be driven there.
    """
    if not options.rows - UNDRIVEN:
        raise UsageError("row A7 is driven by a split of prove's own only; leave --ready-file out")
    return await attach(Ready.read(ready_file), options, progress)


def rows_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the rows that were asked for; all if none was.

    Raises:
        UsageError: one is unknown.
    """
    wanted = {row.strip().upper() for text in texts for row in text.split(",") if row.strip()}
    if unknown := wanted - ALL_ROWS:
        known = ", ".join(sorted(ALL_ROWS, key=_order))
        raise UsageError(f"--rows: there is no row '{min(unknown)}'; known: {known}")
    return frozenset(wanted) or ALL_ROWS


def _check_directory(option: str, file: Path | None) -> None:
    if file is not None and not file.absolute().parent.is_dir():
        raise UsageError(f"{option} '{file}': its directory does not exist; make it first")


def _order(row: str) -> tuple[str, int]:
    return row[0], int(row[1:] or 0)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"'{file}' cannot be written: {error.strerror}") from None
