"""A pod's working directory: its own, empty at the start, removed at its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def workplace(root: Path | None, uid: str) -> Iterator[str | None]:
    """Make a directory for one pod and remove it with all that the pod left there.

    Args:
        root: where such directories are; None makes none, and the pod runs where this process does.
        uid: of the pod.

    Raises:
        OSError: it can't be made.
    """
    if root is None:
        yield None
        return
    place = root / uid
    place.mkdir(mode=0o700, parents=True)
    try:
        yield str(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
