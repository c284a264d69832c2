"""Runs pytest and asks the few tests that failed once more, alone: `once_more.py ARGUMENTS`.

For machines that decide over a change and may stall for seconds. What fails twice is broken, what
passes the second time is a race: it is named at the end, to be mended. See docs/decisions/0041.
Exits as pytest does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 5  # more have a cause in common, which is no chance
FAILED = 1  # pytest's exit code if tests failed, and nothing else was wrong


def failed(cache: Path) -> list[str]:
    """The tests that failed in the last run."""
    path = cache / "v/cache/lastfailed"
    return sorted(json.loads(path.read_text())) if path.exists() else []


def main(arguments: list[str]) -> int:
    """Run pytest with these arguments, and its few failures again."""
    with tempfile.TemporaryDirectory() as cache:
        kept = ["-p", "cacheprovider", "-o", f"cache_dir={cache}"]
        pytest = [sys.executable, "-m", "pytest", *arguments, *kept]
        code = subprocess.call(pytest)
        tests = failed(Path(cache))
        if code != FAILED or not 0 < len(tests) <= MOST:
            return code
        print(f"\nfailed, asked once more alone: {', '.join(tests)}", flush=True)
        covered = ["--cov-append"] if "--cov" in arguments else []
        code = subprocess.call([*pytest, "--last-failed", "-n", "0", *covered])
    if code == 0:
        print(f"RACE, to be mended: passed alone only: {', '.join(tests)}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
