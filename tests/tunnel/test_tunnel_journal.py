"""The journal takes numbers and identifiers, nothing else; third-party loggers are silent."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import Code
from tunnel.journal import NOISY_LOGGERS, Journal, tame_loggers
from tunnel.payload import Payload


def written(lines: list[str]) -> list[dict[str, Any]]:
    """What a journal wrote, parsed; each line must be one line of strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert all(line.endswith("\n") and "\n" not in line[:-1] for line in lines)
    return [json.loads(line, parse_constant=refuse) for line in lines]


def journal() -> tuple[Journal, list[str]]:
    lines: list[str] = []
    return Journal("relay", write=lines.append, clock=lambda: 12.3456789), lines


def test_an_event_is_one_line_of_json() -> None:
    log, lines = journal()
    log.event("tunnel_opened", org="acme", streams=3, rtt_s=0.25, resumed=True, code=Code.REPLACED)
    assert written(lines) == [
        {
            "t": 12.345679,
            "plane": "relay",
            "event": "tunnel_opened",
            "org": "acme",
            "streams": 3,
            "rtt_s": 0.25,
            "resumed": True,
            "code": 8,
        }
    ]


def test_stderr_is_where_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    Journal("relay").event("ready")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "ready"
    assert json.loads(captured.err)["t"] > 1.7e9


@pytest.mark.parametrize("name", ["", "Opened", "tunnel opened", "1st", "a" * 65, "a\n", "ä"])
def test_names_are_identifiers(name: str) -> None:
    log, lines = journal()
    with pytest.raises(ValueError, match="identifier"):
        log.event(name)
    assert lines == []


@pytest.mark.parametrize("text", ["two words", "line\n", "x" * 129, "naïve", '"quoted"', "a{b}"])
def test_text_that_may_be_payload_is_refused_without_being_shown(text: str) -> None:
    log, lines = journal()
    with pytest.raises(ValueError, match="value 'run' is not an identifier") as refusal:
        log.event("opened", run=text)
    assert text not in str(refusal.value)
    assert lines == []


@pytest.mark.parametrize(
    "value", [b"bytes", Payload(b"x"), None, ["a"], {"a": 1}, memoryview(b"x"), ValueError("x")]
)
def test_other_types_are_refused(value: Any) -> None:
    log, lines = journal()
    with pytest.raises(TypeError, match="value 'run'"):
        log.event("opened", run=value)
    assert lines == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_know_are_refused(number: float) -> None:
    log, lines = journal()
    with pytest.raises(ValueError, match="rtt_s"):
        log.event("opened", rtt_s=number)
    assert lines == []


def test_what_every_line_says_cannot_be_overwritten() -> None:
    log, lines = journal()
    log.event("opened", plane="agent", event="closed", t=0)
    (line,) = written(lines)
    assert (line["plane"], line["event"], line["t"]) == ("relay", "opened", 12.345679)


@given(st.text(max_size=20) | st.floats() | st.integers() | st.binary(max_size=20))
def test_whatever_is_written_can_be_parsed(value: Any) -> None:
    log, lines = journal()
    with contextlib.suppress(ValueError, TypeError):
        log.event("opened", value=value)
        assert written(lines)[0]["value"] == value


def test_noisy_loggers_are_silenced_at_any_level() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    try:
        tame_loggers()
        for name in NOISY_LOGGERS:
            for logger in (logging.getLogger(name), logging.getLogger(f"{name}.child")):
                logger.critical("a secret")
                logger.debug("a secret")
        logging.getLogger("ours").critical("heard")
    finally:
        root.removeHandler(handler)
    assert stream.getvalue() == "heard\n"
