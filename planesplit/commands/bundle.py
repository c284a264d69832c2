"""Evidence bundles: written by `planesplit prove --bundle`, checked by `planesplit verify`."""

from __future__ import annotations

import sys
from pathlib import Path

from planesplit.commands.outcome import FAILED, OK, UsageError
from planesplit.commands.output import as_json, progress
from planesplit.commands.tables import one_line
from planesplit.proof.bundle import envelope
from planesplit.proof.bundle.decode import Misfit
from planesplit.proof.bundle.evidence import NOTICE, collect
from planesplit.proof.bundle.verify import Check, Verdict, compare, repeat
from planesplit.proof.bundle.verify import verify as check
from planesplit.proof.options import Proof
from planesplit.proof.run import prove
from planesplit.proof.sabotage.outcome import Matrix


def save(file: Path, proof: Proof, matrix: Matrix | None = None) -> None:
    """Sign and write evidence, and say what the signature does not show.

    Raises:
        UsageError: the file cannot be written.
    """
    data = envelope.seal(collect(proof, matrix).as_json())
    try:
        file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"'{file}' cannot be written: {error.strerror}") from None
    key = envelope.unseal(data).key
    progress(f"wrote {file}, {len(data)} bytes, signed by a key of its own: {key[:16]}")
    progress(NOTICE)


async def verify(file: Path, challenge: str, *, rerun: bool, json: bool) -> int:
    """Check a bundle and print what holds; exit 0 if everything does.

    Raises:
        UsageError: the file cannot be read, or is larger than any bundle.
        PlaneFailed: with `rerun`, a plane did not come up.
    """
    try:
        verdict = check(envelope.read(file), challenge)
    except OSError as error:
        raise UsageError(f"'{file}' cannot be read: {error.strerror}") from None
    except envelope.TooLarge as error:
        raise UsageError(str(error)) from None
    if rerun and verdict.evidence is not None and verdict.good:
        verdict = await _again(verdict)
    sys.stdout.write(as_json(verdict.as_json()) if json else _text(verdict))
    return OK if verdict.good else FAILED


async def _again(verdict: Verdict) -> Verdict:
    """Repeat the run that a bundle tells of, and compare."""
    assert verdict.evidence
    then = verdict.evidence.proof
    try:
        options = repeat(verdict.evidence)
    except Misfit as error:
        found = Check("rerun", False, str(error))
    else:
        found = compare(then, await prove(options, progress))
    return Verdict((*verdict.checks, found), verdict.evidence)


def _text(verdict: Verdict) -> str:
    lines = [f"{'ok' if c.good else 'FAIL':4}  {c.name:11}  {c.text}" for c in verdict.checks]
    if verdict.evidence is not None:
        lines += ["", NOTICE]
    lines.append("the bundle holds" if verdict.good else "the bundle does NOT hold")
    return "".join(f"{one_line(line)}\n" for line in lines)  # its words may be anybody's
