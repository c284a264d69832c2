"""The directory of the engine: the configured one, or a private one that doesn't outlive us."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunnel.settings import SettingError

PREFIX = "planesplit-clickhouse-"
LOCK = "in-use"


@contextmanager
def data_directory(configured: str) -> Iterator[Path]:
    """Yield the directory for tables, locked against another process; a private one ends with us.

    What an earlier process left behind when it was killed is removed.

    Raises:
        SettingError: it can't be made, or another process uses it.
    """
    if configured:
        directory = Path(configured).absolute()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(directory):
                yield directory / "data"
        except OSError as error:
            raise SettingError(
                f"setting 'data_dir': cannot use '{configured}': {error.strerror}; "
                "choose a directory of its own that no other process uses"
            ) from None
        return
    _remove_left_over(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))  # 0700
    try:
        with _locked(directory):
            yield directory / "data"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_left_over(parent: Path) -> None:
    for directory in parent.glob(f"{PREFIX}*"):
        if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
            continue
        with suppress(OSError):  # in use, or gone meanwhile
            if (directory / LOCK).exists():
                with _locked(directory):
                    shutil.rmtree(directory, ignore_errors=True)
