"""Whose signature counts at an agent: the operator's file, pushes after it, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agent_cast import NOW_S, URL

from compute_agent.trust import Trust
from control_stub.issuer import Issuer, TokenRefused
from tunnel.verifier import IDENTITY, VIEWER, TokenInvalid, embedded_identity, import_keys

REREAD_S = 10.0


def issuer(*keys: str) -> Issuer:
    return Issuer(URL, [*keys] or [Issuer.new_key()[1]], token_s=600, clock=lambda: NOW_S)


def identity(by: Issuer) -> str:
    return embedded_identity(by.viewer_token("vic", "acme"))


class Stage:
    """A file of keys, and a clock."""

    def __init__(self, path: Path) -> None:
        self.file, self.clock = path / "issuer.json", SimpleNamespace(now=0.0)
        self.trust = Trust(
            str(self.file), reread_s=REREAD_S, now_s=lambda: NOW_S, time_s=lambda: self.clock.now
        )

    def write(self, *issuers: Issuer, url: str = URL) -> None:
        keys = [key for one in issuers for key in one.jwks()["keys"]]
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"issuer": url, "keys": keys}))
        fresh.replace(self.file)

    def believes(self, by: Issuer) -> bool:
        try:
            return bool(self.trust.verify(identity(by), IDENTITY))
        except TokenInvalid:
            return False


@pytest.fixture
def at(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_nobody_is_believed_without_a_file(at: Stage) -> None:
    assert not at.believes(issuer())


def test_the_file_is_believed_and_read_again_when_it_changes(at: Stage) -> None:
    old, new = issuer(), issuer()
    at.write(old)
    assert at.believes(old)
    assert not at.believes(new)
    at.write(old, new)
    assert not at.believes(new)  # it was looked at a moment ago
    at.clock.now += REREAD_S
    assert at.believes(new)
    assert at.believes(old)


def test_an_unknown_key_costs_one_look_in_a_while(at: Stage, monkeypatch: Any) -> None:
    known = issuer()
    at.write(known)
    assert at.believes(known)
    looks: list[Path] = []
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **o: (looks.append(self), stat(self, **o))[1])
    for _ in range(500):
        assert not at.believes(STRANGER)
    assert looks == []
    for _ in range(3):
        at.clock.now += REREAD_S
        for _ in range(100):
            assert not at.believes(STRANGER)
    assert len(looks) == 3
    assert at.believes(known)


STRANGER = issuer()


def test_a_push_brings_other_keys_and_a_newer_file_counts_again(at: Stage) -> None:
    old, new = issuer(), issuer()
    at.write(old)
    assert at.believes(old)
    at.trust.adopt(URL, import_keys(new.jwks()))
    assert at.believes(new)
    assert not at.believes(old)
    at.clock.now += REREAD_S
    assert not at.believes(old)  # the file is what it was
    at.write(old)
    at.clock.now += REREAD_S
    assert at.believes(old)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"issuer": "x"}', '{"keys": []}', "x" * 70_000])
def test_a_file_that_is_none_changes_nothing(at: Stage, text: str) -> None:
    known = issuer()
    at.write(known)
    assert at.believes(known)
    at.file.write_text(text)
    at.clock.now += REREAD_S
    assert not at.believes(STRANGER)
    assert at.believes(known)


def test_another_issuers_name_is_not_enough(at: Stage) -> None:
    known = issuer()
    at.write(known, url="https://other.example")
    assert not at.believes(known)


def test_an_identity_is_no_token_and_a_token_no_identity(at: Stage) -> None:
    known = issuer()
    at.write(known)
    token = known.viewer_token("vic", "acme")
    assert known.verify(token).subject == "vic"
    for wrong in (
        identity(known),
        known.agent_token("acme", "c1"),
        known.asked("a", "c", "/x", b""),
    ):
        with pytest.raises(TokenRefused):
            known.verify(wrong)
    assert at.trust.verify(token, VIEWER)["sub"] == "vic"
    with pytest.raises(TokenInvalid):
        at.trust.verify(token, IDENTITY)


def _always(self: Trust) -> bool:
    """Planted mutant: the file is looked at whenever a token is not good."""
    self._looked_at = -1e9
    return _REREAD(self)


_REREAD: Callable[[Trust], bool] = Trust._reread


def test_mutant_that_looks_at_once_is_caught(at: Stage, monkeypatch: Any) -> None:
    monkeypatch.setattr(Trust, "_reread", _always)
    with pytest.raises(AssertionError):
        test_an_unknown_key_costs_one_look_in_a_while(at, monkeypatch)
