"""Every row of the white paper's table, moved by real clients, and where its bytes were seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import flyte_client as client
import pytest

from planesplit.harness import Harness, open_portal
from planesplit.residency import Counted
from planesplit.split.options import SplitOptions

pytestmark = pytest.mark.integration

FLYTE = client.FLYTE
COMMAND_S = 90
TASK = """
import flyte
import flyte.report

env = flyte.TaskEnvironment(name="rows", secrets=[flyte.Secret(key="ROW", as_env_var="ROW")])


@env.task(report=True)
async def main(name: str = "world") -> str:
    import os

    await flyte.report.replace.aio(f"<h1>{name}</h1>", do_flush=True)
    return f"{name} knows a secret of {len(os.environ['ROW'])} letters"
"""


class Clients:
    """The commands that people use, on one split.

    Args:
        split: it runs, with two clusters.
        directory: the user's own.
    """

    def __init__(self, split: Harness, directory: Path) -> None:
        self.split, self._directory = split, directory
        self._ready = directory / "ready.json"
        split.ready.write(self._ready)

    def flyte(self, *arguments: str) -> str:
        """Run the unmodified flyte CLI."""
        return client.flyte(self.split.ready, *arguments, cwd=self._directory)

    def planesplit(self, *arguments: str) -> str:
        """Run our own CLI."""
        environment = {**os.environ, "PLANESPLIT_READY": str(self._ready)}
        return self._run([sys.executable, "-P", "-m", "planesplit", *arguments], environment)

    def _run(self, command: list[str], environment: dict[str, str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    client.need_flyte()
    options = SplitOptions(clusters=("c2",), pod_path=(str(FLYTE.parent),))
    portal, split = open_portal(options)
    directory = tmp_path_factory.mktemp("user")
    (directory / "rows.py").write_text(TASK)
    harness = Harness(portal, split, "rows")
    for _ in split.options.all_clusters:
        harness.seen("health_reported", "control_stub")
    yield Clients(harness, directory)
    portal.stop()


@pytest.fixture(scope="module")
def counted(clients: Clients) -> dict[str, Counted]:
    """What the counters say after one of everything."""
    split = clients.split
    clients.flyte("create", "secret", "ROW", "--value", "not for the vendor")
    clients.flyte("run", "--follow", "rows.py", "main", "--name", "ada")
    newest = clients.planesplit("get", "runs").splitlines()[1].split()[0]
    assert "ada knows a secret of 18 letters" in clients.flyte("get", "io", newest)
    assert "<h1>ada</h1>" in clients.planesplit("get", "report", newest)
    pulled = split.run(image="registry.local/planesplit/workload:latest", cluster="c2")
    split.assert_delivered(pulled)
    assert "registry.local" in clients.planesplit("get", "events", pulled)
    trained = split.run(workload="training", args=["--lines", "60", "--rate", "30"], cluster="c1")
    split.assert_delivered(trained)
    clients.planesplit("query", "gpu_utilization", "--run", trained, "--format", "json")
    return {row.row.id: row for row in split.assert_resident()}


@pytest.mark.parametrize("row", ["A4", "A5", "A6", "A7"])
def test_what_never_transits_goes_past_both(counted: dict[str, Counted], row: str) -> None:
    seen = counted[row]
    assert (seen.relay, seen.control) == (0, 0)
    assert seen.direct > 0


@pytest.mark.parametrize("row", ["A8", "A9", "A10", "B"])
def test_what_is_relayed_never_reaches_the_store(counted: dict[str, Counted], row: str) -> None:
    seen = counted[row]
    assert seen.relay > 0
    assert seen.control == 0


@pytest.mark.parametrize("row", ["A1", "A2", "A3", "A11", "A12"])
def test_what_is_stored_comes_to_the_control_plane(counted: dict[str, Counted], row: str) -> None:
    assert counted[row].control > 0


def test_the_table_is_printed_as_it_is_counted(clients: Clients) -> None:
    printed = clients.planesplit("residency")
    assert "every row is as claimed" in printed
    assert len(printed.splitlines()) == 1 + 13 + 1


def test_an_org_wide_secret_is_in_every_cluster(clients: Clients, counted: object) -> None:
    listed = clients.flyte("get", "secret")
    assert "c1: PRESENT" in listed
    assert "c2: PRESENT" in listed
    assert "not for the vendor" not in listed
