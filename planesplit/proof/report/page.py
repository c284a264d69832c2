"""The proof as one HTML file: no script, nothing loaded, readable in print."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from planesplit.commands.residency import in_units
from planesplit.proof.options import AS_CLAIMED, NOT_DRIVEN, Proof, RowProof
from planesplit.proof.report.text import misplaced, verdict

STYLE = """
:root { color-scheme: light; --ink: #1a1d21; --soft: #5b6470; --line: #d9dde3; --paper: #fff;
  --good: #11652f; --good-bg: #e6f4ea; --bad: #a3122a; --bad-bg: #fde8eb; --none-bg: #f1f3f5; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.sub { color: var(--soft); margin: 0 0 1rem; }
.verdict { padding: .8rem 1rem; border-radius: .4rem; font-weight: 600; margin: 1rem 0; }
.good { color: var(--good); background: var(--good-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
.none { color: var(--soft); background: var(--none-bg); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .55rem;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
span.tag { padding: .1rem .45rem; border-radius: .3rem; font-weight: 600; white-space: nowrap; }
ul { padding-left: 1.2rem; margin: .3rem 0; } td ul { padding-left: 1rem; margin: 0; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; }
  tr, .verdict { break-inside: avoid; } * { print-color-adjust: exact; } }
"""
HEADS = (
    "row",
    "data",
    "claim",
    "relay",
    "control plane",
    "direct",
    "driven",
    "must be in",
    "found in",
    "verdict",
)


def as_page(proof: Proof) -> str:
    """Return the page."""
    kind = "good" if proof.clean else "bad"
    return "".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width, initial-scale=1">',
            f"<title>planesplit: data residency, {_text(proof.started)}</title>",
            f"<style>{STYLE}</style>",
            "<h1>Data residency: what was looked for, and where it was found</h1>",
            f"<p class=sub>One run, begun {_text(proof.started)}, {proof.seconds:g} s; "
            "canaries were pushed through every payload class of the rows below.</p>",
            f"<div class='verdict {kind}'>{_text(verdict(proof))}</div>",
            _section("Deviations", _list(_deviation_texts(proof))) if not proof.clean else "",
            _section("The white paper's table", _rows(proof.rows)),
            "<p class=sub>Bytes of bodies by each hop's own counters; direct: between a client or "
            "a pod and the customer's listeners, past relay and control plane. "
            "Bodies of requests that were refused on purpose count too.</p>",
            "<p class=sub>What is stored by claim (A1 to A3, A11, A12) is metadata: names may also "
            "stand in journals, object keys and memory. Payload may be where it must be, and "
            "nowhere else.</p>",
            _section("Where was looked", _detectors(proof)),
            _section("What was not looked at", _list(proof.unseen)) if proof.unseen else "",
            _section("What no search sees", _list(proof.blind_spots)),
            _section("What this does not show", _list(proof.not_shown)),
            _section("This run", _facts(proof)),
            "</html>\n",
        )
    )


def _rows(rows: Iterable[RowProof]) -> str:
    return _table(HEADS, (_row(row) for row in rows))


def _row(row: RowProof) -> str:
    driven = ", ".join(f"{name} × {times}" for name, times in row.kinds.items() if times)
    numbers = "".join(
        f"<td class=number>{in_units(row.path.get(hop, 0))}</td>"
        for hop in ("relay", "control", "direct")
    )
    found = _list(row.found_where) if row.found_where else "nowhere"
    must = _list(row.expected_where) if row.expected_where else "nowhere"
    if row.verdict == NOT_DRIVEN:
        found = must = ""
    return (
        f"<td><b>{_text(row.id)}</b></td><td>{_text(row.data)}</td><td>{_text(row.claim)}</td>"
        f"{numbers}<td>{_text(driven)}</td><td>{must}</td><td>{found}</td>"
        f"<td><span class='tag {_class(row)}'>{_text(row.verdict)}</span></td>"
    )


def _class(row: RowProof) -> str:
    return {AS_CLAIMED: "good", NOT_DRIVEN: "none"}.get(row.verdict, "bad")


def _detectors(proof: Proof) -> str:
    rows = (
        f"<td><b>{_text(d.name)}</b></td><td>{_text(d.looked_at)}</td>"
        f"<td class=number>{len(d.finds)}</td><td class=number>{misplaced(d)}</td>"
        f"<td>{_text(d.blind_to)}</td>"
        for d in proof.detectors
    )
    return _table(("detector", "looked at", "found", "of it misplaced", "blind to"), rows)


def _facts(proof: Proof) -> str:
    facts: dict[str, object] = {"seal of the relay": proof.seal, **_flat(proof.environment)}
    facts |= {f"canaries: {name}": value for name, value in proof.canaries.items() if value}
    rows = (
        f"<td>{_text(name)}</td><td><code>{_text(value)}</code></td>"
        for name, value in facts.items()
    )
    return _table(("what", "value"), rows)


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}: {inner}": each for inner, each in value.items()}
        else:
            flat[name] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return flat


def _deviation_texts(proof: Proof) -> list[str]:
    return [f"{d.detector}{f' [{d.row}]' if d.row else ''}: {d.text}" for d in proof.deviations]


def _section(title: str, content: str) -> str:
    return f"<h2>{_text(title)}</h2>{content}"


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class=scroll>{table}</div>"


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(text)}</li>" for text in texts) + "</ul>"


def _text(value: object) -> str:
    return html.escape(str(value))
