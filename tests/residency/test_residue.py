"""After every stream has closed nothing of it is in memory: as it is started, whoever looks."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from unprivileged import planesplit

from planesplit.proof import claims

pytestmark = pytest.mark.integration
WITHIN_S = 240.0  # 20 s alone; tests share the machine
RELAYED = ("A8", "A9", "A10")


@pytest.mark.timeout(WITHIN_S)
@pytest.mark.parametrize(
    ("privileged", "options"),
    [(False, ()), (False, ("--insecure",)), (True, ("--insecure",))],
    ids=["user-tls", "user-plain", "root-plain"],
)
def test_nothing_of_what_was_relayed_stays(privileged: bool, options: tuple[str, ...]) -> None:
    """The sealed relay hands its memory over before it seals itself; nobody else could look."""
    rows = ("--rows", ",".join(RELAYED))
    done = planesplit(("prove", "--json", *rows, *options), WITHIN_S, privileged=privileged)
    assert done.stdout, done.stderr[-3000:]
    proof = json.loads(done.stdout)
    assert (done.returncode, proof["deviations"]) == (0, []), done.stderr[-3000:]
    assert proof["seal"] == "full"
    assert re.search(r"mid-stream: log lines in [1-9]", done.stderr), "the scan sees what passes"
    detectors = {each["name"]: each for each in proof["detectors"]}
    assert re.match(r"[1-9]\d+ MB of 2 processes", detectors["memory"]["looked_at"])
    assert _payload(detectors["memory"]["finds"]) == []
    if not privileged:
        assert "not of relay: closed to this user" in detectors["process_io"]["looked_at"]
        assert "only root may" in detectors["fanotify"]["looked_at"]


def _payload(finds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return finds that are not metadata, which may stay."""
    return [
        find
        for find in finds
        if not claims.allowed(find.get("row", ""), find.get("kind", ""), find["store"])
    ]
