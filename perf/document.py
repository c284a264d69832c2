"""Writes a run's tables into a document, between marks that stay: figures are never typed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from planesplit.measure.tables import Table

BLOCK = re.compile(r"(<!-- perf: ([a-z]+) -->\n).*?(<!-- /perf -->)", re.DOTALL)


class DocumentError(Exception):
    """The document has no place for a run's tables."""


def rewrite(text: str, blocks: dict[str, str]) -> str:
    """Return a document with its blocks filled anew; those a run has nothing for stay as they are.

    Raises:
        DocumentError: it has no block at all, or none for a table of this run.
    """
    places = {found[2] for found in BLOCK.finditer(text)}
    if homeless := sorted(set(blocks) - places):
        raise DocumentError(f"no block '<!-- perf: {homeless[0]} -->' in the document")
    return BLOCK.sub(lambda m: f"{m[1]}{blocks[m[2]]}\n{m[3]}" if m[2] in blocks else m[0], text)


def as_blocks(machine: str, tables: Iterable[Table]) -> dict[str, str]:
    """Return what goes into a document, by the name of its block."""
    return {"machine": machine, **{table.name: table.as_markdown() for table in tables}}


def write(file: Path, blocks: dict[str, str]) -> None:
    """Rewrite a file.

    Raises:
        DocumentError: see `rewrite`.
        OSError: it cannot be read or written.
    """
    file.write_text(rewrite(file.read_text(encoding="utf-8"), blocks), encoding="utf-8")
