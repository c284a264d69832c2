"""One plane as a child process: started, made ready, watched, signalled, and never orphaned."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import IO, Any

import trio

from planesplit.split.process_memory import Handover, ProcessMemory
from planesplit.split.ring import Ring, parse

READ_BYTES = 65_536
MAX_PENDING_BYTES = 1_048_576  # an endless line without a newline keeps only its end
DRAIN_S = 0.5  # for the last lines in the pipe of a process that has ended
LAST_LINES = 15
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class PlaneFailed(Exception):
    """A plane did not become ready or ended on its own; carries its name and last journal lines."""

    def __init__(self, plane: str, reason: str, lines: Sequence[str] = ()) -> None:
        self.plane, self.reason, self.lines = plane, reason, tuple(lines)
        tail = "".join(f"\n  {line}" for line in lines) or "\n  (it wrote nothing)"
        super().__init__(f"{plane} {reason}; its last lines:{tail}")


class PlaneProcess:
    """Runs `python -P -m {name} --config FILE` in a process group of its own.

    Its stdout and stderr are pipes, never files. The kernel kills it when the thread that started
    it ends (PR_SET_PDEATHSIG), so that has to be the thread that runs trio, not a worker.

    Args:
        name: the plane, which is also the module to run.
        config_file: TOML configuration.
        command: another command line, for tests.
        journal: where its lines go on, when it is not the plane's first life.
        handover: the way on which it sends its memory, if it is asked to.
        on_exit: called with the plane when it ends without having been asked to.
        on_line: called with every line of either stream, whole.
    """

    def __init__(
        self,
        name: str,
        config_file: Path,
        *,
        command: Sequence[str] | None = None,
        journal: Ring | None = None,
        handover: Handover | None = None,
        on_exit: Callable[[PlaneProcess], None] = lambda plane: None,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = name
        self._command = command or (
            sys.executable,
            "-P",  # the caller's directory may hold a package of the same name
            "-m",
            name,
            "--config",
            str(config_file),
        )
        self._on_exit, self._on_line, self._handover = on_exit, on_line, handover
        self._process: subprocess.Popen[bytes] | None = None
        self._announced = trio.Event()
        self._ended = trio.Event()
        self._expected = False
        self.ready: dict[str, Any] = {}
        self.memory: ProcessMemory | None = None
        self.journal = journal or Ring()

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal, None while it runs."""
        return self._process.poll() if self._process else None

    async def start(self, nursery: trio.Nursery, *, ready_s: float) -> dict[str, Any]:
        """Start the process and wait for its ready line.

        Args:
            nursery: where the pipes are read and the exit is awaited. It cannot end before the
                process has: `stop` or `kill` it.
            ready_s: seconds until a plane without a ready line has failed.

        Returns:
            The fields that it announced.

        Raises:
            PlaneFailed: it ended first, or was too slow.
        """
        self.journal.open()
        self._process = _spawn(self._command, self._handover)
        nursery.start_soon(self._watch)
        with trio.move_on_after(ready_s):
            await self._announced.wait()
        if not self.ready:
            reason = f"was not ready within {ready_s:g} s"
            if self._ended.is_set():
                reason = f"ended with status {self.returncode} before it was ready"
            self.kill()
            if self._handover:
                self._handover.close()
            raise PlaneFailed(self.name, reason, self.last_lines())
        if self._handover:
            self.memory = self._handover.receive()
        return self.ready

    def last_lines(self) -> tuple[str, ...]:
        """The last lines of its journal, for an error message."""
        return self.journal.lines[-LAST_LINES:]

    def signal(self, number: int) -> None:
        """Send a signal to the plane's own process, if it still runs."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL the whole process group; the exit counts as wanted."""
        self._expected = True
        if self._process and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the plane to end (SIGTERM, thawed first); the exit counts as wanted."""
        self._expected = True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait for the end of the process; return its exit status."""
        await self._ended.wait()
        return self.returncode or 0

    async def stop(self, grace_s: float) -> int:
        """Terminate, wait up to `grace_s` seconds, then kill. Returns the exit status."""
        self.terminate()
        if self._process:
            with trio.move_on_after(grace_s):
                await self.wait()
            self.kill()
            await self.wait()
        return self.returncode or 0

    async def _watch(self) -> None:
        with trio.CancelScope(shield=True):  # whoever cancels must still see the process end
            await self._follow()
        self._announced.set()
        if self.ready and not self._expected:
            self._on_exit(self)

    async def _follow(self) -> None:
        process = self._process
        assert process
        assert process.stdout
        assert process.stderr
        async with trio.open_nursery() as readers:
            readers.start_soon(self._read_output, process.stdout)
            journal_read = trio.Event()
            readers.start_soon(self._read_journal, process.stderr, journal_read)
            await _exited(process.pid)
            process.wait()
            with trio.move_on_after(DRAIN_S):  # a grandchild may hold the pipe open
                await journal_read.wait()
            readers.cancel_scope.cancel()
        self._ended.set()
        self.journal.close()
        if self.memory:
            self.memory.close()

    async def _read_output(self, pipe: IO[bytes]) -> None:
        async for line in _lines(pipe):
            self._on_line(line)
            record = parse(line)
            if record.get("event") == "ready" and not self.ready:
                self.ready = record
                self._announced.set()

    async def _read_journal(self, pipe: IO[bytes], done: trio.Event) -> None:
        async for line in _lines(pipe):
            self._on_line(line)
            self.journal.append(line)
        done.set()


async def _exited(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def _spawn(command: Sequence[str], handover: Handover | None) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:  # runs in the child: a system call, no import, no lock
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)

    return subprocess.Popen(  # noqa: S603 - the command is our own module
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        pass_fds=(handover.child_fd,) if handover else (),
        preexec_fn=die_with_parent,
    )


async def _lines(pipe: IO[bytes]) -> AsyncIterator[str]:
    """Yield the lines of a pipe until its end."""
    pending = b""
    with pipe:
        descriptor = os.dup(pipe.fileno())
    async with trio.lowlevel.FdStream(descriptor) as stream:
        while data := await stream.receive_some(READ_BYTES):
            *lines, pending = (pending + data).split(b"\n")
            pending = pending[-MAX_PENDING_BYTES:]
            for line in lines:
                yield line.decode(errors="replace")
    if pending:
        yield pending.decode(errors="replace")
