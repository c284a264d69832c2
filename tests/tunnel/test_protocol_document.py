"""docs/tunnel-protocol.md says what the code does: every name and number of its tables."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cast import AGENT, SETTINGS

from tunnel import frames, scheduler, windows
from tunnel.errors import Code, RemoteError
from tunnel.frames import HEADER, RULES, FrameType
from tunnel.hello import MAX_WINDOW_BYTES, VERSION, Hello
from tunnel.liveness import RECENT_PONGS
from tunnel.settings import TunnelSettings, describe
from tunnel.stream_state import TRANSITIONS
from tunnel.websocket import TUNNEL_PATH

DOCUMENT = Path(__file__).parents[2] / "docs" / "tunnel-protocol.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PROSE = " ".join(TEXT.split())

Rows = list[dict[str, str]]


def tables(text: str) -> list[Rows]:
    """Every table of a Markdown text, each row by its column names."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in row[1:-2].split("|")] for row in block.splitlines(True)]
        found.append([dict(zip(lines[0], row, strict=True)) for row in lines[2:]])
    return found


def table(first_column: str) -> Rows:
    """The one table whose first column has this name."""
    (rows,) = [rows for rows in tables(TEXT) if next(iter(rows[0])) == first_column]
    return rows


def test_version_and_path() -> None:
    assert TEXT.startswith(f"# The tunnel protocol, version {VERSION}\n")
    assert f"`GET {TUNNEL_PATH}`" in TEXT


def test_header() -> None:
    rows = tables(TEXT)[0]
    assert [row["field"] for row in rows] == ["type", "flags", "reserved", "stream"]
    sizes = {1: "B", 2: "H", 4: "I"}
    assert HEADER.format == "!" + "".join(sizes[int(row["bytes"])] for row in rows)


def test_frames() -> None:
    rows = table("number")
    assert {int(row["number"]): row["type"] for row in rows} == {t.value: t.name for t in FrameType}
    for row in rows:
        rule = RULES[int(row["number"])]
        assert row["on"] == ("stream" if rule.on_stream else "tunnel")
        assert row["payload bytes"] == f"{rule.low_bytes} to {rule.high_bytes}"


def test_flags() -> None:
    rows = {row["flag"]: int(row["value"]) for row in table("flag")}
    assert rows == {
        name.removeprefix("FLAG_"): value
        for name, value in vars(frames).items()
        if name.startswith("FLAG_")
    }


def test_states() -> None:
    rows = [(row["state"], row["frame"], row["next state"]) for row in table("state")]
    assert rows == [(s.value, FrameType(k).name, n.value) for (s, k), n in TRANSITIONS.items()]


def test_codes() -> None:
    rows = {int(row["code"]): row["name"] for row in table("code")}
    assert rows == {code.value: code.name for code in Code}


def test_constants() -> None:
    known = vars(frames) | vars(scheduler) | vars(windows)
    for row in table("constant"):
        assert known[row["constant"]] == int(row["value"]), row["constant"]


def test_settings() -> None:
    rows = [[row["setting"], row["default"], row["from"], row["to"]] for row in table("setting")]
    assert rows == [
        [s["name"], str(s["default"]), str(s["low"]), str(s["high"])]
        for s in describe(TunnelSettings)
    ]


def hello_rows() -> Rows:
    (rows,) = [rows for rows in tables(TEXT) if list(rows[0])[:2] == ["field", "from"]]
    return rows


def test_every_field_of_hello_is_documented() -> None:
    named = [name for row in hello_rows() for name in row["field"].split(", ")]
    assert sorted(named) == sorted(field.name for field in fields(Hello))


@pytest.mark.parametrize("row", [r for r in hello_rows() if r["from"] != "-"], ids=str)
def test_bounds_of_hello(row: dict[str, str]) -> None:
    low, high = int(row["from"]), int(row["to"])
    for name in row["field"].split(", "):
        for inside in (low, high):
            Hello.decode(replace(AGENT, **{name: inside}).encode())
        for outside in (low - 1, high + 1):
            with pytest.raises(RemoteError):
                Hello.decode(replace(AGENT, **{name: outside}).encode())


def test_numbers_in_the_prose() -> None:
    assert f"beyond {MAX_WINDOW_BYTES} in all" in TEXT
    assert "`2 * max_streams * window_bytes + growth_bytes`" in TEXT
    cap = 2 * SETTINGS.max_streams * SETTINGS.window_bytes + SETTINGS.growth_bytes
    assert cap == SETTINGS.granted_cap_bytes
    assert SETTINGS.dead_after_s < 10.0
    assert f"{windows.FULL_SHARE:.0%}".replace("%", " %") + " of the window were used" in PROSE
    assert f"in one round trip of {windows.LONG_S * 1e3:g} ms or more" in PROSE
    assert f"the least of the latest {RECENT_PONGS} PONGs" in PROSE


def test_a_wrong_number_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks read what stands there: each table, with one number changed, fails its test."""
    for cell, check in {
        "| 8 | END |": test_frames,
        "| AUTH_OK | 1 |": test_flags,
        "| body | END | ended |": test_states,
        "| 17 | REVOKED |": test_codes,
        "| GRANT_SHARE | 8 |": test_constants,
        "| close_s | 2.0 |": test_settings,
    }.items():
        assert cell in TEXT
        wrong = cell.replace("8", "9").replace("1", "3").replace("2", "4").replace("ended", "body")
        monkeypatch.setattr(f"{__name__}.TEXT", TEXT.replace(cell, wrong))
        with pytest.raises(AssertionError):
            check()
        monkeypatch.undo()
