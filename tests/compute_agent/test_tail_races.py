"""What is written between two looks of the agent, planted exactly there."""

from __future__ import annotations

from pathlib import Path

import pytest
from crilog import CriLog, records
from viewing import Viewer, rows

from compute_agent.logs import index as index_module
from compute_agent.logs.index import OffsetIndex


@pytest.fixture
def log(tmp_path: Path) -> CriLog:
    return CriLog(tmp_path)


class Once:
    """Runs an action before the next call of a wrapped function, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, skip: int = 0):
        self.action, self.skip = None, skip
        original = getattr(owner, name)

        def wrapped(*arguments):
            action, self.action = (self.action, None) if not self.skip else (None, self.action)
            self.skip -= bool(self.skip)
            if action is not None:
                action()
            return original(*arguments)

        monkeypatch.setattr(owner, name, wrapped)


def test_written_to_the_old_file_before_the_new_one_has_a_byte(log: CriLog, monkeypatch):
    once = Once(monkeypatch, OffsetIndex, "listing")
    log.write(b"first")
    late = records(b"late", log.ns, b"stdout")
    log.raw(late[:-3])
    viewer = Viewer(log).read()

    def rotation_ends() -> None:
        with log.rotated()[-1].open("ab") as file:
            file.write(late[-3:])
        log.write(b"new")

    log.rename()
    once.action = rotation_ends
    assert viewer.read().text == "first\nlate\nnew\n"


def test_offsets_are_right_when_rotation_ends_while_files_are_listed(log: CriLog, monkeypatch):
    log.write(b"first")
    log.rename()
    log.path.touch()
    once = Once(monkeypatch, index_module, "_look", skip=1)

    def rotation_ends() -> None:
        with log.rotated()[-1].open("ab") as file:
            file.write(records(b"late", log.ns, b"stdout"))
        log.write(b"new")

    once.action = rotation_ends
    old, new = OffsetIndex(log.directory.parent.parent, None, 5).listing(log.directory, 0).files
    assert (old.base, new.base) == (0, old.path.stat().st_size)


def test_offsets_are_right_when_a_rotation_happens_while_files_are_listed(log, monkeypatch):
    log.write(b"one")
    log.rotate()
    log.write(b"two")
    once = Once(monkeypatch, index_module, "_look", skip=1)

    def rotate() -> None:
        log.rotate()
        log.write(b"three")

    once.action = rotate
    files = OffsetIndex(log.directory.parent.parent, None, 5).listing(log.directory, 0).files
    assert [f.base for f in files] == [0, files[0].size, files[0].size + files[1].size]


def test_written_to_a_life_before_the_next_one_begins(log: CriLog, monkeypatch):
    once = Once(monkeypatch, OffsetIndex, "restarts")
    log.write(b"one")
    viewer = Viewer(log).read()
    follower = CriLog(log.directory.parent.parent, restart=1)

    def restart() -> None:
        log.write(b"last words")
        follower.write(b"two")

    once.action = restart
    assert viewer.read().text == "one\nlast words\ntwo\n"


def test_file_renamed_between_listing_and_opening(log: CriLog, monkeypatch):
    from compute_agent.logs import files as files_module

    once = Once(monkeypatch, files_module, "_open")
    log.write(b"one")
    viewer = Viewer(log).open()

    def rotate() -> None:
        log.rotate()
        log.write(b"two")

    once.action = rotate
    assert viewer.read().text == "one\ntwo\n"


def test_torn_record_at_the_end_of_a_rotated_file(log: CriLog):
    log.raw(records(b"torn", log.ns, b"stdout")[:-1])
    log.rotate()
    log.write(b"new")
    assert Viewer(log).read().text == "torn\nnew\n"


def test_resume_with_unfinished_lines_of_both_streams(log: CriLog):
    """Records between the two beginnings belong to lines that were delivered."""
    out = rows(records(b"o" * 40_000, log.ns, b"stdout"))
    err = rows(records(b"e" * 20_000, log.ns, b"stderr"))
    log.raw(out[0])
    log.write(b"done", b"stderr")
    log.raw(err[0])
    viewer = Viewer(log).read()
    assert viewer.text == "done\n"
    viewer.resume()
    log.raw(out[1] + err[1] + out[2])
    assert viewer.read().text == "done\n" + "e" * 20_000 + "\n" + "o" * 40_000 + "\n"


def test_compressed_file_that_is_damaged_ends_the_tail(log: CriLog):
    log.write(b"x" * 1000)
    log.rotate()
    log.write(b"new")
    log.rotate()
    packed = log.rotated()[0]
    packed.write_bytes(packed.read_bytes()[:40] + b"\0" * 8)
    with pytest.raises(index_module.LogUnreadable):
        Viewer(log).read()
