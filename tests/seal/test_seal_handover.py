"""Memory of a process that nobody else may look into, read because it was handed over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from planesplit.split.process_memory import PIECE_BYTES, Handover, ProcessMemory

PATTERN = b"over the edge of two pieces"
pytestmark = pytest.mark.integration

# The prover is an ordinary user and so is its child: nothing here is root's. A process that drops
# its privileges is not dumpable until it says so, as one that was started by that user would be.
ORDINARY = """
import ctypes, os, time
from planesplit.split.process_memory import Handover
from relay.seal.apply import seal_process
from tunnel.handover import hand_over_memory
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
handover, (listen, tell) = Handover(), os.pipe()
child = os.fork()
if child == 0:
    hand_over_memory(os.dup(handover.child_fd))
    handover.close()
    seal = seal_process()
    held = "".join(("kept-", "in-", "memory-", str(os.getpid())))
    os.write(tell, str(seal.level).encode())
    time.sleep(20)
    os._exit(0)
level = os.read(listen, 100).decode()
try:
    open(f"/proc/{child}/mem", "rb")
    direct = "opened"
except PermissionError:
    direct = "refused"
memory = handover.receive()
wanted = b"kept-in-memory-" + str(child).encode()
found = any(wanted in bytes(piece) for _, piece in memory.regions())
unknown = b"kept-in-memory-" + str(child + 1).encode()
strange = any(unknown in bytes(piece) for _, piece in memory.regions())
os.kill(child, 9)
os.waitpid(child, 0)
print(os.getuid() != 0, level, direct, found, strange, list(memory.regions()))
"""


def test_an_ordinary_user_reads_what_was_handed_over() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORDINARY], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["True", "full", "refused", "True", "False", "[]"], done.stderr


MAPS = """\
00000000-00001000 r--p 00000000 00:00 0
00001000-00301000 rw-p 00000000 00:00 0                                  [heap]
00301000-00302000 ---p 00000000 00:00 0
00302000-00303000 r--p 00000000 08:01 7                                  /usr/lib/libc.so
00303000-00304000 rw-p 00000000 08:01 7                                  /usr/lib/libc.so
00304000-00305000 r-xp 00000000 00:00 0                                  [vdso]
00305000-00306000 rw-s 00000000 00:01 9                                  /memfd:a b (deleted)
"""


@pytest.fixture
def memory(tmp_path) -> Iterator[ProcessMemory]:
    """A process of 3 MB, in files."""
    (tmp_path / "maps").write_text(MAPS)
    content = bytearray(0x306000)
    at = 0x1000 + PIECE_BYTES - 8
    content[at : at + len(PATTERN)] = PATTERN
    (tmp_path / "mem").write_bytes(content)
    made = ProcessMemory(*(os.open(tmp_path / name, os.O_RDONLY) for name in ("mem", "maps")))
    yield made
    made.close()


def test_a_pattern_over_an_edge_is_seen(memory: ProcessMemory) -> None:
    def hits(overlap_bytes: int) -> list[str]:
        pieces = memory.regions(overlap_bytes)
        return [name for name, piece in pieces if PATTERN in bytes(piece)]

    assert hits(len(PATTERN) - 1) == ["[heap]"]
    assert hits(0) == []


def test_what_could_have_been_written_is_read_and_the_rest_is_not(memory: ProcessMemory) -> None:
    sizes: dict[str, int] = {}
    for name, piece in memory.regions(0):
        assert len(piece) <= PIECE_BYTES
        sizes[name] = sizes.get(name, 0) + len(piece)
    page = 0x1000
    assert sizes == {
        "anonymous": page,
        "[heap]": 3 * PIECE_BYTES,
        "libc.so": page,
        "memfd:a b (deleted)": page,
    }
    memory.close()
    assert list(memory.regions()) == []


def test_a_child_that_sends_nothing_hands_nothing_over() -> None:
    assert Handover().receive() is None
