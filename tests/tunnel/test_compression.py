from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.messages.compression import ENCODINGS, Undecodable

NAMES = sorted(ENCODINGS)
BOMB_BYTES = 200_000_000


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=5_000))
def test_what_is_compressed_comes_back(name: str, data: bytes):
    encoding = ENCODINGS[name]
    assert encoding.decompress(encoding.compress(data), len(data)) == data
    assert encoding.decompress(encoding.compress(data)) == data


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_is_refused_and_not_unpacked(name: str, monkeypatch: pytest.MonkeyPatch):
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(bytes(BOMB_BYTES)) + packer.flush()
    if name == "zstd":
        bomb = ENCODINGS["zstd"].compress(bytes(BOMB_BYTES))
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(Undecodable, match="more than 1000 bytes"):
        ENCODINGS[name].decompress(bomb, 1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=200), cut=st.integers(1, 10))
def test_what_is_damaged_is_refused(name: str, data: bytes, cut: int):
    encoding = ENCODINGS[name]
    for damaged in (encoding.compress(data)[:-cut], encoding.compress(data) + b"x", b"\xff" + data):
        with pytest.raises(Undecodable):
            encoding.decompress(damaged, 10_000)


@pytest.mark.parametrize("name", NAMES)
def test_text_that_does_not_compress_stays_within_a_unit(name: str):
    dice = random.Random(1)
    text = bytes(dice.randrange(128) for _ in range(65_000))
    assert len(ENCODINGS[name].compress(text)) < len(text)


def test_gzip_is_gzip_and_carries_no_time():
    packed = ENCODINGS["gzip"].compress(b"some text")
    assert gzip.decompress(packed) == b"some text"
    assert packed[4:8] == bytes(4)
