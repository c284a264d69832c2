"""Leaks through the kernel's other doors: memory that is a file, processes, cores, titles."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import signal
import subprocess
import tempfile
from pathlib import Path

from planesplit.proof.sabotage.catalogue import leak
from planesplit.proof.sabotage.leaks.place import new_file
from planesplit.proof.sabotage.taps import Longest, relayed_answers
from planesplit.proof.sabotage.tries import Tries

MAX_CACHED_BYTES = 1_048_576
MAX_CORES = 4
_libc = ctypes.CDLL(None, use_errno=True)


@leak(
    "memory-cache",
    "keeps log lines in a list after they are sent",
    sealed="memory",
    unsealed="memory",
)
def memory_cache(tries: Tries) -> None:
    """Append a copy to a list, as a replay buffer would."""
    kept: list[bytes] = []

    def sink(payload: bytes) -> None:
        if sum(map(len, kept)) < MAX_CACHED_BYTES:
            kept.append(bytes(bytearray(payload)))

    relayed_answers(tries.guard(sink), "A8")


@leak("memfd", "writes log lines to an anonymous file", sealed="prevented", unsealed="files")
def memfd(tries: Tries) -> None:
    """Write to a memfd that stays open."""
    descriptors: list[int] = []

    def sink(payload: bytes) -> None:
        if not descriptors:
            descriptors.append(os.memfd_create("cache"))
        os.write(descriptors[0], payload)

    relayed_answers(tries.guard(sink), "A8")


@leak("posix-shm", "maps POSIX shared memory", sealed="prevented", unsealed="files")
def posix_shm(tries: Tries) -> None:
    """Copy payload into memory of `shm_open`, which any process of this user can open."""
    maps: list[mmap.mmap] = []
    name = f"/{new_file('shm').name}".encode()

    def sink(payload: bytes) -> None:
        if not maps:
            descriptor = _libc.shm_open(name, os.O_RDWR | os.O_CREAT, 0o600)
            if descriptor < 0:
                raise OSError(ctypes.get_errno(), "shm_open")
            os.ftruncate(descriptor, mmap.PAGESIZE * 16)
            maps.append(mmap.mmap(descriptor, mmap.PAGESIZE * 16))
            os.close(descriptor)
        maps[0][: len(payload[:4096])] = payload[:4096]

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "child-process",
    "pipes log lines into a child process",
    sealed="prevented",
    unsealed="process_io",
)
def child_process(tries: Tries) -> None:
    """Start `cat` and give it payload to hold."""
    children: list[subprocess.Popen[bytes]] = []

    def sink(payload: bytes) -> None:
        if not children:
            children.append(
                subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            )
        pipe = children[0].stdin
        assert pipe
        pipe.write(payload[:1024])
        pipe.flush()

    relayed_answers(tries.guard(sink), "A8")


@leak("core-dump", "lets a copy of itself dump core", sealed="prevented", unsealed="files")
def core_dump(tries: Tries) -> None:
    """Fork in the middle of a tail and abort, so that the kernel writes what is in memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    dumped: list[int] = []  # bytes of the answer in each core

    def sink(payload: bytes) -> None:
        # The first may be a head or an empty message: a much longer one is worth another core.
        if dumped and (len(dumped) == MAX_CORES or len(payload) <= 2 * dumped[-1]):
            return
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        except ValueError:  # how Python tells of EPERM here; the guard counts what is an OSError
            raise PermissionError(errno.EPERM, "setrlimit") from None
        directory = new_file("core")
        directory.mkdir(exist_ok=True)
        child = os.fork()
        if child == 0:
            os.chdir(directory)
            signal.signal(signal.SIGABRT, signal.SIG_DFL)
            os.abort()
        _, status = os.waitpid(child, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
        if not os.WCOREDUMP(status) or not any(directory.iterdir()):
            raise PermissionError("this machine writes no core")
        dumped.append(len(payload))

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "crash-report",
    "writes its own heap to a file, as crash reporters do",
    sealed="prevented",
    unsealed="files",
)
def crash_report(tries: Tries) -> None:
    """Copy the memory around a payload from /proc/self/mem to a file."""

    def sink(payload: bytes) -> None:
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            memory.seek(id(payload))
            seen = memory.read(len(payload) + 64)
        with new_file("minidump").open("ab") as file:
            file.write(seen)

    relayed_answers(tries.guard(sink), "A8")


@leak("process-title", "shows a log line in `ps`", sealed="process_io", unsealed="process_io")
def process_title(tries: Tries) -> None:
    """Overwrite the process's arguments, as `setproctitle` does."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end: proc_pid_stat(5)

    shown = Longest(end - start - 1)

    def sink(payload: bytes) -> None:
        shown.add(payload)
        title = shown.piece.replace(b"\0", b" ")
        ctypes.memmove(start, title + b"\0", len(title) + 1)

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "named-pipe",
    "offers log lines in a named pipe",
    sealed="prevented",
    unsealed="process_io, files",
)
def named_pipe(tries: Tries) -> None:
    """Create a pipe in the file system and fill it."""
    descriptors: list[int] = []

    def sink(payload: bytes) -> None:
        if not descriptors:
            path = new_file("pipe", Path(tempfile.gettempdir()))
            os.mkfifo(path, 0o600)
            descriptors.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        os.write(descriptors[0], payload[:1024])

    relayed_answers(tries.guard(sink), "A8")
