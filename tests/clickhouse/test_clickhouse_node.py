"""The unmodified npm package @clickhouse/client against the real process."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_cast import Server, server

pytestmark = pytest.mark.integration

PACKAGE = "@clickhouse/client@1.23.1"
SCRIPT = Path(__file__).parent / "node_client.mjs"
ROWS = 100_000
INSTALL_S = 90


@pytest.fixture(scope="module")
def package() -> Path:
    """The package, installed once per machine; skips with the reason when that can't be done."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed: @clickhouse/client is not tested")
    cached = Path(tempfile.gettempdir()) / f"planesplit-{PACKAGE.replace('/', '-')}"
    if not (cached / "done").exists():
        fresh = Path(tempfile.mkdtemp(prefix="planesplit-npm-"))
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(fresh), PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            shutil.rmtree(fresh)
            pytest.skip(f"npm cannot install {PACKAGE}: {type(error).__name__}")
        (fresh / "done").touch()
        try:
            fresh.rename(cached)
        except OSError:  # another run was first
            shutil.rmtree(fresh)
    return cached


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = f"generate_rows = {ROWS}\n"
    with server(tmp_path_factory.mktemp("node"), config) as made:
        yield made


@pytest.mark.parametrize("compress", [False, True])
def test_the_node_client(running: Server, package: Path, compress: bool) -> None:
    command = ["node", str(SCRIPT), str(package), running.url, json.dumps(compress)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["ping"] == {"success": True}
    assert seen["json"] == [{"n": 1}]
    assert seen["params"] == [{"a": "it's\t\n", "b": [1, 2]}]
    assert seen["names"] == [["n", "s"], ["UInt64", "String"], [0, "x"], [1, "x"]]
    assert seen["stream"] == ROWS
    assert seen["stream_names"] == 200_001
    assert seen["unknown"]["code"] == "60"
    assert seen["insert"] == "1"
    assert seen["inserted"] == [{"LogAttributes": {"a": "b"}}]
    assert seen["forbidden"]["code"] == "164"
    assert "abort" in seen["aborted"]["message"]
    # In a compressed answer the cut connection is noticed before the error can be unpacked.
    assert seen["breaks"]["code"] == ("ECONNRESET" if compress else "395")
    until_killed(running)


def until_killed(running: Server) -> None:
    asked = "SELECT count() FROM system.processes WHERE position(query, 'abor' || 'ter') > 0"
    deadline = time.monotonic() + 20
    while httpx.post(running.url, content=asked, auth=("agent", "pw")).text != "0\n":
        assert time.monotonic() < deadline, "the aborted query still runs"
        time.sleep(0.05)
