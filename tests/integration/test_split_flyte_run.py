"""Tasks that the unmodified flyte CLI deploys and runs: code, inputs, outputs and reports.

The pod runs flyte's own `a0`, which reads the bundle and `inputs.pb` from the customer's store and
writes `outputs.pb`, `report.html` or `error.pb` there.
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import flyte_client as client
import httpx
import pytest

from planesplit.harness import Harness, open_portal
from planesplit.split.options import SplitOptions

pytestmark = pytest.mark.integration

FLYTE = client.FLYTE
CLI_S = 90
HELLO = """
import asyncio
import flyte
import flyte.report

env = flyte.TaskEnvironment(name="greet", image="python:3.12-slim")


@env.task(report=True)
async def main(name: str = "world") -> str:
    print("it runs", flush=True)
    await flyte.report.replace.aio(f"<h1>for {name}</h1>", do_flush=True)
    return f"Hello, {name}!"


@env.task
async def bad() -> str:
    raise ValueError("on purpose")


@env.task
async def forever() -> None:
    print("it waits", flush=True)
    await asyncio.sleep(600)
"""
FETCH = """
import sys
import flyte
import flyte.remote
flyte.init_from_config(sys.argv[1])
action = flyte.remote.Action.get(run_name=sys.argv[2], name="a0")
print(action.get_report())
action.download_code(dest=sys.argv[3])
"""


class Stage(NamedTuple):
    """A split whose pods find flyte's runtime, and a user's directory."""

    split: Harness
    project: Path

    def command(self, *arguments: str | Path, code: int = 0) -> str:
        """Run a program of flyte's environment as the user; return what it said."""
        done = client.run_as_user(self.split.ready, arguments, self.project)
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def flyte(self, *arguments: str) -> str:
        """Run the CLI."""
        return self.command(FLYTE, "--config", self.split.ready.flyte.config, *arguments)

    def start(self, *arguments: str) -> str:
        """Run a task and return the run's name."""
        said = self.flyte("run", *arguments)
        found = re.search(r"Created Run: (\w+)", said)
        assert found, said
        return found[1]


@pytest.fixture(scope="module", params=["tls", "insecure"])
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    client.need_flyte()
    insecure, path = request.param == "insecure", (str(FLYTE.parent),)
    options = SplitOptions(insecure=insecure, pod_path=path, clickhouse=False)
    portal, split = open_portal(options)
    project = tmp_path_factory.mktemp("project")
    (project / "hello.py").write_text(HELLO)
    harness = Harness(portal, split, f"flyte-run-{request.param}")
    harness.seen("health_reported", "control_stub")
    yield Stage(harness, project)
    portal.stop()


def planesplit(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    ready = stage.project / "ready.json"
    stage.split.ready.write(ready)
    return subprocess.run(
        [sys.executable, "-m", "planesplit", *arguments, "--ready-file", str(ready)],
        capture_output=True,
        text=True,
        timeout=CLI_S,
        check=False,
    )


def files_with(directory: Path, text: str) -> list[str]:
    return [
        str(file)
        for file in directory.rglob("*")
        if file.is_file() and text.encode() in file.read_bytes()
    ]


def test_deploy_and_run_what_was_deployed(stage: Stage) -> None:
    stage.flyte("deploy", "hello.py", "env")
    assert "greet.main" in stage.flyte("--output-format", "json", "get", "task")
    run = stage.start("deployed-task", "greet.main", "--name", "again")
    assert stage.split.wait(run).phase == "SUCCEEDED"
    assert "Hello, again!" in stage.flyte("get", "io", run)


def test_a_run_from_source_to_report(stage: Stage) -> None:
    name = f"canary{secrets.token_hex(8)}"
    said = stage.flyte("run", "--follow", "hello.py", "main", "--name", name)
    assert "it runs" in said
    run = re.findall(r"Created Run: (\w+)", said)[0]
    assert stage.split.wait(run).phase == "SUCCEEDED"
    assert f"Hello, {name}!" in stage.flyte("get", "io", run)
    config = stage.split.ready.flyte.config
    code = stage.project / "code"
    report = stage.command(FLYTE.parent / "python", "-c", FETCH, config, run, code)
    assert f"<h1>for {name}</h1>" in report
    assert list(code.rglob("hello.py")), "the code that ran came back"
    control = Path(config).parent / "control"
    assert files_with(control, run), "the check can fail"
    assert files_with(control, name) == [], "inputs and outputs never reach the control plane"
    data = stage.split.ready.clusters[0].data
    ca_file = stage.split.ready.ca_file
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else False
    rows = httpx.get(f"{data}/_planesplit/rows", verify=verify).json()
    assert rows["direct"]["A4"]["up"] > 0
    assert rows["tunnel"]["A4"] == {"up": 0, "down": 0}
    assert rows["tunnel"]["B"]["down"] > 0


def test_what_is_known_of_a_run_outlives_pod_and_agent(stage: Stage) -> None:
    run = stage.start("hello.py", "main", "--name", "lasting")
    assert stage.split.wait(run).phase == "SUCCEEDED"
    since = stage.split.journal_count("control_stub")
    stage.split.kill()
    stage.split.restart()
    stage.split.seen("access_pushed", "control_stub", since=since)
    assert "Hello, lasting!" in stage.flyte("get", "io", run)
    shown = planesplit(stage, "get", "report", run)
    assert "<h1>for lasting</h1>" in shown.stdout, shown.stderr
    file = stage.project / "report.html"
    assert planesplit(stage, "get", "report", run, "--output", str(file)).returncode == 0
    assert file.read_text() == shown.stdout
    data = json.loads(planesplit(stage, "get", "io", run).stdout)
    assert "lasting" in json.dumps(data["outputs"])
    assert json.loads(planesplit(stage, "get", "io", run, "--presigned").stdout) == data


def test_a_task_that_raises_has_failed(stage: Stage) -> None:
    run = stage.start("hello.py", "bad")
    assert stage.split.wait(run).phase == "FAILED", "although its container exits with 0"
    none = planesplit(stage, "get", "report", run)
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr == "planesplit: not_found: there is no such object\n"


def test_abort(stage: Stage) -> None:
    run = stage.start("hello.py", "forever")
    with stage.split.tail(run) as lines:
        while "it waits" not in lines.next():
            pass
    stage.flyte("abort", "run", run)
    assert stage.split.wait(run).phase == "ABORTED"


def test_a_bundle_by_hand(stage: Stage) -> None:
    file = stage.project / "bundle.tar.gz"
    file.write_bytes(b"any content")
    first = planesplit(stage, "put", "bundle", str(file))
    again = planesplit(stage, "put", "bundle", str(file))
    assert first.returncode == again.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    assert first.stdout.startswith("s3://planesplit-fast-registration/acme/")
    missing = planesplit(stage, "put", "bundle", "/nonesuch")
    assert missing.returncode == 2
    assert "'/nonesuch' cannot be read" in missing.stderr
