"""Unpacks the layers of an image into a directory, and lets none of them reach out of it.

Source: OCI image specification, "Image Layer Filesystem Changeset". Owners, devices and extended
attributes are left out: the files are for processes of this user, without isolation.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import trio

BLOCK_BYTES = 262_144
COPY_BYTES = 4_194_304  # about 1 ms in the page cache
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_GZIP_MAGIC = b"\x1f\x8b"


class UnpackError(Exception):
    """A layer is damaged, too large, or reaches out of the image; the message repeats no name."""


class Unpacker:
    """Unpacks layers, lowest first, into one directory.

    Args:
        root: an empty directory.
        max_bytes: of all layers, uncompressed.
        max_files: entries of all layers.
    """

    def __init__(self, root: Path, *, max_bytes: int, max_files: int) -> None:
        self._root = Path(os.path.realpath(root))
        self._bytes_left, self._files_left = max_bytes, max_files
        self._in_layer: set[Path] = set()

    async def layer(self, path: Path) -> None:
        """Apply one layer, a tar archive that may be compressed with gzip.

        Raises:
            UnpackError: see there.
        """
        self._in_layer = set()
        try:
            with path.open("rb") as packed, _open(packed) as archive:
                while (member := archive.next()) is not None:
                    await self._member(archive, member)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise UnpackError(f"a layer can't be unpacked: {reason or 'it is damaged'}") from None

    def finish(self) -> None:
        """Check that no link leads out of the image.

        Raises:
            UnpackError: one does.
        """
        for directory, names, files in os.walk(self._root):
            for name in (*names, *files):
                path = Path(directory, name)
                if path.is_symlink():
                    self._inside(path)

    async def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._spend(member)
        parts = [part for part in PurePosixPath(member.name).parts if part != "/"]
        if ".." in parts:
            raise UnpackError("a layer's entry is outside the image")
        if not parts:
            return
        parent = self._inside(self._root.joinpath(*parts[:-1]))
        parent.mkdir(parents=True, exist_ok=True)
        if parts[-1].startswith(WHITEOUT):
            self._white_out(parent, parts[-1])
            return
        path = parent / parts[-1]
        self._in_layer.add(path)
        if member.isreg():
            _remove(path)
            await _write(archive, member, path)
        else:
            self._special(member, path)
        await trio.lowlevel.checkpoint()

    def _special(self, member: tarfile.TarInfo, path: Path) -> None:
        """Make what is no regular file."""
        if member.isdir():
            if path.is_symlink() or not path.is_dir():
                _remove(path)
                path.mkdir()
            path.chmod(member.mode & 0o777 | 0o700)
            return
        _remove(path)
        if member.issym():
            path.symlink_to(self._relative(member.linkname, path))
            self._inside(path)
        elif member.islnk():
            source = self._inside(self._root.joinpath(member.linkname.lstrip("/")))
            if not source.is_file():
                raise UnpackError("a layer's link has no target in the image")
            os.link(source, path)
        else:
            raise UnpackError("a layer holds a device or another special file")

    def _relative(self, target: str, link: Path) -> str:
        """An absolute link is meant from the image's root, which is not this machine's."""
        if not target.startswith("/"):
            return target
        return os.path.relpath(self._root / target.lstrip("/"), link.parent)

    def _inside(self, path: Path) -> Path:
        """Return where a path leads, which must be in the image."""
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self._root):
            raise UnpackError("a layer's entry leads out of the image")
        return real

    def _white_out(self, parent: Path, name: str) -> None:
        if name == OPAQUE:
            for child in list(parent.iterdir()):
                if child not in self._in_layer:
                    _remove(child)
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise UnpackError("a layer's whiteout names nothing")
        _remove(parent / hidden)

    def _spend(self, member: tarfile.TarInfo) -> None:
        self._files_left -= 1
        self._bytes_left -= max(0, member.size)
        if self._files_left < 0 or self._bytes_left < 0:
            raise UnpackError("the image is larger than this node allows")


def _open(packed: IO[bytes]) -> tarfile.TarFile:
    magic = packed.read(len(_GZIP_MAGIC))
    packed.seek(0)
    mode = "r|gz" if magic == _GZIP_MAGIC else "r|"
    return tarfile.open(fileobj=packed, mode=mode, bufsize=BLOCK_BYTES)  # type: ignore[call-overload,no-any-return]


async def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as target:
        while data := source.read(BLOCK_BYTES):
            target.write(data)
            await trio.lowlevel.checkpoint()
        os.fchmod(target.fileno(), member.mode & 0o777 | 0o400)


def _remove(path: Path) -> None:
    """Remove whatever is there, never what a link leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


async def unpack(layers: Sequence[Path], root: Path, *, max_bytes: int, max_files: int) -> None:
    """Unpack layers, lowest first, into an empty directory.

    Raises:
        UnpackError: see there; what was unpacked so far stays.
    """
    unpacker = Unpacker(root, max_bytes=max_bytes, max_files=max_files)
    for layer in layers:
        await unpacker.layer(layer)
    unpacker.finish()


async def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory with its modes, links as links; others run in between.

    Raises:
        OSError: the file system refuses.
    """
    os.mkdir(target, 0o700)
    for directory, names, files in os.walk(source):
        place = target / Path(directory).relative_to(source)
        for name in (*names, *files):
            if not _copy_special(Path(directory, name), place / name):
                await _copy_file(Path(directory, name), place / name)


def _copy_special(source: Path, target: Path) -> bool:
    """Copy a link or make a directory; tell whether it was one."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(mode=source.stat().st_mode & 0o777)
    else:
        return False
    return True


async def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        while os.copy_file_range(old.fileno(), new.fileno(), COPY_BYTES):
            await trio.lowlevel.checkpoint()
        os.fchmod(new.fileno(), os.fstat(old.fileno()).st_mode & 0o777)
