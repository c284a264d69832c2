"""The audit of the relay's unit tests sees a relay that stores what it forwards."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from stage import ANSWER, message, stage

from relay.http1 import Http1

UNIT = message(b"a line that is only to be relayed")
LEAKS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "file": ("open", lambda place: place.write_bytes(UNIT)),
    "descriptor": ("open", lambda place: os.close(os.open(place, os.O_CREAT | os.O_WRONLY))),
    "temporary file": ("tempfile.mkstemp", lambda place: os.close(tempfile.mkstemp()[0])),
    "renamed": ("os.rename", lambda place: os.rename(__file__, __file__)),
    "database": ("sqlite3.connect", lambda place: sqlite3.connect(place).close()),
    "child": ("subprocess.Popen", lambda place: subprocess.run(["true"], check=True)),
}


@pytest.fixture(params=sorted(LEAKS))
def leaks(request, monkeypatch, tmp_path) -> str:
    """Has the relay leak when it writes an answer; returns the event to hear of."""
    event, leak = LEAKS[request.param]
    write, write_now = Http1.write, Http1.write_now

    async def tapped(self, parts, size, **options):
        leak(tmp_path / "leak")
        await write(self, parts, size, **options)

    def tapped_now(self, parts, size):
        leak(tmp_path / "leak")
        return write_now(self, parts, size)

    monkeypatch.setattr(Http1, "write", tapped)
    monkeypatch.setattr(Http1, "write_now", tapped_now)
    return event


async def test_a_leaking_relay_is_heard(autojump_clock, leaks, stored):
    async with stage() as s:
        agent = await s.agent()
        viewer = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        await stream.send(UNIT)
        stream.end()
        await viewer.response()
        await viewer.rest()
    assert leaks in stored


async def test_what_a_test_itself_does_is_not_the_relays(tmp_path, stored):
    (tmp_path / "x").write_text("of the test")
    assert stored == []
