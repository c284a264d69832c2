"""The scanner finds what is planted, in every encoding that it names, and nothing else."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.proof.canaries import Canaries

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda s: s,
    "utf-16": lambda s: s.decode().encode("utf-16-le"),
    "reversed": lambda s: s[::-1],
    "hex": lambda s: s.hex().encode(),
    "HEX": lambda s: s.hex().upper().encode(),
    "url": lambda s: "".join(f"%{b:02X}" for b in s).encode(),
    "base64": base64.b64encode,
    "wrapped base64": base64.encodebytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
}


@pytest.mark.parametrize("way", sorted(WAYS))
@given(before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_a_planted_canary_is_found(way: str, before: bytes, after: bytes) -> None:
    canary = Canaries()
    text = before.decode("latin-1").encode("ascii", "replace") if way == "utf-16" else before
    leak = WAYS[way](text + canary.make().encode() + (after if way != "utf-16" else b""))
    assert canary.scan("leak", leak)


@given(noise=st.binary(max_size=400))
def test_noise_is_not_a_find(noise: bytes) -> None:
    assert Canaries().scan("noise", noise) == []


def test_names_of_files_are_scanned(tmp_path: Path) -> None:
    canary = Canaries()
    (tmp_path / canary.make()).touch()
    assert [find.encoding for find in canary.scan_tree(tmp_path)] == ["plain"]


def test_a_canary_does_not_show_itself() -> None:
    canary = Canaries()
    assert canary.secret not in repr(canary)
