"""How tightly a process is sealed, and how that is said."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class SealRefused(Exception):
    """The process cannot run as it should: what is wrong, and what to do about it."""


class Level(enum.IntEnum):
    """Levels, each with all of those below it."""

    NONE = 0
    LIMITS = 1  # resource limits, no core dump, not dumpable, descriptors audited
    KERNEL = 2  # and Landlock or seccomp
    FULL = 3  # and both

    def __str__(self) -> str:
        return self.name.lower()


LEVELS = tuple(str(level) for level in Level)


@dataclass(frozen=True, slots=True)
class Seal:
    """What was reached.

    Args:
        limits: whether limits are set and the descriptors were found clean.
        landlock: ABI version of the Landlock rules in force, 0 for none.
        seccomp: whether system calls are filtered.
        missing: what could not be had, and why.
    """

    limits: bool = False
    landlock: int = 0
    seccomp: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """Its level."""
        if not self.limits:
            return Level.NONE
        return Level(Level.LIMITS + bool(self.landlock) + self.seccomp)

    @property
    def parts(self) -> dict[str, str]:
        """Its parts as they are published."""
        return {
            "landlock": str(self.landlock),
            "seccomp": "on" if self.seccomp else "off",
            "fsize": "0" if self.limits else "unlimited",
            "fds": "clean" if self.limits else "unchecked",
        }

    def __str__(self) -> str:
        return " ".join([str(self.level), *(f"{k}={v}" for k, v in self.parts.items())])

    def demand(self, least: str) -> None:
        """Insist on a level; "" insists on nothing.

        Raises:
            SealRefused: it was not reached; says what is missing and why.
        """
        if least and self.level < Level[least.upper()]:
            why = "; ".join(f"{part}: {reason}" for part, reason in self.missing.items())
            raise SealRefused(
                f"seal level '{least}' is required and '{self.level}' is what can be had here "
                f"({why or 'sealing is off'}); lower [seal] require, or run on another kernel"
            )
