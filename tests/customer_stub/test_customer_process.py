"""The customer's infrastructure as a process: ready line, errors, signals, no orphans."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from customer_cast import lines, pod

from customer_stub.settings import CustomerSettings, TlsFiles
from tunnel.settings import SettingError, describe

pytestmark = pytest.mark.integration

PATIENCE_S = 20.0


def write_config(path: Path, **fields: Any) -> Path:
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items()))
    return path


@contextlib.contextmanager
def running(tmp_path: Path, **fields: Any) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """The process, its base URL and its log root."""
    config = write_config(
        tmp_path / "customer.toml", log_root=str(tmp_path / "logs"), insecure=True, **fields
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "customer_stub", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        assert (ready["event"], ready["pid"]) == ("ready", process.pid)
        yield process, f"http://127.0.0.1:{ready['port']}", Path(ready["log_root"])
    finally:
        process.kill()
        process.communicate()


def start_pod(url: str, log_root: Path, script: str, count: int) -> list[bytes]:
    """Run a shell script in a pod and wait for its first lines."""
    body = pod("p", container={"command": ["sh", "-c", script]})
    uid = httpx.post(f"{url}/api/v1/namespaces/default/pods", json=body).json()["metadata"]["uid"]
    directory = log_root / f"default_p_{uid}" / "main"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            found = lines(directory)
            if len(found) >= count:
                return found
        time.sleep(0.01)
    raise AssertionError("the pod wrote too little")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in pids if alive(pid)] == []


FAMILY = (
    "trap '' TERM HUP INT; echo $$; sleep 600 & echo $!;"
    " setsid sh -c 'trap \"\" TERM; echo $$; sleep 600; sleep 600' & wait; wait"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_the_process(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, shutdown_s=0.2) as (process, url, log_root):
        pids = [int(line) for line in start_pod(url, log_root, FAMILY, 3)]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pids = sorted({*pids, *map(int, children)})  # the guardian among them
        assert len(pids) == 4
        assert all(map(alive, pids))
        process.send_signal(number)
        code = process.wait(PATIENCE_S)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        wait_until_gone(pids)


def test_the_kernel_alone_kills_the_command(tmp_path: Path) -> None:
    with running(tmp_path) as (process, url, log_root):
        (line,) = start_pod(url, log_root, "echo $$; exec sleep 600", 1)
        command = int(line)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (guardian,) = {int(child) for child in children} - {command}
        os.kill(guardian, signal.SIGKILL)
        process.kill()
        wait_until_gone([command])


def test_sigterm_lets_containers_finish_their_logs(tmp_path: Path) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.05; done"
    with running(tmp_path, shutdown_s=10) as (process, url, log_root):
        start_pod(url, log_root, script, 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        (directory,) = log_root.glob("default_p_*/main")
        assert lines(directory) == [b"hello", b"bye"]
        assert process.stderr is not None
        journal = [json.loads(line) for line in process.stderr.read().splitlines()]
        events = [entry["event"] for entry in journal]
        assert events == ["pod_started", "stopping", "pod_ended"]


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with running(tmp_path, shutdown_s=60) as (process, url, log_root):
        pids = [int(line) for line in start_pod(url, log_root, FAMILY, 3)]
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while "stopping" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) in (128 + signal.SIGTERM, -signal.SIGTERM)
        wait_until_gone(pids)


def test_output_never_reaches_the_journal(tmp_path: Path) -> None:
    secret = f"canary-{os.getpid()}-{time.time_ns()}"
    with running(tmp_path) as (process, url, log_root):
        start_pod(url, log_root, f"echo {secret}; echo {secret} >&2; exit 1", 2)
        httpx.post(f"{url}/api/v1/namespaces/default/pods", content=secret)
        httpx.get(f"{url}/{secret}?{secret}", headers={"authorization": f"Bearer {secret}"})
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert secret not in out + err
        assert "pod_ended" in err


def run_to_the_end(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "customer_stub", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_help() -> None:
    result = run_to_the_end("--help")
    assert result.returncode == 0
    assert "--config" in result.stdout


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "'tls' is missing"),
        ({"insecure": True, "host": "0.0.0.0"}, "'host' is '0.0.0.0'"),
        ({"insecure": True, "log_root": "/dev/null/x"}, "'log_root'"),
        ({"insecure": True, "token_file": "/no/such"}, "'token_file': cannot read '/no/such'"),
        ({"insecure": True, "rotate_files": 1}, "'rotate_files' is 1; it must be between 2"),
        ({"insecure": True, "colour": "red"}, "unknown setting 'colour'"),
    ],
    ids=str,
)
def test_configuration_errors(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    config = write_config(tmp_path / "c.toml", **{"log_root": str(tmp_path / "logs"), **fields})
    result = run_to_the_end("--config", str(config))
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write_config(tmp_path / "c.toml", log_root=str(tmp_path), insecure=True, port=port)
        result = run_to_the_end("--config", str(config))
    assert result.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_checks_that_need_two_settings() -> None:
    with pytest.raises(SettingError, match="token_file"):
        CustomerSettings(log_root="x", tls=TlsFiles("a", "b")).check()
    assert CustomerSettings(log_root="x", insecure=True, host="::1").check()
    assert all(entry["why"] for entry in describe(CustomerSettings))
