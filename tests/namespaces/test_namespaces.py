"""The namespaces hold what they promise: seen by real TCP connections between all planes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from namespaces import (
    ALLOWED,
    CUSTOMER,
    PLANES,
    VENDOR,
    VIEWER,
    Namespaces,
    NamespacesUnavailable,
    remove_abandoned,
)

pytestmark = pytest.mark.integration
CONNECT_S = 0.5  # a veth answers within a millisecond
PAIRS = [(one, two) for one in PLANES for two in PLANES if one != two]


@contextmanager
def listening(namespaces: Namespaces, plane: str) -> Iterator[int]:
    """A socket on every address of a plane; yields its port."""
    with namespaces.inside(plane):
        listener = socket.create_server(("0.0.0.0", 0))
    with listener:
        yield listener.getsockname()[1]


def connects(namespaces: Namespaces, plane: str, address: str, port: int) -> bool:
    """Whether a process of a plane can connect."""
    with namespaces.inside(plane):
        caller = socket.socket()
    with caller:
        caller.settimeout(CONNECT_S)
        try:
            caller.connect((address, port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize(("caller", "called"), PAIRS)
def test_who_may_connect_can_and_nobody_else(
    namespaces: Namespaces, caller: str, called: str
) -> None:
    with listening(namespaces, called) as port:
        reached = {
            address
            for address in namespaces.addresses(called)
            if connects(namespaces, caller, address, port)
        }
    direct = namespaces.address(called, seen_from=caller)
    assert reached == ({direct} if (caller, called) in ALLOWED else set())


def test_nothing_leads_out_or_through(namespaces: Namespaces) -> None:
    for plane in PLANES:
        with namespaces.inside(plane):
            routes = Path("/proc/thread-self/net/route").read_text().splitlines()[1:]
        destinations = {route.split()[1] for route in routes}
        assert "00000000" not in destinations  # no default route
        assert len(destinations) == 2  # its two links
        command = namespaces.command(plane, ["cat", "/proc/sys/net/ipv4/ip_forward"])
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "0"


def test_an_answer_comes_back_on_a_connection_from_inside(namespaces: Namespaces) -> None:
    with namespaces.inside(VENDOR):
        relay = socket.create_server(("0.0.0.0", 0))
    with namespaces.inside(CUSTOMER):
        address = (namespaces.address(VENDOR, seen_from=CUSTOMER), relay.getsockname()[1])
        agent = socket.create_connection(address, timeout=CONNECT_S)
    accepted, _ = relay.accept()
    with relay, agent, accepted:
        agent.sendall(b"up")
        assert accepted.recv(2) == b"up"
        accepted.sendall(b"down")
        assert agent.recv(4) == b"down"


def test_each_plane_has_its_own_loopback(namespaces: Namespaces) -> None:
    with listening(namespaces, CUSTOMER) as port:
        reached = [plane for plane in PLANES if connects(namespaces, plane, "127.0.0.1", port)]
    assert reached == [CUSTOMER]


def test_a_command_runs_inside_as_the_process_that_was_started(namespaces: Namespaces) -> None:
    code = "import json, os, socket; print(json.dumps([os.getpid(), socket.if_nameindex()]))"
    command = namespaces.command(VIEWER, [sys.executable, "-c", code])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, interfaces = json.loads(process.stdout.read())
    assert pid == process.pid
    names = {name for _, name in interfaces}
    assert {"lo", f"to-{VENDOR}", f"to-{CUSTOMER}"} <= names


def test_the_thread_comes_home(namespaces: Namespaces) -> None:
    def here() -> str:
        return os.readlink("/proc/thread-self/ns/net")

    home = here()
    with namespaces.inside(VIEWER), namespaces.inside(VENDOR):
        inner = here()
    assert here() == home != inner


def test_mutant_without_a_filter_is_caught(namespaces: Namespaces) -> None:
    """Without nftables the control plane reaches the customer over the agent's own link."""
    with ExitStack() as stack:
        bare = Namespaces(tag="bare-")
        bare._close = lambda plane: None  # type: ignore[method-assign]
        stack.callback(bare.remove)
        bare.create()
        port = stack.enter_context(listening(bare, CUSTOMER))
        assert connects(bare, VENDOR, bare.address(CUSTOMER, seen_from=VENDOR), port)
        # Without a route the filter is not even needed.
        assert not connects(bare, VENDOR, bare.address(CUSTOMER, seen_from=VIEWER), port)


def test_what_a_killed_process_left_is_removed(namespaces: Namespaces) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    left = Namespaces(process.pid)
    subprocess.run(["ip", "netns", "add", left.name(VIEWER)], check=True)
    remove_abandoned()
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert left.name(VIEWER) not in names.stdout
    assert namespaces.name(VIEWER) in names.stdout


def test_where_it_is_not_permitted_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Namespaces, "_close", _refuse)
    made = Namespaces(tag="refused-")
    with pytest.raises(NamespacesUnavailable, match="not permitted"):
        made.create()
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
    assert made.name(VENDOR) not in names.stdout
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NamespacesUnavailable, match="'ip' is not installed"):
        made.create()


def _refuse(self: Namespaces, plane: str) -> None:
    raise NamespacesUnavailable("not permitted")
