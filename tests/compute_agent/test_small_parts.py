from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ATTEMPT
from hypothesis import given
from hypothesis import strategies as st

from compute_agent.__main__ import make_accounts, make_token, start
from compute_agent.attempts import Attempt, BadName
from compute_agent.logs.cursor import BadCursor, Cursor
from compute_agent.logs.lines import Open, Position, complete_utf8, cut_utf8
from compute_agent.logs.options import BadOption, TailOptions
from compute_agent.settings import AgentSettings
from tunnel.settings import SettingError, describe
from tunnel.token import NoToken, TokenFile, TokenUnreadable

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


# Names


def test_pod_names_are_readable_where_they_can_be():
    assert ATTEMPT.pod == "run1-a0-1"
    assert ATTEMPT.namespace == "proj-dev"
    assert Attempt.from_labels(ATTEMPT.labels()) == ATTEMPT


@given(st.text("aB.-_9", min_size=1, max_size=63), st.text("aB.-_9", min_size=1, max_size=63))
def test_pod_names_are_valid_and_do_not_collide_by_case_or_length(run, other):
    one, two = replace(ATTEMPT, run=run), replace(ATTEMPT, run=other)
    assert len(one.pod) <= 63
    assert all(c.isdigit() or "a" <= c <= "z" or c == "-" for c in one.pod)
    assert one.pod[0] != "-"
    assert (one.pod == two.pod) == (run == other)


@pytest.mark.parametrize(
    "bad",
    [
        {"run": ""},
        {"run": "a/b"},
        {"run": "x" * 64},
        {"action": "-a"},
        {"attempt": 0},
        {"project": "Upper"},
        {"project": "p" * 40, "domain": "d" * 40},
    ],
)
def test_ids_that_cannot_name_anything_are_refused(bad):
    ATTEMPT.check()
    with pytest.raises(BadName):
        replace(ATTEMPT, **bad).check()


@pytest.mark.parametrize("labels", [{}, {"planesplit/org": "x"}])
def test_pods_of_others_have_no_attempt(labels):
    assert Attempt.from_labels(labels) is None
    assert Attempt.from_labels({**ATTEMPT.labels(), "planesplit/attempt": "x"}) is None


# Tokens


def test_token_file_is_read_when_it_changes(tmp_path: Path):
    file = tmp_path / "token"
    tokens = TokenFile(file)
    with pytest.raises(TokenUnreadable, match="No such file"):
        tokens.current()
    file.write_text(" one \n")
    assert tokens.current().reveal() == b"one"
    file.write_text("two-and-longer")
    assert tokens.current().reveal() == b"two-and-longer"
    for bad in ("", "é", "x" * 20_000):
        file.write_text(bad)
        with pytest.raises(TokenUnreadable):
            tokens.current()


# UTF-8


@given(st.text(min_size=1), st.data())
def test_cuts_split_no_character(text, data):
    raw = text.encode()
    if len(raw) > 4:
        limit = data.draw(st.integers(4, len(raw) - 1))
        cut = cut_utf8(raw, limit)
        assert limit - 3 <= cut <= limit
        assert raw[:cut].decode() + raw[cut:].decode() == text
    end = data.draw(st.integers(0, len(raw)))
    keep = complete_utf8(raw[:end])
    assert end - 3 <= keep <= end
    raw[:keep].decode()


@given(st.binary(min_size=6, max_size=40), st.integers(4, 39))
def test_cuts_do_not_change_how_invalid_bytes_are_shown(raw, limit):
    cut = cut_utf8(raw, min(limit, len(raw) - 1))
    shown = raw[:cut].decode(errors="replace") + raw[cut:].decode(errors="replace")
    assert shown == raw.decode(errors="replace")
    keep = complete_utf8(raw)
    shown = raw[:keep].decode(errors="replace") + raw[keep:].decode(errors="replace")
    assert shown == raw.decode(errors="replace")


# Cursors and options

offsets = st.integers(0, 2**62)
places = st.none() | offsets
opened = st.builds(Open, offsets, offsets, places)
positions = st.builds(
    Position, offsets, st.dictionaries(st.sampled_from(["stdout", "stderr"]), opened), places
)


@given(st.text("0123-abc", max_size=36), positions, offsets)
def test_cursors_round_trip_and_stay_small(uid, position, base):
    cursor = Cursor(uid, "main", 3, position, "2026-01-01T00:00:00.000000001Z", base)
    assert Cursor.decode(cursor.encode()) == cursor
    assert len(cursor.encode()) <= 1024


like_json = st.text('[]{}",:0123456789ax-', max_size=40).map(str.encode)


@given(st.one_of(st.binary(max_size=60), like_json))
def test_foreign_cursors_are_refused_with_one_error(data):
    with pytest.raises(BadCursor):
        Cursor.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b'["u","c",0,-1,0,{},"",0,0,1]',
        b'["u","c",true,1,0,{},"",0,0,1]',
        b'["u","c",0,1,"0",{},"",0,0,1]',
        b'["u","c",0,1,0,{"a":[1]},"",0,0,1]',
    ],
)
def test_numbers_of_cursors_are_checked(data):
    with pytest.raises(BadCursor):
        Cursor.decode(data)


def options(**headers: str) -> TailOptions:
    values = {f"planesplit-{k}": v for k, v in headers.items()}
    return TailOptions.parse(lambda name: values.get(name, ""), lambda: 1000.0)


def test_options():
    assert options() == TailOptions(0, None, True)
    assert options(since="90", lines="5", follow="false") == TailOptions(910 * 10**9, 5, False)
    assert options(since="1970-01-01T00:00:01Z").since_ns == 10**9
    assert options(since="5000").since_ns == 0
    for bad in ({"since": "x"}, {"since": "-1"}, {"lines": "x"}, {"lines": "²"}, {"follow": "1"}):
        with pytest.raises(BadOption):
            options(**bad)


# Settings and the process


def test_every_setting_has_a_reason_and_holds_its_bounds():
    settings = AgentSettings("a", "c", "ws://localhost", "l", "s")
    parts = [settings, settings.dial, settings.backoff, settings.logs, settings.reports]
    listed = [row for part in parts for row in describe(type(part))]
    assert len(listed) > 25
    for row in listed:
        assert row["why"]
        bounded = row["low"] is not None and row["default"] is not None
        assert not bounded or row["low"] <= row["default"] <= row["high"]


def config(tmp_path: Path, **changes) -> dict:
    return {
        "org": "acme",
        "cluster": "c1",
        "relay_url": "ws://127.0.0.1:1/tunnel",
        "log_root": str(tmp_path),
        "state_dir": str(tmp_path),
        "kubernetes_url": "http://127.0.0.1:1",
        **changes,
    }


IDENTITY = {"access_key": "k", "secret_file": "f"}
STORE = {"endpoint_url": "http://store", "executor": IDENTITY, "proxy_system": IDENTITY}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"org": 3}, "org"),
        ({"surprise": 1}, "surprise"),
        ({"log_root": "/nowhere"}, "log_root"),
        ({"state_dir": "/nowhere"}, "state_dir"),
        ({"kubernetes_url": "http://k8s.example"}, "kubernetes_url"),
        ({"kubernetes_url": ""}, "kubernetes_url"),
        ({"kubernetes_url": "https://k8s", "kubernetes_ca_file": "/nowhere"}, "kubernetes_ca_file"),
        ({"relay_url": "wss://relay"}, "token_file"),
        ({"logs": {"poll_max_s": 0.2}}, "poll_max_s"),
        ({"relay_url": "ws://localhost", "data_endpoint": {"host": "0.0.0.0"}}, "data_endpoint"),
        ({"relay_url": "ws://localhost", "objects": STORE}, "endpoint_url"),
        ({"relay_url": "ws://localhost", "objects": {**STORE, "url_ttl_s": 7200.0}}, "url_ttl_s"),
    ],
)
def test_settings_that_cannot_work_end_with_one_error(tmp_path: Path, changes, names):
    with pytest.raises(SettingError, match=names):
        start(config(tmp_path, **changes))


def test_tokens_and_clusters_are_made_from_settings(tmp_path: Path):
    settings = AgentSettings(
        "a", "c", "ws://localhost", "l", "s", kubernetes_url="http://localhost"
    )
    assert isinstance(make_token(settings), NoToken)
    assert isinstance(make_token(replace(settings, token_file="t")), TokenFile)
    assert make_accounts(settings) is not None


def test_process_explains_itself_and_its_errors(tmp_path: Path):
    command = [sys.executable, "-m", "compute_agent"]
    usage = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--config" in usage.stdout
    file = tmp_path / "agent.toml"
    file.write_text('org = "acme"\n')
    failed = subprocess.run(
        [*command, "--config", str(file)], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "is missing" in failed.stderr
