"""A reviewer's own leak: a Python file with one function.

    PLANE = "relay"      # or control_stub, compute_agent; relay if not given
    ROWS = {"A8"}        # rows of the white paper whose payload is driven; A8 if not given

    def leak(payload: bytes) -> None:   # the relay: called with every body that it forwards
        ...

or, to patch whatever it likes, in any plane, before that plane starts:

    def plant(plane: str) -> None:
        ...

Errors of the operating system may be raised or swallowed; raised out of `leak` they count as
refused. What `plant` tries is not counted: its leak has to be found, or has slipped through.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from planesplit.proof.sabotage import taps
from planesplit.proof.sabotage.catalogue import AGENT, CONTROL, LOGS, RELAY, Leak
from planesplit.proof.sabotage.tries import Tries
from tunnel.rows import ROWS


class BadModule(ValueError):
    """A reviewer's file cannot be used; says why."""


def is_file(name: str) -> bool:
    """Whether a leak is named by its file."""
    return name.endswith(".py")


def load(name: str) -> Leak:
    """Return the leak of a reviewer's file.

    Raises:
        BadModule: it cannot be imported, or has no `leak` and no `plant`.
    """
    module = _import(Path(name))
    plane, rows = getattr(module, "PLANE", RELAY), frozenset(getattr(module, "ROWS", LOGS))
    if plane not in (RELAY, CONTROL, AGENT):
        raise BadModule(f"PLANE of '{name}' is '{plane}'; give {RELAY}, {CONTROL} or {AGENT}")
    if not rows or not rows <= set(ROWS):
        raise BadModule(f"ROWS of '{name}' must be some of {', '.join(ROWS)}")
    text = (module.__doc__ or "a reviewer's own leak").strip().splitlines()[0]

    def install(tries: Tries) -> None:
        if plant := getattr(module, "plant", None):
            plant(plane)
        else:
            taps.relayed_answers(tries.guard(module.leak), *rows)
            taps.relayed_requests(tries.guard(module.leak), *rows)

    if not hasattr(module, "plant") and (not hasattr(module, "leak") or plane != RELAY):
        raise BadModule(
            f"'{name}' has no 'def plant(plane)', and no 'def leak(payload)' of a relay"
        )
    return Leak(Path(name).stem, text, {plane: install}, rows)


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("reviewers_leak", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadModule(f"'{path}' is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anything may be in it
        raise BadModule(f"'{path}' fails when it is imported: {type(error).__name__}") from None
    return module
