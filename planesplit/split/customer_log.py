"""Reads a container's CRI log files as the customer's operator does: the reference for deliveries.

Written apart from the agent's reader, so that the two can disagree.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from planesplit.delivery import WholeLine

LOOK_BYTES = 65_536
NANOS = 1_000_000_000
ROTATION_TRIES = 10  # a rotation moves one name; ten in a row means that something else is wrong


class NoLog(Exception):
    """There is no log of that pod."""


def pod_directory(log_roots: Iterable[Path], namespace: str, pod: str) -> Path:
    """Return the one log directory of a pod, `{namespace}_{pod}_{uid}`.

    Args:
        log_roots: of every cluster where it may have run.

    Raises:
        NoLog: there is none, or the pod was made more than once.
    """
    found = [path for root in log_roots for path in root.glob(f"{namespace}_{pod}_*")]
    if len(found) != 1:
        raise NoLog(f"{len(found)} log directories of pod {namespace}/{pod}, expected one")
    return found[0]


def read_log(directory: Path, container: str = "main", restart: int = 0) -> list[WholeLine]:
    """Read every complete line of one container, in the order in which the lines ended.

    Args:
        directory: of the pod.

    Raises:
        NoLog: there is no log of that container.
    """
    for _ in range(ROTATION_TRIES):
        files = log_files(directory / container, restart)
        if not files:
            break
        with suppress(FileNotFoundError):  # renamed or compressed meanwhile: look again
            return list(_join(record for file in files for record in _records(file)))
    raise NoLog(f"no log of container {container} in {directory.name}")


def last_written(directory: Path, count: int, container: str = "main") -> list[str]:
    """Return the text of the last records in the current file, for a look; pieces as they are.

    Args:
        directory: of the pod.
        count: how many, as far as the last 64 KiB of the file hold them.

    Raises:
        NoLog: there is no such file.
    """
    try:
        with (directory / container / "0.log").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOOK_BYTES))
            records = file.read(LOOK_BYTES).split(b"\n")[:-1]
    except FileNotFoundError:
        raise NoLog(f"no log of container {container} in {directory.name}") from None
    whole = records[1:] if size > LOOK_BYTES else records
    return [record.split(b" ", 3)[3].decode(errors="replace") for record in whole[-count:]]


def log_files(directory: Path, restart: int) -> list[Path]:
    """Return a container's log files, oldest first; the current one is the last."""
    rotated: dict[str, Path] = {}
    for file in sorted(directory.glob(f"{restart}.log.*")):  # plain before .gz of the same name
        if file.suffix != ".tmp":
            rotated.setdefault(file.name.removesuffix(".gz"), file)
    current = directory / f"{restart}.log"
    return [*(rotated[name] for name in sorted(rotated)), *([current] if current.exists() else [])]


def _records(file: Path) -> Iterator[list[bytes]]:
    data = file.read_bytes()
    if file.suffix == ".gz":
        data = gzip.decompress(data)
    for record in data.split(b"\n")[:-1]:
        yield record.split(b" ", 3)


def _join(records: Iterator[list[bytes]]) -> Iterator[WholeLine]:
    """Join partial records, each stream for itself; time is that of a line's first record."""
    parts: dict[bytes, list[bytes]] = {}
    began: dict[bytes, int] = {}
    for at, stream, tag, content in records:
        if not parts.setdefault(stream, []):
            began[stream] = _nanoseconds(at.decode())
        parts[stream].append(content)
        if tag.startswith(b"F"):
            text = b"".join(parts.pop(stream)).decode(errors="replace")
            yield WholeLine(began[stream], text + "\n")


def _nanoseconds(stamp: str) -> int:
    """Read RFC 3339 with up to nine digits of fraction; datetime alone keeps six."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * NANOS + int(fraction.ljust(9, "0") or 0)
