"""`planesplit doctor`: what this machine offers, by trying it where that is possible."""

from __future__ import annotations

import dataclasses
import json as json_module
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planesplit.commands.outcome import OK, UNUSABLE
from planesplit.commands.output import as_json, as_table

PROBE_S = 10.0
KERNEL_NEEDED = (5, 3)  # pidfd_open(2)
PYTHON_NEEDED = (3, 11)
_SWAPS = Path("/proc/swaps")
SEAL_USE = {
    "landlock": "takes files and dialling from the relay",
    "seccomp": "takes system calls from the relay",
    "seal": "level of a child sealed like the relay (--require-seal)",
    "memory": "what a sealed process hands over, for proofs",
}
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
    yield from _sealed()
    yield _swap()
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


def _sealed() -> Iterator[Check]:
    """Seal a child as the relay seals itself, and read the memory that it hands over."""
    found, readable = _sealed_child()
    missing = found.get("missing", {})
    for part, shown in (("landlock", "ABI {}"), ("seccomp", "filter {}")):
        value = found.get(part, "0")
        there = value not in ("0", "off")
        detail = shown.format(value) if there else missing.get(part, "not tried")
        yield Check(part, there, detail, SEAL_USE[part])
    through = ", ".join(name for name, refused in found.get("refused", {}).items() if not refused)
    level = found.get("level", "none")
    detail = found.get("error") or (f"{level}, but not refused: {through}" if through else level)
    yield Check("seal", level == "full" and not through, detail, SEAL_USE["seal"])
    memory = f"{readable / 1e6:.0f} MB read" if readable else "nothing could be read"
    yield Check("memory", readable > 0, memory, SEAL_USE["memory"])
    yield _fanotify()


def _fanotify() -> Check:
    from planesplit.proof.fanotify import Fanotify

    use = "tells 'prove' who writes to which file"
    try:
        Fanotify([Path("/")]).close()
    except OSError as error:
        return Check("fanotify", False, f"{error.strerror or error} (only root may)", use)
    return Check("fanotify", True, "works", use)


def _sealed_child() -> tuple[dict[str, Any], int]:
    """Return what `relay.seal` tells, or its error, and how much of its memory could be read."""
    from planesplit.split.process_memory import Handover

    handover = Handover()
    command = (sys.executable, "-P", "-m", "relay.seal", str(handover.child_fd))
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=(handover.child_fd,)
    ) as child:
        assert child.stdout
        assert child.stderr
        line = child.stdout.readline()
        memory = handover.receive()
        readable = sum(len(piece) for _, piece in memory.regions()) if memory else 0
        if memory:
            memory.close()
        _, said = child.communicate(timeout=PROBE_S)
    if not line:
        return {"error": said.decode(errors="replace").strip()[-80:]}, readable
    found: dict[str, Any] = json_module.loads(line)
    return found, readable


def _swap() -> Check:
    """Swap is the kernel's: no process can keep its memory out of it without privileges."""
    try:
        areas = _SWAPS.read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except OSError:
        areas = []
    detail = ", ".join(area.split()[0] for area in areas) or "none"
    return Check("no swap", not areas, detail, "the relay's memory never reaches a disk")


def _unshared(name: str, script: str, use: str) -> Check:
    """Try a script in a new network namespace, which needs root or user namespaces."""
    command = ("unshare", "--net", *(() if os.getuid() == 0 else ("-r",)), "sh", "-c", script)
    error = _try(command)
    return Check(name, not error, error or "works", use)


def _program(name: str, use: str) -> Check:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return Check(name, path is not None, path or "not installed", use)


def _flyte() -> Check:
    made = str(Path(sys.prefix).with_name(".venv-flyte") / "bin" / "flyte")  # by `make flyte`
    path = os.environ.get("PLANESPLIT_FLYTE") or shutil.which("flyte") or shutil.which(made) or ""
    use = "the unmodified client (PLANESPLIT_FLYTE)"
    if not path:
        return Check("flyte", False, "not installed; 'make flyte' does it", use)
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
