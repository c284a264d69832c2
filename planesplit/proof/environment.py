"""What a report says of itself: versions, configuration, seal, and what no run can show."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx

from planesplit.proof.options import ProofOptions
from planesplit.proof.subject import Subject
from planesplit.split.core import Split

UNSEALED, NO_LEVEL = "unsealed", "none"  # the relay is away, and says that it is not sealed
PACKAGES = ("planesplit", "trio", "websockets", "h11", "httpx", "connectrpc", "protobuf")
GIT_S = 5.0
_LEVEL = re.compile(r'relay_seal_level\{level="(\w+)"\}')

BLIND_SPOTS = (
    "payload that is hidden from a search by encryption, XOR, double base64 or base85, and a canary"
    " that is cut by a frame's header: these rest on prevention alone",
    "what is written and removed again between two looks, unless the kernel forbids the writing",
    "memory between two scans; kernel buffers; swap",
    "a pipe to a logger: a process that may write its journal can write anything into it",
)
NOT_SHOWN = (
    "that a deployed relay runs this code: there is no attestation here",
    "what root, a hypervisor, a peer, a network tap or a collector of logs keeps",
    "what the customer's own infrastructure does with what it stores",
    "that it was never otherwise: this is one run; say 'not observed in N runs'",
)


async def seal(split: Subject) -> str:
    """Return the seal's level as the relay tells it, or `unsealed`."""
    try:
        names = await split.metrics()
    except httpx.HTTPError:
        return UNSEALED
    for name, value in names.items():
        found = _LEVEL.fullmatch(name)
        if found and value:
            return found[1]
    return UNSEALED


def describe(split: Subject, options: ProofOptions) -> dict[str, Any]:
    """Return versions, commit, machine and configuration."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "python": sys.version.split()[0],
        "kernel": platform.release(),
        "machine": platform.machine(),
        "planes": list(split.options.planes),
        "seal": split.ready.seal,
        "tls": not split.options.insecure,
        "rows": sorted(options.rows),
        "faults": options.faults,
        "attached": not isinstance(split, Split),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str:
    """Return the commit that this code is of; empty for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - a command of ours
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=GIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
