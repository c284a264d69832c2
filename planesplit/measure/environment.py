"""Where a measurement was made: a figure without its machine is worth nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from planesplit.measure.procfs import steal_s
from tunnel.websocket_codec import MASK_IN_C

LIBRARIES = ("planesplit", "trio", "websockets", "h11")
ASK_S = 5.0


class Environment:
    """The machine before and after a run."""

    def __init__(self) -> None:
        self._load_before = os.getloadavg()[0]
        self._steal_before_s = steal_s()

    def capture(self) -> dict[str, Any]:
        """Return what may explain the figures; call it after the run.

        `busy`: the load average exceeded the cores, which a run alone does not bring about.
        """
        cores, load = len(os.sched_getaffinity(0)), max(self._load_before, os.getloadavg()[0])
        return {
            "cpu": _cpu_model(),
            "cores": cores,
            "busy": load > cores,
            "governor": _governor(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "versions": {name: metadata.version(name) for name in LIBRARIES},
            "mask_in_c": MASK_IN_C,
            "git": _git_revision(),
            "load_before": round(self._load_before, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "steal_s": round(steal_s() - self._steal_before_s, 2),
        }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _governor() -> str:
    try:
        path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _git_revision() -> str:
    """Return the commit of this source, with `+` if tracked files differ; "" for no checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no") if commit else ""
    return commit + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command: Sequence[str] = ("git", "-C", str(Path(__file__).parent), *arguments)
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, timeout=ASK_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
