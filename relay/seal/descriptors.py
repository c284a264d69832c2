"""What was open before: a sealed process keeps its descriptors, so none may lead to a store.

Pipes, terminals and /dev/null are fine; so are Unix stream sockets (a service manager's journal,
the event loop's own) and TCP sockets that listen. What a pipe's other end keeps is beyond the
kernel: there only the journal's rules help.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from relay.seal.level import SealRefused

DESCRIPTORS = Path("/proc/self/fd")
MAPPINGS = Path("/proc/self/maps")
THREADS = Path("/proc/self/task")
STREAMS = {0: "stdin", 1: "stdout", 2: "stderr"}
HARMLESS_DEVICES = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)}  # null, zero, full, random, urandom
SHARED_AND_WRITABLE = re.compile(r"\S+ .w.s \S+ (?!00:00)\S+ \d+ +(?P<file>.*)")
FILES = (stat.S_ISREG, stat.S_ISBLK)


def check_descriptors() -> None:
    """Refuse whatever would let bytes into a file or out of the machine.

    Raises:
        SealRefused: naming the first, and the remedy.
    """
    try:
        faults = (*_threads(), *_open_files(), *_mapped_files())
    except FileNotFoundError:
        faults = ("/proc is not there to look into",)
    for fault in faults:
        raise SealRefused(f"this process cannot be sealed: {fault}")


def _open_files() -> Iterator[str]:
    for name in os.listdir(DESCRIPTORS):
        number = int(name)
        try:
            status = os.fstat(number)
        except OSError:
            continue  # the listing's own
        if fault := _fault(number, status):
            shown = STREAMS.get(number, f"descriptor {number}")
            yield f"{shown} is {fault}"


def _fault(number: int, status: os.stat_result) -> str:
    """Say what is wrong with a descriptor, "" if nothing is."""
    kind = status.st_mode
    if stat.S_ISSOCK(kind):
        return _socket_fault(number)
    if _read_only(number):
        return ""
    if any(is_file(kind) for is_file in FILES):
        return f"a file open for writing ({_target(number)}); give it a pipe, or /dev/null"
    if stat.S_ISCHR(kind) and not _harmless(number, status):
        return f"a device open for writing ({_target(number)})"
    return ""


def _socket_fault(number: int) -> str:
    """A socket may listen, or be a Unix stream."""
    with socket.socket(fileno=os.dup(number)) as one:
        if one.type == socket.SOCK_STREAM:
            if one.family == socket.AF_UNIX:
                return ""
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return ""
    return "a socket that could send (neither listening nor a Unix stream)"


def _harmless(number: int, status: os.stat_result) -> bool:
    device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return device in HARMLESS_DEVICES or os.isatty(number)


def _read_only(number: int) -> bool:
    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def _target(number: int) -> str:
    try:
        return os.readlink(DESCRIPTORS / str(number))
    except OSError:
        return "of an unknown name"


def _mapped_files() -> Iterator[str]:
    """A file that is mapped shared and writable can be written without any system call."""
    for line in MAPPINGS.read_text(encoding="utf-8", errors="replace").splitlines():
        if found := SHARED_AND_WRITABLE.match(line):
            yield f"{found['file']} is mapped shared and writable"


def _threads() -> Iterator[str]:
    """Landlock binds the thread that calls it, so there must be only one."""
    count = len(list(THREADS.iterdir()))
    if count > 1:
        yield f"{count} threads run instead of one"
