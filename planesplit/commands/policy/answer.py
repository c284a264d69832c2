"""How these commands end; apart from the others', whose imports would take most of the time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from policy.question import UnknownName

OK, NO, USAGE, BROKEN_PIPE = 0, 1, 2, 141
WIDTH = 80  # of running text


class UsageError(Exception):
    """The command line asks for something that cannot be; the message names value and remedy."""


def answer(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; errors of usage become one line on stderr."""
    try:
        code = command()
        sys.stdout.flush()
    except (UnknownName, UsageError) as error:
        sys.stderr.write(f"planesplit: {error}\n")
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # its rest goes nowhere
        return BROKEN_PIPE
    return code


def warn(text: str) -> None:
    """Tell something beside the answer, on stderr."""
    sys.stderr.write(f"planesplit: {text}\n")
