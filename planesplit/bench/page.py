"""One HTML file for a report: it opens offline, asks for nothing and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from planesplit.bench import charts, report
from planesplit.bench.stage import BARE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;margin:0 auto;
 max-width:1220px;padding:16px 20px}
h1{font-size:20px;margin:0 0 6px}h2{font-size:15px;margin:0 0 4px}
.badge{display:inline-block;border:2px solid;border-radius:4px;padding:0 8px;font-weight:700}
.valid{color:#0a6b2d}.invalid{color:#b00020}
.lead{font-size:18px;margin:6px 0}.grid2{display:grid;grid-template-columns:1fr 1fr;gap:14px}
section{border:1px solid #d0d7de;border-radius:6px;padding:10px 12px;margin:12px 0}
.grid2 section{margin:0}p{margin:4px 0}ul{margin:4px 0;padding-left:20px}
.small{color:#57606a;font-size:13px}svg{width:100%;height:auto;display:block}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;padding:3px 8px;border-bottom:1px solid #d8dee4;vertical-align:top}
td:not(:first-child){font-variant-numeric:tabular-nums}
.grid{stroke:#e3e7eb}.tick{font-size:12px;fill:#424a53}.axis{font-size:12px;fill:#57606a}
.line{fill:none;stroke-width:2.2}.one{stroke:#0b5c96}.two{stroke:#a8490a;stroke-dasharray:7 4}
.dot.one{fill:#0b5c96}.dot.two{fill:#fff;stroke-dasharray:none;stroke-width:1.6}
.limit{stroke:#b00020;stroke-dasharray:2 3}.knee{stroke:#1b1f24;stroke-dasharray:10 3 2 3}
.cell{fill:#08306b}.hop0{fill:#8c959f}.hop1{fill:#0b5c96}.hop2{fill:#8a5a00}.hop3{fill:#157f5b}
.hop4{fill:#7a4fa0}.inside{font-size:12px;fill:#fff;font-weight:600}.interval{stroke:#57606a}.dot{stroke:#1b1f24}
.dot.verdict-worse{fill:#b00020}.dot.verdict-better{fill:#0a6b2d}.dot.verdict-none{fill:#fff}
"""


def bench(document: Mapping[str, Any]) -> str:
    """Return a bench's report."""
    verdict = document["verdict"]
    parts = [
        _head(f"planesplit bench, {document['started']}", document),
        f'<p class="lead">{escape(report.headline(document))}</p>',
        f"<p>{escape(report.load(document))}</p>",
        _list(
            [f"INVALID: {reason}" for reason in verdict["reasons"]]
            + [f"{line}" for line in verdict["evidence"]]
            + [f"note: {note}" for note in verdict["notes"]]
        ),
        _section("Latency", _table(report.latency_rows(document)), _SPREAD),
        '<div class="grid2">',
        _section("Percentiles", charts.percentiles(document), _CURVE),
        _section("Where the time goes (means)", charts.waterfall(document), _HOPS),
        _section("Latency over time, through the split", charts.heat(document), _HEAT),
        _section("Latency over time, bare link", charts.heat(document, BARE), _HEAT),
        "</div>",
    ]
    hops = report.hop_rows(document)
    parts.append(_section("Hops", _table(hops) if hops else ""))
    facts = report.facts(document)
    parts.append(_section("Other figures", _table([("figure", "value"), *facts]) if facts else ""))
    parts.append(_environment(document))
    return _page("planesplit bench", parts)


_SPREAD = (
    "Median of the repeats, smallest and largest in brackets. Latency counts from the time a line "
    "was meant to be written, so a stall is charged to every line that it held back."
)
_CURVE = "All repeats together; the distance between the lines is what the tunnel adds."
_HOPS = "Lines that were followed from hop to hop; the bars add up to the mean total."
_HEAT = "Last repeat; the darker, the more lines. A stall is a slanted band, not a gap."


def sweep(
    document: Mapping[str, Any], rows: Sequence[Sequence[str]], result: str, load: str
) -> str:
    """Return a sweep's report.

    Args:
        document: of the sweep.
        rows: its steps as a table.
        result: in one sentence.
        load: what all steps have in common.
    """
    parts = [
        _head(f"planesplit bench sweep, {document['started']}", document),
        f'<p class="lead">{escape(result)}</p>',
        f"<p>{escape(load)}</p>",
        _list([f"note: {note}" for note in document["verdict"]["notes"]]),
        _section("Latency by rate", charts.sweep(document)),
        _section("Steps", _table(rows)),
        _environment(document),
    ]
    return _page("planesplit bench sweep", parts)


def comparison(
    rows: Sequence[Mapping[str, Any]], table: Sequence[Sequence[str]], lines: Sequence[str]
) -> str:
    """Return a comparison's report.

    Args:
        rows: of the comparison.
        table: the same as text.
        lines: what was compared, and the results.
    """
    parts = [
        "<h1>planesplit bench compare</h1>",
        _list(lines),
        _section("Changes", charts.comparison(rows), _COMPARE),
        _section("Figures", _table(table)),
    ]
    return _page("planesplit bench compare", parts)


_COMPARE = "Each line is a 95 % interval from the repeats; one that touches 0 shows no difference."


def _head(title: str, document: Mapping[str, Any]) -> str:
    kind = "valid" if document["verdict"]["valid"] else "invalid"
    badge = f'<span class="badge {kind}">{escape(report.verdict(document))}</span>'
    return f"<h1>{escape(title)} {badge}</h1>"


def _environment(document: Mapping[str, Any]) -> str:
    rows = [("environment", ""), *report.environment_rows(document)]
    return _section("Environment", _table(rows))


def _section(title: str, content: str, note: str = "") -> str:
    if not content:
        return ""
    small = f'<p class="small">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{content}{small}</section>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rest
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _page(title: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(part for part in parts if part)
        + "</body></html>\n"
    )
