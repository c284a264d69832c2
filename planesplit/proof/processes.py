"""What the kernel tells of a process: descriptors, sockets, mappings, children, bytes."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_WRITING = os.O_WRONLY | os.O_RDWR
_PROTOCOLS = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "packet")
_LISTEN, _ESTABLISHED = "0A", "01"


@dataclass(frozen=True, slots=True)
class Socket:
    """One internet socket of a process.

    Args:
        protocol: `tcp`, `udp`, ... as in /proc/net; without the 6.
        state: of TCP: `listen`, or `open`.
        local, remote: ports.
        address: of the remote end, hexadecimal as the kernel writes it.
    """

    protocol: str
    state: str
    local: int
    remote: int
    address: str


def readable(pid: int) -> bool:
    """Whether this user may look at a process's descriptors; not if it is not dumpable."""
    try:
        os.readlink(PROC / str(pid) / "exe")
    except OSError:
        return False  # a root without capabilities may list the descriptors, and no more
    return True


def descriptors(pid: int) -> dict[int, str]:
    """Return what each descriptor of a process refers to, as the kernel names it."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(PROC / str(pid) / "fd"):
            with contextlib.suppress(OSError):
                found[int(entry.name)] = os.readlink(entry.path)
    return found


def writable_files(pid: int) -> list[str]:
    """Return the names of files and named pipes that a process has open for writing."""
    found = []
    for number, target in descriptors(pid).items():
        with contextlib.suppress(OSError, ValueError, StopIteration):
            mode = os.stat(PROC / str(pid) / "fd" / str(number)).st_mode
            named_pipe = stat.S_ISFIFO(mode) and target.startswith("/")
            if (stat.S_ISREG(mode) or named_pipe) and _flags(pid, number) & _WRITING:
                found.append(target)
    return found


def _flags(pid: int, number: int) -> int:
    lines = (PROC / str(pid) / "fdinfo" / str(number)).read_text().splitlines()
    return int(next(line for line in lines if line.startswith("flags:")).split()[1], 8)


def sockets(pid: int) -> list[Socket]:
    """Return the internet sockets of a process, in its own network namespace."""
    inodes = {
        target.removeprefix("socket:[").removesuffix("]")
        for target in descriptors(pid).values()
        if target.startswith("socket:[")
    }
    found = []
    for protocol in _PROTOCOLS:
        with contextlib.suppress(OSError):
            for line in (PROC / str(pid) / "net" / protocol).read_text().splitlines()[1:]:
                parts = line.split()
                inode = parts[8] if protocol == "packet" else parts[9]
                if inode in inodes:
                    found.append(_socket(protocol, parts))
    return found


def _socket(protocol: str, parts: list[str]) -> Socket:
    if protocol == "packet":
        return Socket(protocol, "open", 0, 0, "")
    address, _, port = parts[2].partition(":")
    local = int(parts[1].rpartition(":")[2], 16)
    state = "listen" if parts[3] == _LISTEN else "open"
    return Socket(protocol.removesuffix("6"), state, local, int(port, 16), address)


def serves(pid: int) -> bool:
    """Whether a process listens: before that it is being loaded, and seals itself."""
    return any(socket.state == "listen" for socket in sockets(pid))


def unix_sockets(pid: int) -> list[str]:
    """Return the names of a process's unix sockets; those of pairs and of who dials are empty."""
    inodes = {target for target in descriptors(pid).values() if target.startswith("socket:[")}
    found = []
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "net" / "unix").read_text().splitlines()[1:]:
            parts = line.split(maxsplit=7)
            if f"socket:[{parts[6]}]" in inodes:
                found.append(parts[7] if len(parts) > 7 else "")
    return found


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.scandir(PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):
                text = Path(task.path, "children").read_text()
                found += map(int, text.split())
    return found


def parent(pid: int) -> int:
    """Return a process's parent; 0 if it has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def counters(pid: int) -> dict[str, int]:
    """Return /proc/PID/io; empty if it may not be read."""
    try:
        text = (PROC / str(pid) / "io").read_text()
    except OSError:
        return {}
    return {
        name: int(value)
        for name, _, value in (line.partition(":") for line in text.split("\n"))
        if value
    }


def shared_mappings(pid: int) -> list[str]:
    """Return mappings of memory that other processes can have too, or of files that are gone."""
    found = set()
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "maps").read_text().splitlines():
            parts = line.split(maxsplit=5)
            name = parts[5] if len(parts) > 5 else ""
            suspicious = name.endswith("(deleted)") or name.startswith(
                ("/dev/shm", "/memfd:", "/SYSV")  # noqa: S108 - as the kernel names them
            )
            written = "w" in parts[1] and parts[1].endswith("s")
            if suspicious or (written and name):
                found.add(name)
    return sorted(found)


def words(pid: int) -> bytes:
    """Return what a process shows of itself: command line, environment, name."""
    data = b""
    for name in ("cmdline", "environ", "comm"):
        with contextlib.suppress(OSError):
            data += (PROC / str(pid) / name).read_bytes() + b"\0"
    return data


def makers_of_segments() -> set[int]:
    """Return the process ids of who made System V shared memory segments, or used them last."""
    makers: set[int] = set()
    with contextlib.suppress(OSError):
        for line in (PROC / "sysvipc" / "shm").read_text().splitlines()[1:]:
            makers.update(map(int, line.split()[4:6]))
    return makers


def looked_at(planes: Mapping[str, int]) -> str:
    """Return which processes this user could look into, for people."""
    seen = [plane for plane, pid in planes.items() if readable(pid)]
    hidden = [plane for plane in planes if plane not in seen]
    text = ", ".join(seen) or "none"
    return f"{text} (not of {', '.join(hidden)}: closed to this user)" if hidden else text
