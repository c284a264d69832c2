"""Fails unless every branch of the tunnel's core was covered by the last run of its tests.

Run it after `python -m pytest tests/tunnel --cov=tunnel --cov-branch`; it reads that run's data.
"""

from __future__ import annotations

import subprocess
import sys

CORE = (
    "capabilities", "connection", "errors", "events", "exchange", "frames", "hello", "liveness",
    "payload", "payload_frames", "scheduler", "stream_state", "stream_table", "streams", "windows",
)  # fmt: skip


def main() -> int:
    """Print what is missing and return the exit code."""
    report = [sys.executable, "-m", "coverage", "report", "--show-missing", "--fail-under=100"]
    include = ",".join(f"tunnel/{name}.py" for name in CORE)
    return subprocess.run([*report, f"--include={include}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
