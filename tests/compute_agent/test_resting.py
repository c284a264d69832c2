"""A tail whose files rest looks at them by two stats: no change may escape it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from crilog import CriLog, records
from viewing import Viewer

from compute_agent.logs.files import LogReader


@pytest.fixture
def log(tmp_path: Path) -> CriLog:
    return CriLog(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[LogReader]:
    """Readers that looked into their file, once for each time."""
    found: list[LogReader] = []
    original = LogReader._block

    def block(reader: LogReader):
        found.append(reader)
        return original(reader)

    monkeypatch.setattr(LogReader, "_block", block)
    return found


def settle(log: CriLog) -> None:
    """Nothing has changed for an hour."""
    for path in (log.path, log.directory):
        at_ns = path.stat().st_mtime_ns - 3_600 * 10**9
        os.utime(path, ns=(at_ns, at_ns))


def resting(log: CriLog) -> Viewer:
    log.write(b"first")
    settle(log)
    viewer = Viewer(log).read()
    assert not viewer.tail.read()
    assert viewer.text == "first\n"
    return viewer


def test_a_resting_log_is_not_read(log: CriLog, reads: list[LogReader]):
    viewer = resting(log)
    before = len(reads)
    for _ in range(3):
        assert not viewer.tail.read()
    assert len(reads) == before


def test_a_log_that_has_just_changed_does_not_rest(log: CriLog, reads: list[LogReader]):
    log.write(b"first")
    viewer = Viewer(log).read()
    before = len(reads)
    for _ in range(3):
        assert not viewer.tail.read()
    assert len(reads) == before + 3


def rotated(log: CriLog) -> None:
    log.rotate()
    log.write(b"next")


def next_life(log: CriLog) -> None:
    CriLog(log.directory.parent.parent, restart=1).write(b"next")


def replaced_by_as_many_bytes(log: CriLog) -> None:
    """As `copytruncate` does, without a copy."""
    log.path.write_bytes(records(b"other", log.ns + 1000, b"stdout"))


CHANGES = [lambda log: log.write(b"next"), rotated, next_life]


@pytest.mark.parametrize("change", CHANGES, ids=["appended", "rotated", "restarted"])
def test_every_change_ends_the_rest(log: CriLog, change: Callable[[CriLog], None]):
    viewer = resting(log)
    change(log)
    assert viewer.read().text == "first\nnext\n"


def test_other_content_of_the_same_size_ends_the_rest(log: CriLog):
    viewer = resting(log)
    replaced_by_as_many_bytes(log)
    assert "other\n" in viewer.read().text


def test_a_change_in_the_same_tick_of_the_file_systems_clock_is_seen(log: CriLog):
    log.write(b"first")
    viewer = Viewer(log).read()
    assert not viewer.tail.read()
    at_ns = log.path.stat().st_mtime_ns
    replaced_by_as_many_bytes(log)
    os.utime(log.path, ns=(at_ns, at_ns))
    assert "other\n" in viewer.read().text


def test_a_deleted_log_does_not_rest(log: CriLog):
    viewer = resting(log)
    log.path.unlink()
    log.directory.rmdir()
    assert not viewer.tail.read()
    assert viewer.tail.vanished()
