"""Network namespaces that hold the planes apart: what may not be reached has no way to it.

    viewer ------- vendor (control plane, relay)
       \\              ^
        \\             | dials
         customer ----+   (agent, object store, data endpoint, Kubernetes)

Every link is a veth pair with a subnet of its own; nothing forwards and there are no other routes.
A link works both ways, so each namespace also drops (nftables) what it did not ask for, but for
connections of ALLOWED.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

VENDOR, CUSTOMER, VIEWER = PLANES = ("vendor", "customer", "viewer")
ALLOWED = ((CUSTOMER, VENDOR), (VIEWER, VENDOR), (VIEWER, CUSTOMER))  # who may connect to whom
PREFIX = "planesplit"
COMMAND_S = 10.0
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NamespacesUnavailable(Exception):
    """This machine cannot do it; the message says what is missing."""


class Namespaces:
    """Three namespaces and the links between them, from `create` to `remove`.

    Args:
        pid: of the process that they belong to; its own by default.
        tag: tells several sets of one process apart.
    """

    def __init__(self, pid: int | None = None, *, tag: str = "") -> None:
        self._set = f"{PREFIX}-{os.getpid() if pid is None else pid}-{tag}"
        self._made: list[str] = []

    def name(self, plane: str) -> str:
        """Return the name of a plane's namespace, for `ip netns`."""
        return f"{self._set}{plane}"

    @staticmethod
    def address(plane: str, *, seen_from: str) -> str:
        """Return the IPv4 address at which one plane knows another."""
        link = next(n for n, ends in enumerate(ALLOWED) if {plane, seen_from} == set(ends))
        return f"10.231.{link}.{1 + ALLOWED[link].index(plane)}"

    def addresses(self, plane: str) -> list[str]:
        """Return all addresses of a plane, but loopback: what its certificate must name."""
        others = (one if two == plane else two for one, two in ALLOWED if plane in (one, two))
        return [self.address(plane, seen_from=other) for other in others]

    def create(self) -> None:
        """Make everything.

        Raises:
            NamespacesUnavailable: no rights, or a tool is missing; nothing is left behind.
        """
        for tool in ("ip", "nft"):
            if shutil.which(tool) is None:
                raise NamespacesUnavailable(f"'{tool}' is not installed")
        remove_abandoned()
        try:
            for plane in PLANES:
                _run("ip", "netns", "add", self.name(plane))
                self._made.append(self.name(plane))
                self._ip(plane, "link", "set", "lo", "up")
            for ends in ALLOWED:
                self._connect(*ends)
            for plane in PLANES:
                self._close(plane)
        except NamespacesUnavailable:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove everything that `create` made; the processes in it must have ended."""
        while self._made:
            with suppress(NamespacesUnavailable):
                _run("ip", "netns", "del", self._made.pop())

    def command(self, plane: str, command: Sequence[str]) -> list[str]:
        """Return a command line that runs `command` inside, as the same process."""
        return ["ip", "netns", "exec", self.name(plane), *command]

    @contextmanager
    def inside(self, plane: str) -> Iterator[None]:
        """Move the calling thread into a namespace for the block.

        Sockets that it opens and processes that it starts meanwhile belong there, and stay.
        """
        with Path("/proc/thread-self/ns/net").open() as home:
            with Path(f"/run/netns/{self.name(plane)}").open() as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def _connect(self, one: str, two: str) -> None:
        ends = ((one, f"to-{two}"), (two, f"to-{one}"))
        (_, device), (_, peer) = ends
        link = ("link", "add", device, "type", "veth", "peer", "name", peer)
        self._ip(one, *link, "netns", self.name(two))
        for (plane, device), other in zip(ends, (two, one), strict=True):
            self._ip(
                plane, "addr", "add", f"{self.address(plane, seen_from=other)}/30", "dev", device
            )
            self._ip(plane, "link", "set", device, "up")

    def _close(self, plane: str) -> None:
        """Let only those connect who may; answers to what was opened from inside come in."""
        callers = [one for one, two in ALLOWED if two == plane]
        rules = [
            "ct state established,related accept",
            'iifname "lo" accept',
            *(f'iifname "to-{caller}" accept' for caller in callers),
        ]
        chain = ["type filter hook input priority 0; policy drop;", *rules]
        lines = ["table inet planesplit {", "chain input {", *chain, "}", "}"]
        _run(*self.command(plane, ("nft", "\n".join(lines))))

    def _ip(self, plane: str, *arguments: str) -> None:
        _run("ip", "-n", self.name(plane), *arguments)


def remove_abandoned() -> None:
    """Remove namespaces of ours whose process is gone."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        prefix, _, rest = name.partition("-")
        number = rest.partition("-")[0]
        if prefix == PREFIX and number.isdigit() and not Path(f"/proc/{number}").exists():
            with suppress(NamespacesUnavailable):
                _run("ip", "netns", "del", name)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespacesUnavailable(f"'{command[0]}' failed: {type(error).__name__}") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise NamespacesUnavailable(f"'{' '.join(command[:4])} ...' failed: {said}")
    return done.stdout
