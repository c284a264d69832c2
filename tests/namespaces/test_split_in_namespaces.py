"""A whole split whose planes are in network namespaces: the tunnel is the only way between them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flyte_client import FLYTE, need_flyte, unless_it_aborts
from namespaces import CUSTOMER, VENDOR, VIEWER, Namespaces

from planesplit.harness import Harness, open_portal
from planesplit.split.options import Host, SplitOptions

pytestmark = pytest.mark.integration

CONNECT_S = 1.0
COMMAND_S = 90
TASK = """
import flyte

env = flyte.TaskEnvironment(name="apart")


@env.task
async def main(name: str = "world") -> str:
    print("apart", flush=True)
    return f"Hello, {name}!"
"""


@pytest.fixture(scope="module")
def apart(namespaces: Namespaces) -> Iterator[Harness]:
    """A split in three namespaces; the supervisor and its viewer are in the viewer's."""
    options = SplitOptions(
        link=False,
        vendor=Host(
            namespaces.address(VENDOR, seen_from=VIEWER),
            tuple(namespaces.command(VENDOR, [])),
            tunnel_address=namespaces.address(VENDOR, seen_from=CUSTOMER),
        ),
        customer=Host(
            namespaces.address(CUSTOMER, seen_from=VIEWER),
            tuple(namespaces.command(CUSTOMER, [])),
        ),
        pod_path=(str(FLYTE.parent),),
    )
    with namespaces.inside(VIEWER):
        portal, split = open_portal(options)
    harness = Harness(portal, split, "namespaces")
    harness.seen("health_reported", "control_stub")
    yield harness
    portal.stop()


def run(namespaces: Namespaces, split: Harness, directory: Path, *command: str) -> str:
    """Run a command as the viewer does, in the viewer's namespace."""
    ready = split.ready
    ready.write(directory / "ready.json")
    call = partial(
        subprocess.run,
        namespaces.command(VIEWER, command),
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "NO_COLOR": "1",
            "COLUMNS": "300",
            "PLANESPLIT_READY": str(directory / "ready.json"),
            **ready.flyte.env,
        },
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    done = unless_it_aborts(call)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def listeners(split: Harness) -> dict[str, tuple[str, int]]:
    """Every listener in the customer's plane."""
    (cluster,) = split.ready.clusters
    urls = {
        name: getattr(cluster, name)
        for name in ("kubernetes", "objects", "registry", "clickhouse", "data")
    }
    parts = {name: urlsplit(url) for name, url in urls.items()}
    return {name: (url.hostname or "", url.port or 0) for name, url in parts.items()}


def connects(namespaces: Namespaces, plane: str, address: tuple[str, int]) -> bool:
    """Whether a TCP connection from a plane comes about."""
    with namespaces.inside(plane), socket.socket() as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(address)
        except OSError:
            return False
    return True


def test_logs_cross_and_every_row_is_as_claimed(apart: Harness) -> None:
    name = apart.run(workload="plain", args=["--lines", "2000", "--rate", "1000"])
    apart.assert_delivered(name)
    apart.assert_resident()


def test_the_real_client_deploys_runs_and_reads(
    apart: Harness, namespaces: Namespaces, tmp_path: Path
) -> None:
    need_flyte()
    (tmp_path / "apart.py").write_text(TASK)

    def flyte(*arguments: str) -> str:
        config = ("--config", apart.ready.flyte.config)
        return run(namespaces, apart, tmp_path, str(FLYTE), *config, *arguments)

    flyte("create", "secret", "KEY", "--value", "v")
    flyte("run", "--follow", "apart.py", "main", "--name", "ada")
    cli = (sys.executable, "-P", "-m", "planesplit")
    newest = run(namespaces, apart, tmp_path, *cli, "get", "runs").splitlines()[1].split()[0]
    assert "Hello, ada!" in flyte("get", "io", newest)
    assert "apart" in flyte("get", "logs", newest)
    rows = run(namespaces, apart, tmp_path, *cli, "query", "samples", "--run", newest)
    assert "container.cpu.usage" in rows
    rows = run(namespaces, apart, tmp_path, *cli, "residency")
    assert "every row is as claimed" in rows


def test_nothing_connects_from_the_vendors_plane_into_the_customers(
    apart: Harness, namespaces: Namespaces
) -> None:
    for name, (host, port) in listeners(apart).items():
        assert connects(namespaces, VIEWER, (host, port)), name  # it does listen
        assert connects(namespaces, CUSTOMER, (host, port)), name
        for address in namespaces.addresses(CUSTOMER):
            assert not connects(namespaces, VENDOR, (address, port)), name


def test_the_viewers_network_cannot_be_reached(apart: Harness, namespaces: Namespaces) -> None:
    with namespaces.inside(VIEWER), socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        for plane in (VENDOR, CUSTOMER):
            address = namespaces.address(VIEWER, seen_from=plane)
            assert not connects(namespaces, plane, (address, port))
