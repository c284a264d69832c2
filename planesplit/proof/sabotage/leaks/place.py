"""Names of what leaks leave behind, so that it can be told apart and removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "planesplit-leak-"
PLACES = (Path(tempfile.gettempdir()), Path("/dev/shm"))  # noqa: S108 - where leaks go


def new_file(name: str, directory: Path = PLACES[0]) -> Path:
    """Return a path of this process's own."""
    return directory / f"{PREFIX}{os.getpid()}-{name}"


def remove(pid: int) -> int:
    """Remove what a process's leaks have left; return how many files that were."""
    left = [path for place in PLACES for path in place.glob(f"{PREFIX}{pid}-*")]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)
