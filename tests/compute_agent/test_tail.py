from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from crilog import CriLog, records
from hypothesis import given, settings
from hypothesis import strategies as st
from viewing import Viewer, rows

from compute_agent.logs import batch
from compute_agent.logs.batch import UNIT_BYTES
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.options import TailOptions
from compute_agent.settings import LogLimits


@pytest.fixture
def log(tmp_path: Path) -> CriLog:
    return CriLog(tmp_path)


def numbered(first: int, last: int) -> list[bytes]:
    return [b"line %d" % n for n in range(first, last)]


def shown(lines: list[bytes]) -> str:
    return "".join(line.decode() + "\n" for line in lines)


def test_lines_carry_time_originator_and_newline(log: CriLog):
    log.write(b"out")
    log.write(b"err", b"stderr")
    viewer = Viewer(log).read()
    assert viewer.text == "out\nerr\n"
    assert viewer.originators == [1, 1]
    assert viewer.times == [log.ns - 1000, log.ns]


def test_torn_last_line_waits_until_it_is_complete_or_the_log_ends(log: CriLog):
    whole = records(b"second", log.ns, b"stdout")
    log.write(b"first")
    log.raw(whole[:-4])
    viewer = Viewer(log).read()
    assert viewer.text == "first\n"
    log.raw(whole[-4:])
    assert viewer.read().text == "first\nsecond\n"
    log.raw(records(b"torn", log.ns, b"stdout")[:-1])
    assert viewer.finish().text == "first\nsecond\ntorn\n"


def test_unfinished_line_is_delivered_when_the_log_ends(log: CriLog):
    log.raw(rows(records(b"x" * 20_000, log.ns, b"stdout"))[0])
    viewer = Viewer(log).read()
    assert viewer.text == ""
    assert viewer.finish().text == "x" * 16_384 + "\n"


def test_garbage_does_not_disturb_the_lines_around_it(log: CriLog):
    log.write(b"before")
    log.raw(b"\x00\x01garbage\xff\n\n")
    log.write(b"after")
    viewer = Viewer(log).read()
    assert viewer.text == "before\n\x00\x01garbage\ufffd\nafter\n"
    assert viewer.originators == [1, 0, 1]
    assert viewer.times[1] == viewer.times[0], "it has no time of its own"


def test_invalid_utf8_becomes_replacement_characters(log: CriLog):
    log.write(b"caf\xe9 \xff\xfe ok")
    log.write(b"\xff" * 65_536)  # grows threefold
    assert Viewer(log).read().text == "caf\ufffd \ufffd\ufffd ok\n" + "\ufffd" * 65_536 + "\n"


@pytest.mark.parametrize("size", [60_000, 65_400, 65_536, 3_000_000])
def test_long_lines_come_through_byte_exact(log: CriLog, size: int):
    """Multi-byte characters straddle the 16 KiB pieces and the units."""
    content = ("aé€😀" * (size // 10 + 1)).encode()[1:size]
    content = content.decode(errors="ignore").encode()
    log.write(b"before")
    log.write(content)
    log.write(b"after")
    viewer = Viewer(log).read()
    assert viewer.text.encode() == b"before\n" + content + b"\nafter\n"
    assert len(viewer.units) >= size // UNIT_BYTES


def test_lines_of_both_streams_stay_whole_when_their_pieces_alternate(log: CriLog):
    out = rows(records(b"o" * 40_000, log.ns, b"stdout"))
    err = rows(records(b"e" * 20_000, log.ns, b"stderr"))
    log.raw(b"".join([out[0], err[0], out[1], err[1], out[2]]))
    assert Viewer(log).read().text == "e" * 20_000 + "\n" + "o" * 40_000 + "\n"


def test_line_over_the_limit_is_delivered_while_it_grows(log: CriLog):
    limits = LogLimits(line_max_bytes=65_536)
    content = "é".encode() * 100_000
    data = records(content, log.ns, b"stdout", 16_383)
    log.raw(data[:150_000])
    viewer = Viewer(log, limits=limits).read()
    assert 65_536 < len(viewer.text.encode()) < 150_000
    viewer.resume()
    log.raw(data[150_000:])
    assert viewer.read().text.encode() == content + b"\n"


def cut_everywhere(log: CriLog, expected: str) -> None:
    """Resume at every cursor; what follows must be exactly the rest."""
    viewer = Viewer(log).read()
    assert viewer.text == expected
    done = ""
    for text, cursor in viewer.units:
        done += text
        assert done + Viewer(log).open(cursor).read().text == expected


def test_resume_at_every_line_boundary(log: CriLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "UNIT_BYTES", 120)  # one line a unit
    log.write_all(numbered(0, 10))
    log.rotate()
    log.write_all(numbered(10, 20))
    log.rotate()
    log.write_all(numbered(20, 30))
    cut_everywhere(log, shown(numbered(0, 30)))


def test_resume_inside_a_huge_line_beside_pieces_of_the_other_stream(log: CriLog):
    out = rows(records("€uro ".encode() * 40_000, log.ns, b"stdout"))
    err = rows(records(b"e" * 200_000, log.ns, b"stderr"))
    mixed = b"".join(a + b for a, b in zip(out, err, strict=False))
    log.raw(mixed + b"".join(out[len(err) :]) + b"".join(err[len(out) :]))
    log.write(b"end")
    expected = ["€uro " * 40_000 + "\n", "e" * 200_000 + "\n"]
    expected = expected if len(out) < len(err) else expected[::-1]
    cut_everywhere(log, "".join(expected) + "end\n")


def test_connection_lost_after_every_unit(log: CriLog):
    content = ("€uro " * 60_000).encode()
    log.write(content)
    log.write(b"\xff" * 70_000)
    viewer, kept = Viewer(log).read(), 1
    while len(viewer.units) > kept:
        del viewer.units[kept:]
        viewer.resume().read()
        kept += 1
    assert viewer.text == content.decode() + "\n" + "\ufffd" * 70_000 + "\n"


def test_rotation_while_following(log: CriLog):
    viewer = Viewer(log)
    expected = b""
    for n in range(12):
        log.write(b"old %d" % n)
        viewer.read()
        late = records(b"late %d" % n, log.ns, b"stdout")
        log.rename()
        rotated = log.rotated()[-1]
        viewer.read()
        with rotated.open("ab") as file:  # the runtime has not reopened yet
            file.write(late)
        log.path.touch()
        viewer.read()
        log.write(b"new %d" % n)
        log.compress()
        log.delete_oldest()
        expected += b"old %d\nlate %d\nnew %d\n" % (n, n, n)
    assert viewer.read().text.encode() == expected


def test_restarts_follow_each_other(tmp_path: Path):
    lives = [CriLog(tmp_path, restart=n) for n in range(3)]
    lives[0].write(b"one")
    viewer = Viewer(lives[0]).read()
    lives[0].raw(records(b"one torn", lives[0].ns, b"stdout")[:-1])
    lives[1].write(b"two")
    assert viewer.read().text == "one\none torn\ntwo\n"
    lives[2].write(b"three")
    assert viewer.resume().read().text == "one\none torn\ntwo\nthree\n"
    lives[0].path.unlink()
    assert "gap" in Viewer(lives[0]).read().lines[0]


def test_since_skips_older_lines_and_files(log: CriLog):
    log.write_all(numbered(0, 5))
    log.rotate()
    log.write_all(numbered(5, 10))
    since = log.ns - 1000
    viewer = Viewer(log, options=TailOptions(since_ns=since)).read()
    assert viewer.text == shown(numbered(8, 10))
    before = Viewer(log, options=TailOptions(since_ns=1)).read()
    assert before.text == shown(numbered(0, 10))


@pytest.mark.parametrize("wanted", [0, 1, 3, 7, 12, 50])
def test_last_lines(log: CriLog, wanted: int):
    log.write_all(numbered(0, 5))
    log.rotate()
    log.write_all(numbered(5, 9))
    log.rotate()
    log.write_all([b"y" * 40_000, *numbered(9, 11)])
    every = [*numbered(0, 9), b"y" * 40_000, *numbered(9, 11)]
    viewer = Viewer(log, options=TailOptions(lines=wanted)).read()
    assert viewer.text == shown(every[len(every) - min(wanted, len(every)) :])
    log.write(b"next")
    assert viewer.read().text.endswith("next\n")


def test_last_lines_begin_with_whole_lines_of_both_streams(log: CriLog):
    out = rows(records(b"o" * 40_000, log.ns, b"stdout"))
    err = rows(records(b"e" * 20_000, log.ns, b"stderr"))
    log.raw(b"".join([out[0], err[0], out[1], err[1], out[2]]))
    viewer = Viewer(log, options=TailOptions(lines=1)).read()
    assert viewer.text == "o" * 40_000 + "\n"
    both = Viewer(log, options=TailOptions(lines=2)).read()
    assert both.text == "e" * 20_000 + "\n" + "o" * 40_000 + "\n"


contents = st.binary(max_size=300).map(lambda data: data.replace(b"\n", b"?"))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), contents, st.sampled_from([b"stdout", b"stderr"])),
        st.sampled_from([("rotate",), ("read",), ("resume",), ("restart",)]),
    ),
    max_size=25,
)


class Runtime:
    """Writes pieces of two streams alternately, as a container runtime does."""

    def __init__(self, log: CriLog, piece_bytes: int) -> None:
        self.log, self.piece_bytes = log, piece_bytes
        self.queues: dict[bytes, list[bytes]] = {b"stdout": [], b"stderr": []}
        self.unfinished = {b"stdout": b"", b"stderr": b""}
        self.expected = b""

    def print(self, content: bytes, stream: bytes) -> None:
        self.log.ns += len(content) % 2  # clocks are coarse
        data = records(content, self.log.ns, stream, self.piece_bytes)
        self.queues[stream] += rows(data)
        self.step()

    def step(self) -> None:
        for stream, queue in self.queues.items():
            if queue:
                record = queue.pop(0)
                self.log.raw(record)
                _, _, tag, content = record[:-1].split(b" ", 3)
                self.unfinished[stream] += content
                if tag == b"F":
                    self.expected += self.unfinished[stream] + b"\n"
                    self.unfinished[stream] = b""

    def finish(self) -> None:
        while any(self.queues.values()):
            self.step()


@settings(deadline=None)
@given(steps, st.integers(1, 40), st.integers(150, 400))
def test_nothing_is_lost_or_doubled_whatever_happens(program, piece_bytes, unit_bytes):
    """Writes of alternating pieces, rotations, lost connections, agents that lost their index."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as root:
        patch.setattr(batch, "UNIT_BYTES", unit_bytes)
        log = CriLog(Path(root), kept=50)
        runtime = Runtime(log, piece_bytes)
        viewer = Viewer(log).open()
        for name, *arguments in program:
            if name == "write":
                runtime.print(*arguments)
            elif name == "rotate" and log.path.exists():
                log.rotate()
            elif name == "read":
                viewer.read()
            elif name == "resume":
                viewer.resume()
            elif name == "restart":
                viewer.index = OffsetIndex(Path(root), None, log.kept)
                viewer.resume()
        runtime.finish()
        assert viewer.read().text == runtime.expected.decode(errors="replace")
