"""The place that ways out lead to, and judges of what landed there: never the child's own word,
except where the attempt is to say something (a program, a thread, a child of its own)."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import secrets
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seal_ways import LANDED, Reach, Way, as_table
from seal_ways_files import EXISTING, FILLED, MODULE
from seal_ways_network import EXPERIMENTAL, LOOPBACK

CAGE = Path(__file__).with_name("seal_cage.py")
CHILD_S = 30
ARRIVAL_S = 0.05  # loopback delivers before send returns; this is for a SYN that carries data
KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
KEYCTL_UNLINK, KEYCTL_SEARCH, USER_KEYRING = 9, 10, -4
IPC_RMID, MNT_DETACH = 0, 2
VICTIM = """
import ctypes, sys
buffer, file = ctypes.create_string_buffer(b"original"), open(sys.argv[1], "ab")
print(ctypes.addressof(buffer), file.fileno(), flush=True)
sys.stdin.readline()
print(buffer.raw[:8].decode(), flush=True)
"""
libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Outcome:
    """What became of an attempt.

    Args:
        landed: the judge's word.
        seal: how the child was sealed; "refused" if it was not let.
        error: number or text of the attempt's OSError, "" for none.
    """

    landed: bool
    seal: str
    error: str


class Scene:
    """Files, sockets and another process to reach for."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        directory.chmod(0o700)
        (directory / EXISTING).write_bytes(b"." * FILLED)
        (directory / MODULE).write_text("TEXT = 'text'\n")
        (directory / "empty").mkdir()
        sockets = directory.parent / f"{directory.name}-sockets"
        sockets.mkdir()
        name = f"seal-{secrets.token_hex(8)}"
        self._listeners = [
            socket.create_server((LOOPBACK, 0)),
            _bound(socket.SOCK_STREAM, str(sockets / "stream")),
            _bound(socket.SOCK_STREAM, f"\0{name}"),
        ]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((LOOPBACK, 0))
        self._datagrams = [udp, _bound(socket.SOCK_DGRAM, str(sockets / "datagram")), *_raw()]
        for one in (*self._listeners, *self._datagrams):
            one.setblocking(False)
            stack.enter_context(one)
        os.mkfifo(sockets / "fifo")
        self._fifo = os.open(sockets / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, self._fifo)
        command = [sys.executable, "-c", VICTIM, str(directory / EXISTING)]
        self._victim = stack.enter_context(_process(command))
        address, descriptor = _line(self._victim).split()
        self.reach = Reach(
            directory=str(directory),
            text=f"canary-{secrets.token_hex(16)}",
            tcp_port=self._listeners[0].getsockname()[1],
            udp_port=udp.getsockname()[1],
            unix_path=str(sockets / "stream"),
            datagram_path=str(sockets / "datagram"),
            abstract=f"\0{name}",
            fifo=str(sockets / "fifo"),
            free_port=_free_port(),
            victim_pid=self._victim.pid,
            victim_address=int(address),
            victim_fd=int(descriptor),
            key=secrets.randbelow(2**30) + 1,
            name=name,
        )
        stack.callback(self._clean)

    def attempt(self, way: Way, *, sealed: bool) -> Outcome:
        """Let a child try a way and judge while it is still there."""
        reach = json.dumps(as_table(self.reach))
        mode = "sealed" if sealed else "unsealed"
        before = tree(Path(self.reach.directory))
        with _process([sys.executable, str(CAGE), way.name, mode, reach]) as child:
            lines: list[str] = []
            while (line := _line(child)) and not line.startswith(("done", "seal refused")):
                lines.append(line)
            lines.append(line)
            if not line:
                child.wait(CHILD_S)  # it has become another program, or has dumped its core
            landed = self._landed(way.judge, child.pid, lines, before)
        seals = [text.partition(" ")[2] for text in lines if text.startswith("seal")]
        return Outcome(landed, "".join(seals), line.partition(" ")[2])

    def _landed(self, judge: str, pid: int, lines: list[str], before: dict[str, object]) -> bool:
        """Look where it should have landed."""
        about_child, _, pattern = judge.partition(" ")
        match about_child:
            case "tree":
                return tree(Path(self.reach.directory)) != before
            case "said":
                return LANDED in lines
            case "holds":
                return any(pattern in target for target in _descriptors(pid))
            case "maps":
                return pattern in Path(f"/proc/{pid}/maps").read_text()
            case "limit":
                return resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] != 0
            case "namespace":
                return os.readlink(f"/proc/{pid}/ns/uts") != os.readlink("/proc/self/ns/uts")
        judges: dict[str, Callable[[], bool]] = {
            "arrived": self._arrived,
            "listens": self._listens,
            "fifo": lambda: self.reach.data in (os.read(self._fifo, 4096) or b""),
            "mounted": lambda: f" {self._mount} " in Path("/proc/self/mountinfo").read_text(),
            "shared memory": self._shared.exists,
            "victim memory": self._victim_changed,
            "victim stopped": lambda: _state(self._victim.pid) in "tT",
            "victim ended": lambda: _ended(self._victim),
            "message queue": self._posix_message,
            "system v queue": lambda: libc.msgget(self.reach.key, 0) >= 0,
            "system v memory": lambda: libc.shmget(self.reach.key, 0, 0) >= 0,
            "kernel key": lambda: self._key() >= 0,
        }
        return judges[judge]()

    @property
    def _mount(self) -> Path:
        return self.reach.file("empty")

    @property
    def _shared(self) -> Path:
        return Path("/dev/shm") / self.reach.name

    def _arrived(self) -> bool:
        ready, _, _ = select.select([*self._listeners, *self._datagrams], [], [], ARRIVAL_S)
        return any(self.reach.data in self._received(one) for one in ready)

    def _received(self, one: socket.socket) -> bytes:
        if one in self._datagrams:
            return one.recv(4096)
        connection, _ = one.accept()
        with connection:
            connection.settimeout(ARRIVAL_S)
            with contextlib.suppress(TimeoutError, ConnectionError):
                return connection.recv(4096)
        return b""

    def _listens(self) -> bool:
        with contextlib.suppress(ConnectionError):
            socket.create_connection((LOOPBACK, self.reach.free_port)).close()
            return True
        return False

    def _victim_changed(self) -> bool:
        assert self._victim.stdin
        self._victim.stdin.write(b"\n")
        self._victim.stdin.flush()
        return _line(self._victim) != "original"

    def _posix_message(self) -> bool:
        queue = libc.mq_open(f"/{self.reach.name}".encode(), os.O_RDONLY | os.O_NONBLOCK)
        if queue < 0:
            return False
        text = ctypes.create_string_buffer(65_536)
        size = libc.mq_receive(queue, text, len(text), None)
        os.close(queue)
        return size > 0 and self.reach.data in text.raw

    def _key(self) -> int:
        name = self.reach.name.encode()
        return int(libc.syscall(KEYCTL, KEYCTL_SEARCH, USER_KEYRING, b"user", name, 0))

    def _clean(self) -> None:
        """Remove what an attempt may have left outside the directory."""
        self._shared.unlink(missing_ok=True)
        libc.umount2(str(self._mount).encode(), MNT_DETACH)
        libc.mq_unlink(f"/{self.reach.name}".encode())
        if (queue := libc.msgget(self.reach.key, 0)) >= 0:
            libc.msgctl(queue, IPC_RMID, None)
        if (memory := libc.shmget(self.reach.key, 0, 0)) >= 0:
            libc.shmctl(memory, IPC_RMID, None)
        if (key := self._key()) >= 0:
            libc.syscall(KEYCTL, KEYCTL_UNLINK, key, USER_KEYRING)


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """A fresh scene; `directory` must not exist yet."""
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        yield Scene(directory, stack)


def tree(directory: Path) -> dict[str, object]:
    """Everything that lasts of a directory: names, contents, modes, owners, times, attributes."""
    return {str(path): _lasting(path) for path in (directory, *sorted(directory.rglob("*")))}


def _lasting(path: Path) -> object:
    status = path.lstat()
    regular = path.is_file() and not path.is_symlink()
    names = os.listxattr(path, follow_symlinks=False)
    return (
        (status.st_mode, status.st_uid, status.st_nlink, status.st_size, status.st_mtime_ns),
        [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names],
        path.read_bytes() if regular else path.readlink() if path.is_symlink() else None,
    )


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    pipe, no = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=no) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[bytes]) -> str:
    """Return its next line, "" at its end."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], CHILD_S)
    assert ready, f"the child said nothing for {CHILD_S} s"
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(process.stdout.fileno(), 1)):
        line += byte
    return line.decode().rstrip("\n")


def _bound(kind: int, address: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, kind)
    one.bind(address)
    if kind == socket.SOCK_STREAM:
        one.listen()
    return one


def _raw() -> list[socket.socket]:
    with contextlib.suppress(PermissionError):
        return [socket.socket(socket.AF_INET, socket.SOCK_RAW, EXPERIMENTAL)]
    return []


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as one:
        return int(one.getsockname()[1])


def _descriptors(pid: int) -> list[str]:
    directory = Path(f"/proc/{pid}/fd")
    return [os.readlink(path) for path in directory.iterdir()]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _ended(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(ARRIVAL_S)
    return process.returncode is not None
