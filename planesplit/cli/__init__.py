"""The command line: names, options and help texts. What a command does is imported when it runs."""

from __future__ import annotations

import sys

from planesplit.cli import admin, bench, data, policy, prove, split, verify  # noqa: F401 - they register
from planesplit.cli.options import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit with its code."""
    code = app(exit_on_error=True, result_action="return_value")
    sys.exit(code if isinstance(code, int) else 0)
