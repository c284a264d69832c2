"""Degrading honestly, refusing clearly: what is missing in the kernel, what was left open."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from relay.seal import calls, seccomp
from relay.seal.level import Level, Seal, SealRefused

pytestmark = pytest.mark.integration  # each case is a process of its own
PIPE = subprocess.PIPE
CREATE_RULESET, SECCOMP = 444, 317 if os.uname().machine == "x86_64" else 277

# A kernel without a system call: a filter of our own that answers ENOSYS to it, then the seal.
WITHOUT = """
import os, platform, runpy, sys
from relay.seal import seccomp
from relay.seal.kernel import PR_SET_NO_NEW_PRIVS, prctl
prctl(PR_SET_NO_NEW_PRIVS, 1)
numbers = [int(number) for number in sys.argv.pop(1).split(",")]
code = [(0x20, 0, 0, 0)]
for number in numbers:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x0005_0000 | ENOSYS)]
code.append((0x06, 0, 0, seccomp.RET_ALLOW))
seccomp.install(seccomp.MACHINES[platform.machine()], code)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
""".replace("ENOSYS", str(errno.ENOSYS))


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": PIPE, "stderr": PIPE, **options}
    return subprocess.run([sys.executable, *command], text=True, timeout=30, check=False, **streams)


def without(numbers: tuple[int, ...], module: str, *arguments: str):
    joined = ",".join(map(str, numbers))
    return run("-c", WITHOUT, joined, module, *arguments)


@pytest.mark.parametrize(
    ("numbers", "level", "missing"),
    [
        ((), "full", set()),
        ((CREATE_RULESET,), "kernel", {"landlock"}),
        ((SECCOMP,), "kernel", {"seccomp"}),
        ((CREATE_RULESET, SECCOMP), "limits", {"landlock", "seccomp"}),
    ],
    ids=["all", "no-landlock", "no-seccomp", "neither"],
)
def test_what_the_kernel_lacks_is_told(numbers, level, missing) -> None:
    told = json.loads(without((*numbers, 9999), "relay.seal").stdout)
    assert told["level"] == level
    assert set(told["missing"]) == missing
    assert all("without it" in why or "without seccomp" in why for why in told["missing"].values())
    assert all(told["refused"].values()) == (level == "full" or "seccomp" not in missing)


def test_a_relay_does_not_start_below_what_is_required(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text('insecure = true\n[seal]\nrequire = "full"\n')
    done = without((CREATE_RULESET,), "relay", "--config", str(config))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "'full' is required and 'kernel'" in done.stderr
    assert "landlock: this kernel was built without it" in done.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_file_for_output_is_refused_at_start(tmp_path: Path, stream: str) -> None:
    config, log = tmp_path / "relay.toml", tmp_path / "relay.log"
    config.write_text("insecure = true\n")
    with open(log, "ab") as file:
        done = run("-m", "relay", "--config", str(config), **{stream: file})
    assert done.returncode == 3
    told = log.read_text() + (done.stderr or "")
    assert f"{stream} is a file open for writing ({log}); give it a pipe" in told


def opened(path: str, flags: int) -> int:
    descriptor = os.open(path, flags)
    os.set_inheritable(descriptor, True)
    return descriptor


@pytest.mark.parametrize(
    ("path", "flags", "is_fine"),
    [
        ("/dev/null", os.O_RDWR, True),
        ("/etc/passwd", os.O_RDONLY, True),
        ("/", os.O_RDONLY, True),
        ("file", os.O_WRONLY | os.O_CREAT, False),
        ("file", os.O_RDWR | os.O_CREAT, False),
    ],
    ids=["null", "read-only", "directory", "write-only", "read-write"],
)
def test_the_audit_of_what_is_inherited(tmp_path, monkeypatch, path, flags, is_fine) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    descriptor = opened(path, flags)
    try:
        done = run("-m", "relay.seal", pass_fds=(descriptor,))
    finally:
        os.close(descriptor)
    assert done.returncode == (0 if is_fine else 3), done.stderr
    assert is_fine or f"descriptor {descriptor} is a file open for writing" in done.stderr


@pytest.mark.parametrize(
    ("seal", "status", "told"),
    [
        ('mode = "maybe"', 2, "must be 'on' or 'off'"),
        ('require = "all"', 2, "known: none, limits, kernel, full"),
        ('mode = "off"\nrequire = "limits"', 2, "drop one of the two"),
        ("prover_fd = 99", 3, "memory cannot be handed over by descriptor 99"),
    ],
    ids=["mode", "level", "off", "prover"],
)
def test_a_wrong_seal_is_one_clear_line(tmp_path: Path, seal: str, status: int, told: str) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(f"insecure = true\n[seal]\n{seal}\n")
    done = run("-m", "relay", "--config", str(config))
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)
    assert told in done.stderr


def test_a_second_thread_is_refused() -> None:
    program = """
import threading
from relay.seal.apply import seal_process
from relay.seal.level import SealRefused
wait = threading.Event()
thread = threading.Thread(target=wait.wait)
thread.start()
try:
    seal_process()
except SealRefused as error:
    print(error)
wait.set()
"""
    assert "2 threads run instead of one" in run("-c", program).stdout


def test_levels_are_what_they_contain() -> None:
    assert Seal().level is Level.NONE
    assert Seal(landlock=7, seccomp=True).level is Level.NONE
    assert Seal(limits=True).level is Level.LIMITS
    assert Seal(limits=True, seccomp=True).level is Level.KERNEL
    assert str(Seal(limits=True, landlock=7, seccomp=True)) == (
        "full landlock=7 seccomp=on fsize=0 fds=clean"
    )
    Seal(limits=True, seccomp=True).demand("kernel")
    with pytest.raises(SealRefused, match="sealing is off"):
        Seal().demand("limits")


def test_the_table_has_no_number_twice() -> None:
    for machine in seccomp.MACHINES.values():
        numbers = [getattr(call, machine.column) for call in calls.ALLOWED]
        known = [number for number in numbers if number is not None]
        assert len(known) == len(set(known))


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/aarch64-linux-gnu/asm/unistd.h"),
}


@pytest.mark.parametrize("column", sorted(HEADERS))
def test_numbers_are_those_of_the_kernels_headers(column: str) -> None:
    if not HEADERS[column].exists():
        pytest.skip(f"no kernel headers of {column} here")
    lines = (line.split() for line in HEADERS[column].read_text().splitlines())
    known = {
        w[1]: int(w[2])
        for w in lines
        if len(w) == 3 and w[1].startswith("__NR_") and w[2].isdigit()
    }
    for call in calls.ALLOWED:
        assert known.get(f"__NR_{call.name}") == getattr(call, column), call.name
