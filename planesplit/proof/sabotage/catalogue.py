"""The table of leaks: each is a function of its own, registered by `leak`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planesplit.proof.sabotage.tries import Tries

RELAY, CONTROL, AGENT = "relay", "control_stub", "compute_agent"
MODULES = ("files", "encoded", "system", "network", "output", "answers", "planes", "proxy", "blind")
LOGS = frozenset({"A8"})
PACKAGE = "planesplit.proof.sabotage.leaks"

Install = Callable[[Tries], None]


class UnknownLeak(ValueError):
    """There is no leak by that name; names those that there are."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One negative control.

    Args:
        name: as on the command line.
        text: what it does, one sentence.
        parts: by plane, what patches it: called with the plane's modules imported, before it runs.
        rows: of the white paper, whose payload it takes.
        blind: why no detector sees it once it has landed; empty where one has to.
        by: who is expected to catch it, sealed and unsealed; for people, nobody decides by it.
    """

    name: str
    text: str
    parts: Mapping[str, Install]
    rows: frozenset[str] = LOGS
    blind: str = ""
    by: tuple[str, str] = ("", "")

    @property
    def planes(self) -> tuple[str, ...]:
        """Where it is planted."""
        return tuple(self.parts)


LEAKS: dict[str, Leak] = {}


def leak(
    name: str,
    text: str,
    *,
    sealed: str,
    unsealed: str,
    plane: str = RELAY,
    rows: frozenset[str] = LOGS,
    blind: str = "",
) -> Callable[[Install], Install]:
    """Register the decorated function as a leak, or as its part in another plane; see `Leak`."""

    def register(install: Install) -> Install:
        parts = dict(LEAKS[name].parts) if name in LEAKS else {}
        LEAKS[name] = Leak(name, text, {**parts, plane: install}, rows, blind, (sealed, unsealed))
        return install

    return register


def all_leaks() -> dict[str, Leak]:
    """Return every leak by its name, in the order of the catalogue."""
    modules = [importlib.import_module(f"{PACKAGE}.{module}").__name__ for module in MODULES]

    def place(leak: Leak) -> int:
        return min(modules.index(install.__module__) for install in leak.parts.values())

    return {leak.name: leak for leak in sorted(LEAKS.values(), key=place)}


def find_leak(name: str) -> Leak:
    """Return a leak.

    Raises:
        UnknownLeak: there is none by that name.
    """
    leaks = all_leaks()
    if name not in leaks:
        raise UnknownLeak(f"there is no leak '{name}'; known: all, {', '.join(leaks)}")
    return leaks[name]
