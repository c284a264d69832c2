"""What every report says, as words and rows: terminal, markdown and HTML only lay it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planesplit.bench.document import PERCENTS
from planesplit.bench.stage import BARE, SPLIT

Row = tuple[str, ...]
TWO_DIGITS_BELOW, ONE_DIGIT_BELOW = 100, 1_000
LATENCIES = (*PERCENTS, "max", "mean")
LABELS = {SPLIT: "through the split", BARE: "bare link", "added": "the tunnel adds"}


def verdict(document: Mapping[str, Any]) -> str:
    """Return VALID or INVALID, with what else has to be in the first line."""
    word = "VALID" if document["verdict"]["valid"] else "INVALID"
    for flag in ("partial", "overloaded"):
        if document.get(flag):
            word += f", {flag.upper()}"
    return word


def load(document: Mapping[str, Any]) -> str:
    """Return the load and the link in one line."""
    plan = document["plan"]
    text = (
        f"{plan['rate_per_s']:,.0f} lines/s of {plan['line_bytes']} bytes over "
        f"{plan['streams']} streams, {plan['duration_s']:g} s, {plan['repeats']} repeats "
        "interleaved with the bare link"
    )
    return f"{text}; {agent(plan)}; {link(plan)}"


def agent(plan: Mapping[str, Any]) -> str:
    """Return how lines are batched, and who reads besides the measured viewers, in words."""
    text = f"batching policy {plan['policy']}"
    if plan["viewers"] > 1:
        text += f", {plan['viewers']} viewers of each stream (one of them is measured)"
    if plan["stalled"]:
        text += f", stalled viewers beside them: {plan['stalled']}"
    return text


def link(plan: Mapping[str, Any]) -> str:
    """Return the link in words."""
    profile, parts = plan["profile"], []
    if profile["rtt_s"]:
        parts.append(f"RTT {profile['rtt_s'] * 1e3:g} ms")
    if profile["jitter_s"]:
        parts.append(f"jitter {profile['jitter_s'] * 1e3:g} ms")
    if profile["bandwidth_bytes_per_s"]:
        width = profile["bandwidth_bytes_per_s"] * 8 / 1e6
        parts.append(f"{width:g} Mbit/s, queue {profile['queue_bytes'] // 1024} KiB")
    if plan["stall_s"]:
        parts.append(f"silent for {plan['stall_s'] * 1e3:g} ms in each turn")
    return "emulated link: " + (", ".join(parts) or "loopback, nothing emulated")


def headline(document: Mapping[str, Any]) -> str:
    """Return the result in one sentence."""
    added = document["summary"].get("added")
    if not added:
        return "no repeat was complete on both paths"
    p50, p99 = added["p50"], added["p99"]
    return (
        f"the tunnel adds {p50['median']:.2f} ms at p50 ({p50['low']:.2f} to {p50['high']:.2f}) "
        f"and {p99['median']:.2f} ms at p99 ({p99['low']:.2f} to {p99['high']:.2f})"
    )


def around(figure: Mapping[str, float], digits: int | None = None) -> str:
    """Return a median with its spread, with no more digits than they need."""
    if digits is None:
        digits = digits_of(max(map(abs, figure.values())))
    low, high = (f"{figure[end]:,.{digits}f}" for end in ("low", "high"))
    return f"{figure['median']:,.{digits}f} ({low}-{high})"


def digits_of(value: float) -> int:
    """Return how many decimals a value needs."""
    return 2 if value < TWO_DIGITS_BELOW else 1 if value < ONE_DIGIT_BELOW else 0


def number(value: float) -> str:
    """Return a figure with no more digits than it needs."""
    return f"{value:,.{digits_of(abs(value))}f}"


def latency_rows(document: Mapping[str, Any]) -> list[Row]:
    """Return latencies of both paths and their difference; the first row is the head.

    A figure is a row, since a path a row with a spread in each cell is wider than terminals are.
    """
    paths = {name: found for name in LABELS if (found := document["summary"].get(name))}
    rows: list[Row] = [("latency, ms", *(LABELS[name] for name in paths))]
    if not paths:
        return rows
    rows += [(each, *(around(found[each]) for found in paths.values())) for each in LATENCIES]
    rates = (found.get("achieved_per_s") for found in paths.values())
    rows.append(("achieved/s", *(around(rate, 0) if rate else "-" for rate in rates)))
    return rows


def hop_rows(document: Mapping[str, Any]) -> list[Row]:
    """Return the waterfall; [] if no line was followed."""
    if not document["hops"]:
        return []
    rows: list[Row] = [("hop", "mean ms", "p50", "p99", "what")]
    for hop in document["hops"]["hops"]:
        numbers = (f"{hop[key]:.2f}" for key in ("mean_ms", "p50_ms", "p99_ms"))
        rows.append((hop["name"], *numbers, hop["what"]))
    total = document["hops"]["total_mean_ms"]
    lines = f"sum of the means; {document['hops']['lines']:,} lines followed"
    rows.append(("total", f"{total:.2f}", "-", "-", lines))
    return rows


def facts(document: Mapping[str, Any]) -> list[Row]:
    """Return the other figures, as name and value."""
    turns = [turn for turn in document["turns"] if turn["path"] == SPLIT]
    rows: list[Row] = []
    if turns:
        cpu = sum(turn["relay_cpu_us_per_line"] for turn in turns) / len(turns)
        share = sum(turn["relay_cpu_share"] for turn in turns) / len(turns)
        rows.append(("relay CPU", f"{share:.1%} of a core, {cpu:.2f} us a line"))
        rss = max(turn["relay_rss_bytes"] for turn in turns)
        rows.append(("relay memory", f"{rss / 1e6:.1f} MB at most"))
        cpu = sum(turn["agent_cpu_us_per_line"] for turn in turns) / len(turns)
        share = sum(turn["agent_cpu_share"] for turn in turns) / len(turns)
        rows.append(("agent CPU", f"{share:.1%} of a core, {cpu:.2f} us a line"))
    if first := document["first_line_ms"]:
        rows.append(("time to first line", f"{around(first)} ms, a new viewer of an open log"))
    if resume := document["resume"]:
        rows.append(("gap after a cut", _resume(resume)))
    return rows


def _resume(resume: Mapping[str, Any]) -> str:
    if resume["missing"] or resume["misplaced"]:
        return f"not made up: {resume['missing']} lines missing, {resume['misplaced']} misplaced"
    return (
        f"{resume['gap_ms']:.0f} ms without a line on the worst stream "
        f"(a line is due every {resume['usual_ms']:g} ms); every line came once and in order"
    )


def environment_rows(document: Mapping[str, Any]) -> list[Row]:
    """Return the machine, as name and value."""
    found = document["environment"]
    versions = " ".join(f"{name} {value}" for name, value in found["versions"].items())
    return [
        ("cpu", f"{found['cpu']}, {found['cores']} cores, governor {found['governor']}"),
        ("kernel", found["kernel"]),
        ("python", found["python"]),
        ("versions", versions),
        ("git", found["git"] or "-"),
        ("relay's seal", found.get("seal") or "none"),
        ("encryption", "none: loopback without TLS on both paths"),
        ("load average", f"{found['load_before']} before, {found['load_after']} after"),
        ("steal", f"{found['steal_s']} s"),
        ("command", " ".join(document["command"])),
    ]
