"""Output that is no longer kept is told, never passed over; and only what is missing is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from crilog import CriLog
from viewing import Viewer

from compute_agent.logs.index import OffsetIndex


@pytest.fixture
def log(tmp_path: Path) -> CriLog:
    return CriLog(tmp_path)


def test_deleted_while_nobody_read_is_told_with_the_number_of_bytes(log: CriLog):
    viewer = Viewer(log)
    log.write(b"first")
    first = viewer.read().index
    per_file = log.written
    for n in range(7):
        log.rotate()
        log.write(b"%05d" % n)
        list(first.scan())
    assert "first" in viewer.text
    later = Viewer(log, index=first).read()
    gap = f"[planesplit] log gap: {3 * per_file} bytes of the output is no longer kept\n"
    assert later.text == gap + "00002\n00003\n00004\n00005\n00006\n"
    assert later.originators[0] == 2


def test_deleted_while_a_tail_stood_still_is_told(log: CriLog):
    viewer = Viewer(log)
    log.write(b"first")
    viewer.read()
    per_file = log.written
    for n in range(8):
        log.rotate()
        log.write(b"%05d" % n)
        list(viewer.index.scan())
    gap = f"[planesplit] log gap: {3 * per_file} bytes of the output is no longer kept\n"
    assert viewer.read().lines == ["first\n", gap, *(f"{n:05d}\n" for n in range(3, 8))]
    assert Viewer(log).open(viewer.units[-1][1]).read().text == "", "and told once"


def test_deleted_while_the_agent_was_down_is_told_as_unknown(log: CriLog):
    for n in range(7):
        log.write(b"%05d" % n)
        log.rotate()
    log.write(b"last")
    viewer = Viewer(log).read()
    gap = "[planesplit] log gap: an unknown part of the output is no longer kept\n"
    assert viewer.lines == [gap, "00003\n", "00004\n", "00005\n", "00006\n", "last\n"]


@pytest.mark.parametrize("unseen", [0, 1, 7])
def test_file_read_to_its_end_long_after_it_was_deleted(tmp_path: Path, unseen: int):
    """The index knew less of the open file than the reader did when all of it was replaced."""
    log = CriLog(tmp_path, kept=2)
    log.write(b"seen")
    viewer = Viewer(log).read()
    log.write_all([b"unseen"] * unseen)
    for n in range(5):
        log.rotate()
        log.write(b"%05d" % n)
    gap = "[planesplit] log gap: an unknown part of the output is no longer kept\n"
    assert viewer.read().lines == ["seen\n", *["unseen\n"] * unseen, gap, "00003\n", "00004\n"]
    log.rotate()
    log.write(b"next")
    assert viewer.resume().read().lines[-1] == "next\n"
    assert viewer.text.count("gap") == 1


def test_files_that_vanish_unread_are_told(log: CriLog):
    log.write(b"first")
    viewer = Viewer(log).read()
    viewer.tail.tell_loss(ran=True)
    viewer.finish()
    assert viewer.text == "first\n", "the last file was read to its end"
    log.rotate()
    log.write(b"unread")
    late = Viewer(log).open()
    late.tail.read()
    for path in log.directory.iterdir():
        path.unlink()
    late.finish()
    late.tail.tell_loss(ran=True)
    late.flush()
    assert late.lines == [
        "first\n",
        "[planesplit] log gap: an unknown part of the output is no longer kept\n",
    ]


def test_copytruncate_is_told_or_read_from_the_copy(log: CriLog):
    viewer = Viewer(log)
    log.write(b"one")
    viewer.read()
    log.write(b"two")
    copy = log.path.with_name("0.log.20250101-000001")
    copy.write_bytes(log.path.read_bytes())
    log.path.write_bytes(b"")
    log.write(b"three")
    assert viewer.read().lines == ["one\n", "two\n", "three\n"]
    log.write(b"four")
    log.path.write_bytes(b"")
    log.write(b"five, which is longer than all that was there before")
    lines = viewer.read().lines[3:]
    assert lines[0] == "[planesplit] log gap: an unknown part of the output is no longer kept\n"
    assert lines[1:] == ["five, which is longer than all that was there before\n"]


def test_file_that_was_seen_only_when_it_was_empty(tmp_path: Path):
    log = CriLog(tmp_path, kept=3)
    log.path.touch()
    viewer = Viewer(log).read()
    for n in range(5):
        log.write(b"%05d" % n)
        log.rotate()
    log.write(b"last")
    gap = "[planesplit] log gap: an unknown part of the output is no longer kept\n"
    assert Viewer(log, index=viewer.index).read().lines == [gap, "00003\n", "00004\n", "last\n"]


def test_tail_that_was_there_before_the_first_file(tmp_path: Path):
    log = CriLog(tmp_path, kept=3)
    viewer = Viewer(log).read()
    for n in range(5):
        log.write(b"%05d" % n)
        log.rotate()
    assert viewer.read().lines[1:] == ["00003\n", "00004\n"]
    assert "an unknown part" in viewer.lines[0]


def test_file_that_begins_with_garbage_is_numbered_too(log: CriLog):
    log.raw(b"garbage\n")
    viewer = Viewer(log).read()
    log.rotate()
    log.write(b"more")
    assert viewer.read().text == "garbage\nmore\n"
    assert viewer.index.listing(log.directory, 0).files[1].base == len(b"garbage\n")


def test_offsets_survive_a_restart_of_the_agent(log: CriLog, tmp_path: Path):
    state = tmp_path / "offsets.json"
    for n in range(7):
        log.write(b"%05d" % n)
        list(OffsetIndex(tmp_path, state, log.kept).scan())
        log.rotate()
    index = OffsetIndex(tmp_path, state, log.kept)
    listing = index.listing(log.directory, 0)
    assert listing.exact
    assert listing.files[-1].base == log.written
    assert "0000" not in state.read_text().replace("20250101-0000", "").replace(".0000", "")


def test_resume_with_a_lost_index_finds_the_place_by_the_file(log: CriLog):
    viewer = Viewer(log)
    for n in range(6):
        log.write(b"%05d" % n)
        viewer.read()
        log.rotate()
    log.write(b"more")
    fresh = Viewer(log, index=OffsetIndex(viewer.root, None, log.kept))
    assert fresh.open(viewer.units[-2][1]).read().text == "00005\nmore\n"


def test_resume_after_all_of_the_known_files_are_gone(log: CriLog):
    log.write(b"first")
    viewer = Viewer(log).read()
    for n in range(7):
        log.rotate()
        log.write(b"%05d" % n)
    text = viewer.resume().read().text
    assert "unknown part" in text
    assert text.endswith("00002\n00003\n00004\n00005\n00006\n")


def test_damaged_state_file_counts_as_none(log: CriLog, tmp_path: Path):
    state = tmp_path / "offsets.json"
    state.write_text('{"logs": 7}')
    log.write(b"x")
    index = OffsetIndex(tmp_path, state, log.kept)
    list(index.scan())
    assert OffsetIndex(tmp_path, state, log.kept).listing(log.directory, 0).files


def test_cursor_of_another_pod_is_told_and_starts_anew(log: CriLog):
    log.write(b"x")
    other = Viewer(log, uid="other").read()
    text = Viewer(log).open(other.units[-1][1]).read().text
    assert "gap" in text
    assert text.endswith("x\n")
