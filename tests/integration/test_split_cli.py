"""The commands as a user types them: real processes, exit codes, signals, and nothing left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

PATIENCE_S = 40
PLANES = {"relay", "kube", "customer_stub", "clickhouse", "control_stub", "compute_agent"}


def planesplit(
    *arguments: str, ready: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    if ready:
        environment["PLANESPLIT_READY"] = str(ready)
    return subprocess.run(
        [sys.executable, "-m", "planesplit", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE_S,
        check=False,
    )


@contextmanager
def up(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`planesplit up` in the background, ready."""
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "planesplit", "up", "--ready-file", str(ready), *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(ready.exists, process)
        yield process, ready
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def until(condition: Any, process: subprocess.Popen[str] | None = None) -> None:
    """Poll other processes' doings, bounded."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        if process and process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}: {process.communicate()[1]}")
        time.sleep(0.02)


def pids(ready: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(ready.read_text())["pids"]
    assert set(found) == PLANES
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_up_run_tail_get(tmp_path: Path) -> None:
    with up(tmp_path) as (process, ready):
        started = planesplit("run", "--exec", "echo one; echo two; exit 7", ready=ready)
        run = started.stdout.strip()
        assert started.returncode == 0
        waited = planesplit("run", "--wait", "--exec", "exit 5", ready=ready)
        assert waited.returncode == 5
        assert planesplit("tail", run, ready=ready).stdout == "one\ntwo\n"
        records = planesplit("tail", run, "--json", "--lines", "1", ready=ready).stdout
        assert json.loads(records)["text"] == "two\n"
        listed = json.loads(planesplit("get", "runs", "-o", "json", ready=ready).stdout)
        assert [row["name"] for row in listed] == [waited.stdout.strip(), run]
        table = planesplit("get", "runs", "--ready-file", str(ready)).stdout
        assert table.splitlines()[0].split() == ["NAME", "PHASE", "CREATED", "ENDED"]
        found = planesplit("get", "runs", XDG_RUNTIME_DIR=str(tmp_path / "run"))
        assert run in found.stdout, "the latest up is found without being named"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert not ready.exists()
    assert list(tmp_path.glob("planesplit-*")) == [], "all state was removed"


def test_errors_name_the_remedy(tmp_path: Path) -> None:
    with up(tmp_path, "--insecure") as (_, ready):
        unknown = planesplit("tail", "nonesuch", ready=ready)
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert unknown.stderr.startswith(
            "planesplit: not_found: no such run; 'planesplit get runs'"
        )
        nothing = planesplit("run", ready=ready)
        assert nothing.returncode == 2
        assert "--exec, --replay, --workload and --image" in nothing.stderr
        absent = planesplit("run", "--replay", "/nonesuch", ready=ready)
        assert absent.returncode == 2
        assert "'/nonesuch' is not a file" in absent.stderr
    ended = planesplit("get", "runs", "--ready-file", str(ready))
    assert ended.returncode == 3
    assert "has ended" in ended.stderr


def test_ctrl_c_ends_a_tail_and_an_up(tmp_path: Path) -> None:
    with up(tmp_path, "--insecure") as (process, ready):
        run = planesplit("run", "--exec", "echo on; sleep 60", ready=ready).stdout.strip()
        tail = subprocess.Popen(
            [sys.executable, "-m", "planesplit", "tail", run, "--ready-file", str(ready)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert tail.stdout
        assert tail.stdout.readline() == "on\n"
        tail.send_signal(signal.SIGINT)
        assert tail.wait(PATIENCE_S) == 130
        tail.stdout.close()
        planes = pids(ready)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert all(gone(pid) for pid in planes.values())


def test_nothing_survives_a_supervisor_killed_by_sigkill(tmp_path: Path) -> None:
    with up(tmp_path, "--insecure") as (process, ready):
        marker = f"sleep 3{os.getpid()}"
        planesplit("run", "--exec", f"exec {marker}", ready=ready)
        until(lambda: running(marker))
        planes = pids(ready)
        process.kill()
        until(lambda: all(gone(pid) for pid in planes.values()))
        until(lambda: not running(marker))


def running(command: str) -> bool:
    wanted = command.replace(" ", "\0").encode() + b"\0"
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes() == wanted:
                return True
        except OSError:
            continue
    return False


def test_up_ends_when_a_plane_dies(tmp_path: Path) -> None:
    with up(tmp_path, "--insecure") as (process, ready):
        planes = pids(ready)
        os.kill(planes["relay"], signal.SIGKILL)
        assert process.wait(PATIENCE_S) == 3
        assert process.stderr
        assert "relay ended with status -9 although nobody asked it to" in process.stderr.read()
        assert all(gone(pid) for pid in planes.values())


def test_planes_are_ours_whatever_the_directory_holds(tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text("raise SystemExit('the wrong relay')")
    done = subprocess.run(
        [Path(sys.executable).parent / "planesplit", "demo", "--seconds", "2", "--insecure"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    with up(tmp_path, "--insecure") as (_, ready):
        options = ["--workload", "plain", "--", "--lines", "20000", "--rate", "0"]
        run = planesplit("run", "--wait", *options, ready=ready).stdout.strip()
        tail = subprocess.Popen(
            [sys.executable, "-m", "planesplit", "tail", run, "--ready-file", str(ready)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert tail.stdout
        tail.stdout.readline()
        tail.stdout.close()
        assert tail.wait(PATIENCE_S) == 128 + signal.SIGPIPE
        assert tail.stderr
        assert tail.stderr.read() == ""
        tail.stderr.close()


def test_kept_state_holds_no_secret_for_others(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with up(tmp_path, "--keep", str(kept)) as (process, ready):
        planesplit("run", "--wait", "--exec", "echo kept", ready=ready)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    assert any("kept" in log.read_text() for log in kept.rglob("0.log"))
    assert kept.stat().st_mode & 0o077 == 0
    again = planesplit("up", "--keep", str(kept))
    assert again.returncode == 3
    assert "is not empty" in again.stderr


def test_demo_headless() -> None:
    done = planesplit("demo", "--headless", "--seconds", "4", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["ok"]
    assert summary["cuts"] == 3
    assert summary["produced"] == summary["delivered"] == 200
    assert summary["lost"] == summary["doubled"] == summary["disordered"] == 0
    assert summary["sha256_produced"] == summary["sha256_delivered"]
    assert 0 < summary["p50_ms"] <= summary["p99_ms"]


def test_demo_without_a_terminal_ends_by_itself() -> None:
    done = planesplit("demo", "--seconds", "2", "--insecure")
    assert done.returncode == 0, done.stderr
    assert "lines |" in done.stdout
    assert "ok: 100 lines produced, 100 delivered;\n  0 lost" in done.stdout


def test_demo_interrupted_leaves_nothing(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "planesplit", "demo", "--seconds", "60"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert demo.stdout
    assert "lines |" in demo.stdout.readline()
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE_S) == 130
    demo.stdout.close()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def demo_on_a_terminal() -> Iterator[tuple[subprocess.Popen[bytes], int, bytes]]:
    """The live demonstration with its terminal, and what was shown when lines had crossed."""
    terminal, inside = pty.openpty()
    demo = subprocess.Popen(
        [sys.executable, "-m", "planesplit", "demo", "--insecure"],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "24"},
        stdout=inside,
        stderr=subprocess.DEVNULL,
    )
    os.close(inside)
    try:
        shown = b""
        deadline = time.monotonic() + PATIENCE_S
        while b"step=9" not in shown:
            assert time.monotonic() < deadline, shown[-2000:]
            shown += os.read(terminal, 65_536)
        yield demo, terminal, shown
    finally:
        demo.kill()
        demo.wait(PATIENCE_S)


def test_leaks_that_are_interrupted_leave_nothing(tmp_path: Path) -> None:
    proof = subprocess.Popen(
        [sys.executable, "-m", "planesplit", "prove", "--sabotage", "temp-file"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with proof:
        until(lambda: list(tmp_path.glob("planesplit-*/config/relay.toml")), proof)
        os.killpg(proof.pid, signal.SIGINT)  # as a terminal does
        _, told = proof.communicate(timeout=PATIENCE_S)
    assert proof.returncode == 130
    assert "Traceback" not in told
    assert [path for path in tmp_path.iterdir() if not path.name.startswith("pytest")] == []


def test_demo_on_a_terminal_shows_all_panels_and_sums_up_on_ctrl_c() -> None:
    with demo_on_a_terminal() as (demo, terminal, shown):
        assert b"what the agent sends" in shown
        assert b"what arrives" in shown
        demo.send_signal(signal.SIGINT)
        with suppress(OSError):  # the terminal ends with its last process
            while data := os.read(terminal, 65_536):
                shown += data
        os.close(terminal)
        assert demo.wait(PATIENCE_S) == 0
        assert b"0 lost, 0 doubled" in shown


def test_demo_ends_with_its_terminal() -> None:
    with demo_on_a_terminal() as (demo, terminal, _):
        os.close(terminal)
        assert demo.wait(PATIENCE_S) == 128 + signal.SIGHUP
