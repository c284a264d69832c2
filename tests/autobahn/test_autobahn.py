"""Autobahn|Testsuite: in no case does the tunnel's transport do worse than `websockets` itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SUITE = Path(os.environ.get("PLANESPLIT_AUTOBAHN", ROOT / ".venv-autobahn"))
# Longer than a tunnel frame, which is refused (1009): whole kinds, and single cases of 64 KiB.
TOO_LONG = ["9.1.*", "9.2.*", "9.3.*", "9.4.*", "9.5.*", "9.6.*"]
TOO_LONG += ["1.1.7", "1.1.8", "1.2.7", "1.2.8", "10.1.1"]
COMPRESSION = ["12.*", "13.*"]  # never offered
BEST_FIRST = [
    "OK",
    "INFORMATIONAL",
    "NON-STRICT",
    "UNIMPLEMENTED",
    "UNCLEAN",
    "WRONG CODE",
    "FAILED",
]
# Close in the middle of a message: both answer with 1002; the suite expects that Close is echoed,
# and now and then, by timing, does not notice.
BY_TIMING = {"7.1.5"}
MIN_CASES = 250
WITHIN_S = 180.0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the suite says of each case, of both ends."""
    if not (SUITE / "python2.7").exists():
        pytest.skip(f"{SUITE} has no Autobahn|Testsuite: tools/autobahn.sh found no Python 2.7")
    directory = tmp_path_factory.mktemp("autobahn")
    testee = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("testee.py"))],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert testee.stdout
        _run_suite(directory, json.loads(testee.stdout.readline()))
    finally:
        testee.kill()
        testee.wait()
    index: dict[str, dict[str, Any]] = json.loads((directory / "reports/index.json").read_text())
    return index


def _run_suite(directory: Path, ports: dict[str, int]) -> None:
    servers = [{"agent": name, "url": f"ws://127.0.0.1:{port}"} for name, port in ports.items()]
    spec = {
        "outdir": "./reports",
        "servers": servers,
        "cases": ["*"],
        "exclude-cases": TOO_LONG + COMPRESSION,
        "exclude-agent-cases": {},
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    wstest = [str(SUITE / "python2.7"), str(SUITE / "bin" / "wstest")]
    subprocess.run(
        [*wstest, "--mode", "fuzzingclient", "--spec", "spec.json"],
        cwd=directory,
        env={"PYTHONPATH": str(SUITE), "PATH": os.environ["PATH"], "HOME": str(directory)},
        capture_output=True,
        check=True,
        timeout=WITHIN_S,
    )


@pytest.mark.parametrize("aspect", ["behavior", "behaviorClose"])
def test_every_case_passes_as_well_as_with_the_library(
    found: dict[str, dict[str, Any]], aspect: str
) -> None:
    ours, library = found["ours"], found["websockets"]
    assert ours.keys() == library.keys()
    assert len(ours) >= MIN_CASES
    worse = {
        case: (ours[case][aspect], library[case][aspect])
        for case in ours
        if BEST_FIRST.index(ours[case][aspect]) > BEST_FIRST.index(library[case][aspect])
    }
    assert worse.keys() <= BY_TIMING, worse
    assert sum(verdict[aspect] in BEST_FIRST[:2] for verdict in ours.values()) >= len(ours) - 15
