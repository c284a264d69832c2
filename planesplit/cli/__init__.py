"""The command line: names, options and help texts. What a command does is imported when it runs."""

from __future__ import annotations

import sys

from planesplit.cli import admin, bench, data, policy, prove, split, verify  # noqa: F401 - they register
from planesplit.cli.options import app
from planesplit.cli.streams import not_written, open_missing

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit with its code."""
    open_missing()
    try:
        code = app(exit_on_error=True, result_action="return_value")
        sys.stdout.flush()
    except OSError as error:
        code = not_written(error)
    sys.exit(code if isinstance(code, int) else 0)
