"""The log writer never limits a run: it keeps up with 100,000 lines of 200 bytes a second.

Measured on 2 shared cores: 1.1 M lines/s in reads of 64 KiB, 0.17 M with a write per line.
"""

from __future__ import annotations

import time
from pathlib import Path

from customer_stub.cri import BATCH_BYTES, LogWriter
from customer_stub.produced import Produced
from customer_stub.rotation import LogFile

LINE = b"x" * 199 + b"\n"
LINES = 100_000
MAX_CPU_S = 1.0  # ten times what it takes


def test_log_writer_keeps_up(tmp_path: Path) -> None:
    produced = Produced()
    log = LogFile(tmp_path / "0.log", rotate_bytes=10_485_760, rotate_files=5)
    writer = LogWriter(log, produced)
    output = LINE * LINES
    began = time.process_time()
    for start in range(0, len(output), BATCH_BYTES):
        writer.write("stdout", output[start : start + BATCH_BYTES])
    writer.close()
    assert produced.report()["lines"] == LINES
    assert time.process_time() - began < MAX_CPU_S
