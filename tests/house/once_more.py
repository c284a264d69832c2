"""Runs pytest and asks the few tests that failed once more, alone: `once_more.py OPTIONS`.

For machines that decide over a change and may stall for seconds. What fails twice is broken, what
passes the second time is a race: it is named at the end, to be mended. See docs/decisions/0041.
Exits as pytest does.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MOST = 5  # more have a cause in common, which is no chance


class Failures:
    """Remembers which tests failed; a plugin of pytest."""

    def __init__(self) -> None:
        self.tests: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of a test whose body, set-up or tear-down failed."""
        if report.failed:
            self.tests[report.nodeid] = None


def main(options: list[str]) -> int:
    """Run pytest with these options, which name no tests, and its few failures again."""
    sys.path.insert(0, os.getcwd())  # as `python -m pytest` does
    failures = Failures()
    code = int(pytest.main(options, plugins=[failures]))
    tests = list(failures.tests)
    if code != pytest.ExitCode.TESTS_FAILED or not 0 < len(tests) <= MOST:
        return code
    print(f"\nfailed, asked once more alone: {', '.join(tests)}", flush=True)
    covered = ["--cov-append"] if "--cov" in options else []
    command = [sys.executable, "-m", "pytest", *options, "-n", "0", *covered, *tests]
    code = subprocess.call(command)
    if code == 0:
        print(f"RACE, to be mended: passed alone only: {', '.join(tests)}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
