"""Leaks in real splits, sealed and unsealed; and evidence of a real run, verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from planesplit.commands.bundle import save
from planesplit.commands.sabotage import chosen
from planesplit.proof.bundle import envelope
from planesplit.proof.bundle.verify import compare, verify
from planesplit.proof.options import ProofOptions
from planesplit.proof.run import prove
from planesplit.proof.sabotage.campaign import campaign
from planesplit.proof.sabotage.outcome import BLIND, FOUND, PREVENTED, SLIPPED, Matrix
from planesplit.split.options import SplitOptions

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CHALLENGE = "c0ffee4711"


def outcomes(matrix: Matrix, leak: str) -> tuple[str, str]:
    (sealed,), (unsealed,) = (matrix.of(leak, sealed=kind) for kind in (True, False))
    return sealed.outcome, unsealed.outcome


@pytest.mark.timeout(240)
async def test_leaks_are_stopped_or_found(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        '"""Prints a line."""\nimport sys\n'
        "def leak(payload):\n    sys.stderr.write(payload.decode('latin-1'))\n"
    )
    matrix = await campaign(*chosen(["temp-file,inherited-descriptor,stdout-print"], mine))
    assert matrix.red, [trial for trial in matrix.trials if not trial.caught]
    assert outcomes(matrix, "temp-file") == (PREVENTED, FOUND)
    assert outcomes(matrix, "inherited-descriptor") == (PREVENTED, FOUND)
    assert outcomes(matrix, "stdout-print") == (FOUND, FOUND)
    assert outcomes(matrix, "mine") == (FOUND, FOUND)
    (printed,) = matrix.of("stdout-print", sealed=True)
    assert "output" in printed.detectors
    (written,) = matrix.of("temp-file", sealed=False)
    assert "files" in written.detectors
    assert BLIND not in outcomes(matrix, "temp-file")


@pytest.mark.timeout(240)
async def test_a_leak_that_does_nothing_has_slipped(tmp_path: Path) -> None:
    idle = tmp_path / "idle.py"
    idle.write_text("def plant(plane):\n    pass\n")
    matrix = await campaign(*chosen([], idle))
    assert outcomes(matrix, "idle") == (SLIPPED, SLIPPED)
    assert not matrix.red


@pytest.mark.timeout(240)
async def test_evidence_of_a_run_holds_and_comes_out_alike_again(tmp_path: Path) -> None:
    options = ProofOptions(
        split=SplitOptions(clickhouse=False),
        rows=frozenset({"A8"}),
        challenge=CHALLENGE,
        faults=False,
    )
    proof = await prove(options)
    file = tmp_path / "proof.bundle"
    save(file, proof)
    verdict = verify(envelope.read(file), CHALLENGE)
    assert verdict.good, verdict.checks
    assert compare(proof, await prove(options)).good
