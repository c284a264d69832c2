"""The generated parts of docs/access.md; run it to write them into the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from planesplit.commands.policy.matrix import as_markdown, sections, short
from policy.normalised import NOTES, Note
from policy.roles import PLANES, roles
from policy.uncalled import UNCALLED

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
SHORT = 6  # more rows than this are given as their first and last


def matrix() -> str:
    """Both clusters and the buckets."""
    return "\n".join(
        f"{title}\n\n{as_markdown(rows, columns)}" for title, rows, columns in sections()
    )


def actors() -> str:
    """Every role, its account, and who calls under it."""
    rows = [
        {
            "row": role.appendix,
            "role": role.name + (f" (in {role.scope})" if role.scope else ""),
            "account": ", ".join(role.accounts),
            "called by": role.actor,
        }
        for plane in PLANES
        for role in roles(plane)
    ]
    return as_markdown(rows, ("row", "role", "account", "called by"))


def uncalled() -> str:
    """What is granted over payload and not used."""
    rows = [
        {
            "account": one.account,
            "resources": one.resources,
            "verbs": short(tuple(one.verbs.split())),
            "why not": escaped(one.reason),
        }
        for one in UNCALLED
    ]
    return as_markdown(rows, ("account", "resources", "verbs", "why not"))


def notes() -> str:
    """Every ambiguity."""
    rows = [
        {
            "rows": span(note),
            "words": f"`{note.words}`" if note.words else "(nothing)",
            "reading": escaped(note.reading),
            "why": escaped(note.reason),
        }
        for note in NOTES
    ]
    return as_markdown(rows, ("rows", "words", "reading", "why"))


def span(note: Note) -> str:
    """The rows of a note, many of them in short."""
    if len(note.rows) <= SHORT:
        return " ".join(note.rows)
    return f"{note.rows[0]} ... {note.rows[-1]} ({len(note.rows)})"


def escaped(text: str) -> str:
    """Text in which an asterisk is an asterisk."""
    return text.replace("*", r"\*")


PARTS: dict[str, Callable[[], str]] = {
    "matrix": matrix,
    "actors": actors,
    "uncalled": uncalled,
    "notes": notes,
}


def page(text: str) -> str:
    """The page with its generated parts as they are now."""
    for name, part in PARTS.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        generated = part()
        text, count = re.subn(
            pattern, lambda found, new=generated: found[1] + new + found[2], text, flags=re.DOTALL
        )
        assert count == 1, name
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
