"""What is read of other processes, the timer, and helpers that fail, stall or vanish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from planesplit.measure.environment import Environment
from planesplit.measure.lab import MeasureError, open_lab
from planesplit.measure.procfs import cpu_s, rss_bytes
from planesplit.measure.timer import Timer

pytestmark = pytest.mark.integration  # all but two start processes

THREADS = """
import threading, time, sys
held = bytearray(50_000_000)
def burn():
    end = time.thread_time() + 0.15
    while time.thread_time() < end: pass
for _ in range(2):
    t = threading.Thread(target=burn); t.start(); t.join()
print("done", flush=True); sys.stdin.read()
"""


def test_cpu_time_counts_ended_threads_and_agrees_with_proc() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout
        child.stdout.readline()
        found = cpu_s(child.pid)
        fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        assert found >= 0.3
        assert found == pytest.approx(ticks / os.sysconf("SC_CLK_TCK"), abs=0.03)
        assert rss_bytes(child.pid) > 50_000_000
    finally:
        child.kill()
        child.communicate()
    with pytest.raises(OSError, match=r"."):
        cpu_s(child.pid)


async def test_the_timer_is_never_early_and_hardly_late() -> None:
    timer = Timer()
    try:
        lateness = []
        for _ in range(20):
            at_s = time.monotonic() + 0.0015
            await timer.until(at_s)
            lateness.append(time.monotonic() - at_s)
        assert min(lateness) >= 0
        assert sorted(lateness)[10] < 0.001  # epoll alone would round up to 2 ms
        await timer.until(0.0)
    finally:
        timer.close()


def test_the_environment_says_where_a_figure_was_made() -> None:
    found = Environment().capture()
    assert found["cores"] >= 1
    assert found["kernel"]
    assert found["mask_in_c"] is True
    assert set(found["versions"]) >= {"trio", "websockets"}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_helpers_end_with_their_lab() -> None:
    async with open_lab() as lab:
        source = await lab.helper("source")
        assert (await source.ask("port"))["port"] > 0
        assert alive(source.pid)
        directory = lab.directory
    assert not alive(source.pid)
    assert not directory.exists()


async def test_helpers_end_when_their_lab_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with open_lab() as lab:
            source = await lab.helper("source")
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert not alive(source.pid)


async def test_a_command_that_fails_is_an_error_with_the_helpers_words() -> None:
    async with open_lab() as lab:
        sink = await lab.helper("sink")
        with pytest.raises(MeasureError, match=r"sink: open: .*refused"):
            await sink.ask("open", port=1, request="")


async def test_a_frozen_helper_is_given_up() -> None:
    async with open_lab() as lab:
        source = await lab.helper("source")
        os.kill(source.pid, signal.SIGSTOP)
        with pytest.raises(MeasureError, match=r"did not finish 'port' within 0\.2 s"):
            await source.ask("port", within_s=0.2)


async def test_a_helper_that_vanishes_is_named() -> None:
    async with open_lab() as lab:
        source = await lab.helper("source")
        os.kill(source.pid, signal.SIGKILL)
        with pytest.raises(MeasureError, match="source ended during 'port'"):
            await source.ask("port")


async def test_a_process_that_does_not_start_is_named() -> None:
    async with open_lab() as lab:
        with pytest.raises(MeasureError, match="nobody ended with status 1 before it was ready"):
            await lab.start("nobody", "planesplit.measure.nobody")
