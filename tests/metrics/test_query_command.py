"""`planesplit query` without a split: options, tables, charts, what a terminal may be shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_agent.metrics.catalogue import CATALOGUE
from planesplit.commands import query as command
from planesplit.commands.outcome import UsageError
from planesplit.connect_client import ConnectError
from planesplit.metrics import Lines

CPU = b'{"time":"2026-01-01T00:00:%02dZ","used":%d,"allocated":4,"share":0.5}\n'


class Screen:
    """An output that keeps what was written."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal, self.text = terminal, b""

    async def write(self, what: str | bytes) -> None:
        self.text += what.encode() if isinstance(what, str) else what


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """What the command prints to; the split's answers are `pieces`, then `error`."""
    found = Screen(terminal=False)

    @asynccontextmanager
    async def stdout() -> AsyncIterator[Screen]:
        yield found

    @asynccontextmanager
    async def open_viewer(ready: object) -> AsyncIterator[None]:
        yield None

    async def list_queries(viewer: object, run: str) -> list[object]:
        return [query.describe() for query in CATALOGUE.values()]

    monkeypatch.setattr(command, "stdout", stdout)
    monkeypatch.setattr(command, "open_viewer", open_viewer)
    monkeypatch.setattr(command, "list_queries", list_queries)
    monkeypatch.setattr(command, "find", lambda file: None)
    return found


def answers(
    monkeypatch: pytest.MonkeyPatch, *pieces: bytes, error: ConnectError | None = None
) -> dict[str, Mapping[str, str]]:
    """Let the next query answer this; returns what it was asked."""
    asked: dict[str, Mapping[str, str]] = {}

    async def play() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if error:
            raise error

    @asynccontextmanager
    async def open_query(
        viewer: object, name: str, run: str, parameters: Mapping[str, str], *, native: bool = False
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        asked[name] = parameters
        yield play()

    monkeypatch.setattr(command, "open_query", open_query)
    return asked


async def ask(name: str | None = "cpu_used_vs_allocated", **options: object) -> int:
    defaults = {
        "run": "r1",
        "parameters": (),
        "format": None,
        "plot": None,
        "listed": False,
        "ready_file": None,
    }
    return await command.query(name, **(defaults | options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": None}, "--list"),
        ({"listed": True}, "--list"),
        ({"run": ""}, "--run is missing"),
        ({"parameters": ("step_s",)}, "'step_s' is no NAME=VALUE"),
        ({"parameters": ("=5",)}, "'=5' is no NAME=VALUE"),
        ({"parameters": ("a=1", "a=2")}, "'a=2' is no NAME=VALUE, or its name comes twice"),
    ],
)
async def test_usage_errors(screen: Screen, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        await ask(**options)


async def test_native_is_refused_on_a_terminal(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, b"\0\1binary")
    await ask(format="native")
    assert screen.text == b"\0\1binary"
    screen.terminal = True
    with pytest.raises(UsageError, match="no text"):
        await ask(format="native")


async def test_lines_go_straight_to_a_program(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, b'{"a":', b"1}\n")
    assert await ask("samples", parameters=("metric=a=b",)) == 0
    assert screen.text == b'{"a":1}\n'
    assert asked == {"samples": {"metric": "a=b"}}


async def test_a_terminal_gets_no_control_characters(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen.terminal = True
    answers(monkeypatch, '{"a":"\x9b31m\x1b[2J"}\n'.encode())
    await ask("samples", format="json")
    assert screen.text == b'{"a":"31m"}\n'


async def test_a_terminal_gets_a_table_and_charts_for_each_unit(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen.terminal = True
    answers(monkeypatch, *(CPU % (second, second % 5) for second in range(30)))
    await ask()
    text = screen.text.decode()
    assert text.startswith("TIME")
    assert "USED [cores]" in text
    assert text.count("2026-01-01T00:00:") == 30
    assert text.count("┤") == 16
    for name in ("used", "allocated", "share"):
        assert f"m{name}\x1b[0m" in text
    screen.text = b""
    await ask(plot=False)
    assert b"\xe2\x94\xa4" not in screen.text


@pytest.mark.parametrize("rows", [1, 999, 1000, 1001, 2500])
async def test_a_long_table_has_one_header_and_every_row(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    answers(monkeypatch, *(b'{"time":"t%d","cores":%d.5}\n' % (n, n) for n in range(rows)))
    await ask("cpu_usage", format="table")
    lines = screen.text.decode().splitlines()
    assert [line.split() for line in lines[1:]] == [[f"t{n}", f"{n}.5"] for n in range(rows)]
    assert lines[0].split() == ["TIME", "CORES", "[cores]"]


async def test_no_rows_are_told(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch)
    assert await ask(format="table") == 0
    assert screen.text == b""
    assert "no rows" in capsys.readouterr().err


@pytest.mark.parametrize("result_format", ["table", "json"])
async def test_a_result_that_breaks_off_is_an_error(
    screen: Screen,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    result_format: str,
) -> None:
    answers(monkeypatch, CPU % (1, 1), error=ConnectError("unavailable", "gone"))
    with pytest.raises(ConnectError, match="gone"):
        await ask(format=result_format)
    assert "not complete" in capsys.readouterr().err


async def test_the_list_is_for_people_or_for_programs(screen: Screen) -> None:
    await ask(None, listed=True, run="")
    assert {json.loads(line)["name"] for line in screen.text.splitlines()} == set(CATALOGUE)
    screen.text = b""
    await ask(None, listed=True, format="table")
    assert screen.text.startswith(b"QUERY")


@given(st.lists(st.binary(max_size=20), max_size=20), st.data())
def test_lines_are_whole_however_bytes_were_cut(lines: list[bytes], data: st.DataObject) -> None:
    clean = [line.replace(b"\n", b"") for line in lines]
    whole = b"".join(line + b"\n" for line in clean)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    reader, found = Lines(), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += reader.feed(whole[start:end])
    assert found == clean
