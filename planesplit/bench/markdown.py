"""Results as markdown, for a pull request or a job's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planesplit.bench import report


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first row is the head."""
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def bench(document: Mapping[str, Any]) -> str:
    """Return a bench's report."""
    verdict = document["verdict"]
    parts = [
        f"## planesplit bench: {report.verdict(document)}",
        f"**{report.headline(document)}**",
        report.load(document),
        "\n".join(
            [f"- INVALID: {reason}" for reason in verdict["reasons"]]
            + [f"- {line}" for line in verdict["evidence"]]
            + [f"- note: {note}" for note in verdict["notes"]]
        ),
    ]
    parts += [
        table(rows)
        for rows in (report.latency_rows(document), report.hop_rows(document))
        if len(rows) > 1
    ]
    facts = report.facts(document)
    parts += [table([("figure", "value"), *facts])] if facts else []
    parts += [table([("environment", ""), *report.environment_rows(document)])]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
