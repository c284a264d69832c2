"""`planesplit prove --sabotage`: the same looking, with leaks planted on purpose."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from planesplit.commands.outcome import OK, UsageError
from planesplit.commands.output import as_json, progress
from planesplit.proof.sabotage.campaign import campaign
from planesplit.proof.sabotage.catalogue import Leak, UnknownLeak, all_leaks, find_leak
from planesplit.proof.sabotage.outcome import Matrix
from planesplit.proof.sabotage.own import BadModule, load
from planesplit.proof.sabotage.show import catalogue, table

ALL = "all"


@dataclass(frozen=True, slots=True)
class Sabotage:
    """Which leaks are planted; true if there are any.

    Args:
        names: of leaks, or `all`.
        module: a reviewer's own.
    """

    names: Sequence[str] = ()
    module: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.names or self.module)

    async def run(self, *, json: bool) -> Matrix:
        """Try the leaks sealed and unsealed, and print the matrix.

        Raises:
            UsageError: there is no such leak, or the file cannot be used.
            PlaneFailed: a plane did not come up, or ended unasked.
        """
        leaks, files = chosen(self.names, self.module)
        matrix = await campaign(leaks, files, progress)
        sys.stdout.write(as_json(matrix.as_json()) if json else table(matrix) + "\n")
        return matrix


NONE = Sabotage()


def chosen(names: Sequence[str], module: Path | None) -> tuple[list[Leak], dict[str, str]]:
    """Return the leaks that were asked for, and files by the name of those that are in files.

    Raises:
        UsageError: there is no such leak, or the file cannot be used.
    """
    wanted = [name.strip() for text in names for name in text.split(",") if name.strip()]
    try:
        if ALL in wanted:
            wanted = [*all_leaks()]
        leaks = [find_leak(name) for name in dict.fromkeys(wanted)]
        if module is None:
            return leaks, {}
        own = load(str(module.absolute()))
    except (UnknownLeak, BadModule) as error:
        raise UsageError(str(error)) from None
    if own.name in {ALL, *all_leaks()}:
        raise UsageError(f"'{module}' is named like a leak that there is; give it another name")
    return [*leaks, own], {own.name: str(module.absolute())}


def list_leaks(*, json: bool) -> int:
    """Print what can be planted."""
    leaks = list(all_leaks().values())
    described = [
        {
            "name": leak.name,
            "text": leak.text,
            "planes": list(leak.planes),
            "rows": sorted(leak.rows),
            "blind": leak.blind,
        }
        for leak in leaks
    ]
    sys.stdout.write(as_json(described) if json else catalogue(leaks) + "\n")
    return OK
