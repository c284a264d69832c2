"""`planesplit doctor`: what this machine offers, by trying it where that is possible."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from planesplit.commands.outcome import OK, UNUSABLE
from planesplit.commands.output import as_json, as_table

PROBE_S = 10.0
KERNEL_NEEDED = (5, 3)  # pidfd_open(2)
PYTHON_NEEDED = (3, 11)
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_VERSION = 1
_SECCOMP_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
_SHAPE = "ip link set lo up && tc qdisc add dev lo root {}"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried.

    Args:
        name: what.
        ok: whether it is there.
        detail: version, path, or what is missing.
        use: what it is for.
        required: whether nothing works without it.
    """

    name: str
    ok: bool
    detail: str
    use: str
    required: bool = False


def doctor(*, json: bool) -> int:
    """Print every check; 3 if something required is missing."""
    found = list(checks())
    rows = [dataclasses.asdict(check) for check in found]
    usable = all(check.ok for check in found if check.required)
    if json:
        sys.stdout.write(as_json({"usable": usable, "checks": rows}))
    else:
        for row in rows:
            row["state"] = "ok" if row["ok"] else "MISSING" if row["required"] else "no"
        sys.stdout.write(as_table(rows, ("name", "state", "detail", "use")))
    return OK if usable else UNUSABLE


def checks() -> Iterator[Check]:
    """Try everything."""
    release = platform.release()
    linux = sys.platform == "linux"
    yield Check("kernel", linux and _kernel(release) >= KERNEL_NEEDED, release, "Linux 5.3", True)
    python = sys.version_info[:2] >= PYTHON_NEEDED
    yield Check("python", python, platform.python_version(), "3.11 or newer", True)
    yield _masking()
    yield Check("cpus", True, str(len(os.sched_getaffinity(0))), "two are enough")
    yield _landlock()
    yield _seccomp()
    yield _unshared("netns", "true", "each plane in a network of its own")
    yield _unshared("tbf", _SHAPE.format("tbf rate 1mbit burst 32kbit latency 50ms"), "bandwidth")
    yield _unshared("netem", _SHAPE.format("netem delay 1ms"), "delay by the kernel, else our own")
    yield _program("chromium", "tests of pages")
    yield _program("haproxy", "peer of the benchmarks, several relays")
    yield _program("sshd", "peer of the benchmarks")
    yield _flyte()


def _kernel(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())


def _masking() -> Check:
    from tunnel.websocket_codec import MASK_IN_C

    detail = "websockets.speedups" if MASK_IN_C else "not built: the relay costs twice as much"
    return Check("C masking", MASK_IN_C, detail, "unmasks frames at memory speed")


def _landlock() -> Check:
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    detail = f"ABI {version}" if version > 0 else os.strerror(ctypes.get_errno())
    return Check("landlock", version > 0, detail, "can take files and dialling from the relay")


def _seccomp() -> Check:
    try:
        actions = _SECCOMP_ACTIONS.read_text(encoding="ascii").split()
    except OSError:
        actions = []
    found = "kill_process" in actions and "errno" in actions
    return Check(
        "seccomp", found, "filter" if found else "absent", "can take system calls from the relay"
    )


def _unshared(name: str, script: str, use: str) -> Check:
    """Try a script in a new network namespace, which needs root or user namespaces."""
    command = ("unshare", "--net", *(() if os.getuid() == 0 else ("-r",)), "sh", "-c", script)
    error = _try(command)
    return Check(name, not error, error or "works", use)


def _program(name: str, use: str) -> Check:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return Check(name, path is not None, path or "not installed", use)


def _flyte() -> Check:
    path = os.environ.get("PLANESPLIT_FLYTE") or shutil.which("flyte") or ""
    use = "the unmodified client (PLANESPLIT_FLYTE)"
    if not path:
        return Check("flyte", False, "not installed", use)
    error = _try((path, "--version"))
    return Check("flyte", not error, error or path, use)


def _try(command: tuple[str, ...]) -> str:
    """Run a command; return "" or the end of what went wrong."""
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    try:
        done = run(
            command, capture_output=True, text=True, timeout=PROBE_S, check=False, errors="replace"
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"{command[0]}: no answer in {PROBE_S:g} s"
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return "" if done.returncode == 0 else lines[-1][:80]
