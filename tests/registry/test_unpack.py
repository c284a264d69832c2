"""Layers: what they add, hide and link, and that none reaches out of the image."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_stage import archive

from customer_stub.pods.unpack import UnpackError, unpack

DIR, SYM, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


async def unpacked(tmp_path: Path, *layers: bytes, **limits: int) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    files = []
    for number, layer in enumerate(layers):
        files.append(tmp_path / f"layer{number}")
        files[-1].write_bytes(layer)
    options = {"max_bytes": 10_000, "max_files": 100, **limits}
    await unpack(files, root, **options)
    return root


def tree(root: Path) -> dict[str, str]:
    """Content by path, `/` for a directory and `-> target` for a link."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    return found


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_later_layers_win(tmp_path: Path, pack: Any) -> None:
    first = archive(("a", "1", None), ("d/x", "1", None), ("e", "1", None), ("f/g", "1", None))
    second = archive(("./a", "2", None), ("/d/y", "2", None), ("e", "", DIR), ("f", "2", None))
    root = await unpacked(tmp_path, pack(first), pack(second))
    assert tree(root) == {"a": "2", "d": "/", "d/x": "1", "d/y": "2", "e": "/", "f": "2"}


async def test_nothing_is_below_a_file(tmp_path: Path) -> None:
    with pytest.raises(UnpackError):
        await unpacked(tmp_path, archive(("e", "1", None)), archive(("e/h", "2", None)))


async def test_whiteouts(tmp_path: Path) -> None:
    first = archive(
        ("a", "1", None), ("d/x/y", "1", None), ("o/1", "1", None), ("o/2/3", "1", None)
    )
    second = archive(
        (".wh.a", "", None),
        ("d/.wh.x", "", None),
        ("o/new", "2", None),
        ("o/.wh..wh..opq", "", None),
        (".wh.absent", "", None),
    )
    assert tree(await unpacked(tmp_path, first, second)) == {"d": "/", "o": "/", "o/new": "2"}


async def test_links_within_the_image(tmp_path: Path) -> None:
    layer = archive(
        ("usr/bin/x", "content", None),
        ("bin", "usr/bin", SYM),
        ("usr/y", "/usr/bin/x", SYM),
        ("usr/bin/z", "usr/bin/x", HARD),
        ("bin/more", "through the link", None),
        ("dangling", "nowhere", SYM),
    )
    root = await unpacked(tmp_path, layer)
    assert (root / "bin" / "x").read_text() == "content"
    assert (root / "usr" / "y").readlink() == Path("bin/x"), "absolute, but not this machine's"
    assert (root / "usr" / "bin" / "more").read_text() == "through the link"
    assert (root / "usr" / "bin" / "z").stat().st_nlink == 2


OUTSIDE = {
    "a path": [("../evil", "x", None)],
    "a path within": [("a/../../evil", "x", None)],
    "a link": [("l", "../..", SYM)],
    "a file through a link": [("l", "..", SYM), ("l/evil", "x", None)],
    "a chain of links": [
        ("a", "", DIR),
        ("a/b", "", DIR),
        ("l", "a/b", SYM),
        ("m", "l/../../..", SYM),
    ],
    "a link that changes its meaning": [
        ("a", "", DIR),
        ("d", "a/../..", SYM),
    ],
    "a link made false later": [
        ("a/b/c", "", DIR),
        ("up", "a/b/c/../../../x", SYM),
        ("a/.wh.b", "", None),
        ("a/b", ".", SYM),
        ("a/c", "", DIR),
    ],
    "a hard link": [("h", "../../layer0", HARD)],
    "a hard link to a machine's file": [("h", "/etc/hostname", HARD)],
    "a hard link through a link": [("l", "/etc", SYM), ("h", "l/hostname", HARD)],
    "a device": [("null", "", tarfile.CHRTYPE)],
    "a pipe": [("pipe", "", tarfile.FIFOTYPE)],
    "a whiteout": [(".wh...", "", None)],
    "a whiteout of itself": [("a/.wh.", "", None)],
}


@pytest.mark.parametrize("what", list(OUTSIDE))
async def test_nothing_reaches_out(tmp_path: Path, what: str) -> None:
    before = sorted(os.listdir(tmp_path.parent))
    with pytest.raises(UnpackError) as caught:
        await unpacked(tmp_path, archive(*OUTSIDE[what]))
    assert "evil" not in str(caught.value)
    assert sorted(os.listdir(tmp_path.parent)) == before
    assert sorted(os.listdir(tmp_path)) == ["layer0", "root"]


NAMES = st.sampled_from(["a", "b", "..", "a/b", "../x", "l", "l/a", "/a", "l/../a", ".", "a/.wh.b"])
MEMBERS = st.lists(st.tuples(NAMES, NAMES, st.sampled_from([None, DIR, SYM, HARD])), max_size=6)


@settings(max_examples=40)  # directories on disk: 20 ms each
@given(MEMBERS)
async def test_whatever_comes_stays_inside(members: list[tuple[str, str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        try:
            root = await unpacked(place, archive(*members))
        except UnpackError:
            root = place / "root"
        else:
            for path in root.rglob("*"):
                assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
        assert sorted(os.listdir(place)) == ["layer0", "root"]
        assert (place / "layer0").stat().st_nlink == 1


async def test_limits(tmp_path: Path) -> None:
    bomb = gzip.compress(archive(("zeros", b"\0" * 1_000_000, None)))
    for number, (layer, limits) in enumerate(
        [
            (bomb, {"max_bytes": 999_999}),
            (archive(*((f"f{n}", "", None) for n in range(11))), {"max_files": 10}),
        ]
    ):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(UnpackError, match="larger"):
            await unpacked(place, layer, **limits)
    (tmp_path / "ok").mkdir()
    await unpacked(tmp_path / "ok", bomb, max_bytes=1_000_000)


@pytest.mark.parametrize(
    "layer",
    [
        b"no archive" * 100,
        gzip.compress(b"no archive"),
        gzip.compress(archive(("a", "x" * 9999, None)))[:-60],
    ],
    ids=["garbage", "compressed garbage", "cut short"],
)
async def test_damaged_layers(tmp_path: Path, layer: bytes) -> None:
    with pytest.raises(UnpackError):
        await unpacked(tmp_path, layer)


async def test_modes_lose_their_privileges(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("x")
        info.mode = 0o6755
        tar.addfile(info)
    root = await unpacked(tmp_path, buffer.getvalue())
    assert (root / "x").stat().st_mode & 0o7777 == 0o755
