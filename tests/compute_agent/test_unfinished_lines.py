"""Lines that nothing finishes: at the end of a log, before a gap, over a unit, by any name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from crilog import CriLog, records, stamp
from viewing import Viewer, rows

from compute_agent.logs.batch import UNIT_BYTES
from compute_agent.logs.cri import NO_OFFSET, Record
from compute_agent.logs.cursor import BadCursor, Cursor, Place
from compute_agent.logs.files import Gap
from compute_agent.logs.history import Row
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.lines import Position
from compute_agent.logs.options import TailOptions
from compute_agent.logs.tail import Tail

GAP = "[planesplit] log gap: "


@pytest.fixture
def log(tmp_path: Path) -> CriLog:
    return CriLog(tmp_path)


def begun(log: CriLog, content: bytes, stream: bytes) -> None:
    """Write the first records of a line, not the last one."""
    log.raw(b"".join(rows(records(content + b"!", log.ns, stream, 10_000))[:-1]))


def resumed(log: CriLog, viewer: Viewer, taken: int) -> str:
    """What comes after the first units, and what was taken of them, for somebody who was cut."""
    later = Viewer(log, index=viewer.index).open(viewer.units[taken - 1][1]).finish()
    return "".join(text for text, _ in viewer.units[:taken]) + later.text


def test_cut_between_the_last_lines_of_both_streams(log: CriLog):
    log.write(b"a" * 40_000)
    begun(log, b"o" * 40_000, b"stdout")
    begun(log, b"e" * 40_000, b"stderr")
    viewer = Viewer(log).open()
    while viewer.tail.read():
        pass  # a busy tail has not sent its message when the log ends
    viewer.tail.finish()
    viewer.flush()
    assert sorted(map(len, viewer.lines)) == [40_001] * 3
    for taken in range(1, len(viewer.units) + 1):
        assert sorted(resumed(log, viewer, taken)) == sorted(viewer.text), taken


def test_begun_before_a_gap_is_shown_before_it(tmp_path: Path):
    log = CriLog(tmp_path, kept=2)
    begun(log, b"o" * 20_000, b"stdout")
    viewer = Viewer(log).read()
    for n in range(5):
        log.rotate()
        log.write(b"%05d" % n)
    assert [line[:22] for line in viewer.read().lines] == [
        "o" * 22, GAP, "00003\n", "00004\n"
    ]  # fmt: skip
    assert len(viewer.lines[0]) == 20_001


@pytest.mark.parametrize("size", [64_000, 65_300, 65_400, 65_450, 65_480])
def test_notice_behind_a_long_unfinished_line_fits_into_a_unit(log: CriLog, size: int):
    """`Viewer` holds every unit against the bound that the relay does."""
    viewer = Viewer(log)
    place = Place(Position(1, {}, 0), gap=Gap(None, 0))
    viewer.tail = tail = Tail(viewer.source, viewer.index, viewer.limits, 0, place, history=True)
    viewer.flush()
    tail.open_end()
    content = b"x" * size
    record = Record(NO_OFFSET, NO_OFFSET, b"stdout", False, log.ns, content, 1)
    tail.take([Row(0, record)])
    tail.note("5 records of the output is neither kept on the node nor in the log aggregator")
    viewer.flush()
    assert viewer.lines[1] == "x" * size + "\n"
    assert viewer.lines[2].startswith(GAP)


@pytest.mark.parametrize("head", [b"", b"not-a-time ", b"2024-01-01 ", b"1234567890 "])
def test_long_first_line_that_is_no_record_is_not_repeated(log: CriLog, head: bytes):
    log.raw(head + b"x" * (3 * UNIT_BYTES) + b"\n")
    log.write(b"after")
    viewer = Viewer(log).finish()
    assert len(viewer.units) > 3
    for taken in range(1, len(viewer.units) + 1):
        assert resumed(log, viewer, taken) == viewer.text, taken


@pytest.mark.parametrize("head", [b"1234567890", b"2024-01-01 12:00:00", b"+-+-+-+-+-+-"])
def test_first_word_that_only_looks_like_a_time(log: CriLog, head: bytes):
    log.raw(head + b" begins\n")
    log.write(b"after")
    since = TailOptions(since_ns=log.ns)
    assert Viewer(log, options=since).read().lines[-1] == "after\n"
    viewer = Viewer(log).read()
    for _ in range(7):
        log.rotate()
        log.raw(head + b" goes on\n")
        log.write(b"more")
    assert viewer.resume().read().lines[-1] == "more\n"
    assert Viewer(log).open(viewer.units[-1][1]).read().text == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [(4, "soon"), (4, "1234567890"), (4, "\ud800"), (3, [1, None, {"other": [1, 0, 0]}])],
    ids=["word", "digits", "surrogate", "stream"],
)
def test_cursor_that_no_tail_makes_is_refused(log: CriLog, field: int, value: object):
    log.write(b"line")
    place = json.loads(Viewer(log).read().units[-1][1])
    mine = [*place[:3], place[3:6], *place[6:]]
    mine[field] = value
    flat = [*mine[:3], *mine[3], *mine[4:]]
    with pytest.raises(BadCursor):
        Cursor.decode(json.dumps(flat).encode())
    assert stamp(log.ns).decode() == place[6], "the field that was meant"


def test_damaged_log_does_not_keep_others_from_being_numbered(tmp_path: Path):
    state = tmp_path / "index.json"
    damaged, sound = (CriLog(tmp_path / "logs", pod=f"ns_pod-{n}_uid") for n in "ab")
    for log in (damaged, sound):
        log.write(b"line")
        log.rotate()
        log.write(b"line")
        log.rotate()
    damaged.rotated()[0].with_suffix(".gz").write_bytes(b"no gzip file")
    for _ in range(2):
        with pytest.raises(OSError, match="damaged"):
            list(OffsetIndex(tmp_path / "logs", state, 5).scan())
    numbered = json.loads(state.read_text())["logs"]
    assert [key for key in numbered if "pod-b" in key]
