"""The scanner finds what is planted, in every encoding that it names, and nothing else."""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import json
import lzma
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.proof.canaries import BadCanary, Canaries

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda s: s,
    "upper case": bytes.upper,
    "utf-16": lambda s: s.decode().encode("utf-16-le"),
    "utf-16 big endian": lambda s: s.decode().encode("utf-16-be"),
    "reversed": lambda s: s[::-1],
    "hex": lambda s: s.hex().encode(),
    "HEX": lambda s: s.hex().upper().encode(),
    "url": lambda s: "".join(f"%{b:02X}" for b in s).encode(),
    "json \\u": lambda s: "".join(f"\\u{b:04x}" for b in s).encode(),
    "base64": base64.b64encode,
    "base64 urlsafe": base64.urlsafe_b64encode,
    "wrapped base64": base64.encodebytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "gzip in gzip": lambda s: gzip.compress(gzip.compress(s)),
    "base64 in gzip": lambda s: gzip.compress(base64.b64encode(s)),
}
TEXTS = {"utf-16", "utf-16 big endian", "json \\u"}  # ways that need text around it
PATIENT = "patient 4711"
MB_PER_S = 20  # a tenth of what it does alone; other tests share the machine


@pytest.mark.parametrize("way", sorted(WAYS))
@given(before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_a_planted_canary_is_found(way: str, before: bytes, after: bytes) -> None:
    canaries = Canaries()
    text = before.decode("latin-1").encode("ascii", "replace") if way in TEXTS else before
    leak = WAYS[way](text + canaries.make("A8", "line").encode() + (b"" if way in TEXTS else after))
    finds = canaries.scan("leak", leak)
    assert {(find.row, find.kind) for find in finds} == {("A8", "line")}
    assert all(canaries.secret not in str(find.as_json()) for find in finds)


@pytest.mark.parametrize("magic", ["gzip", "zlib", "zstd", "lz4", "bzip2", "xz"])
def test_compressed_data_is_opened_wherever_it_begins(magic: str) -> None:
    canaries = Canaries()
    leak = WAYS[magic](canaries.make("A8", "line").encode() * 9)
    found = canaries.scan("leak", bytes(70_000) + b"\x1f\x8b\x08 x\x9c BZh" + leak + b"tail")
    assert f"{magic} plain" in {find.encoding for find in found}


@given(noise=st.binary(max_size=400))
def test_noise_is_not_a_find(noise: bytes) -> None:
    assert Canaries().scan("noise", noise) == []


def test_canaries_of_other_runs_are_not_found() -> None:
    mine, other = Canaries(), Canaries()
    assert mine.scan("x", other.line("A8", "line").encode()) == []


@pytest.mark.parametrize("way", sorted(WAYS))
def test_each_kind_is_told_from_the_others(way: str) -> None:
    """Also where the encoding cuts the letters that tell them apart: base64 at any alignment."""
    canaries = Canaries()
    values = [canaries.make("A8", f"kind {number}") for number in range(30)]
    for number, value in enumerate(values):
        for shift in range(3):
            found = canaries.scan("x", WAYS[way](b"." * shift + value.encode() + b"..."))
            assert {find.kind for find in found} == {f"kind {number}"}


@pytest.mark.parametrize(
    "way",
    [str.encode, json.dumps, quote, quote_plus, html.escape, base64.b64encode, str.upper],
    ids=["plain", "json", "quote", "quote_plus", "html", "base64", "upper"],
)
def test_a_reviewers_own_text_with_spaces(way: Callable[..., str | bytes]) -> None:
    canaries = Canaries(PATIENT)
    value = canaries.make("A9", "secret")
    assert value.startswith(PATIENT)
    made = way(value.encode()) if way is base64.b64encode else way(value)
    data = made if isinstance(made, bytes) else made.encode()
    assert {find.kind for find in canaries.scan("x", data)} == {"secret"}


@pytest.mark.parametrize("text", ["Ärztin & Söhne", 'say "cheese" now', "back\\slash\\here"])
def test_texts_that_encodings_change(text: str) -> None:
    canaries = Canaries(text)
    value = canaries.make("A9", "secret")
    for made in (json.dumps(value), quote(value), html.escape(value), value):
        assert canaries.scan("x", made.encode()), made


def test_a_name_of_a_reviewers_text() -> None:
    canaries = Canaries("4711 Patient!")
    name = canaries.name("A2", "run name")
    assert name.startswith("n4711-patient-")
    assert [find.kind for find in canaries.scan("x", name.encode())] == ["run name"]


@pytest.mark.parametrize("text", ["short", "x" * 65, "a\nb\nc\nd\ne", "!!!!!!!!!", "ääääääääää"])
def test_a_text_that_would_turn_up_by_accident(text: str) -> None:
    with pytest.raises(BadCanary):
        Canaries(text)


def test_a_challenge_is_in_every_canary() -> None:
    with pytest.raises(BadCanary):
        Canaries(challenge="no hex")
    assert Canaries(challenge="c0ffee").secret != Canaries(challenge="c0ffee").secret, "salted"
    chosen = Canaries(PATIENT, "c0ffee")
    assert chosen.make("A8", "line").split("-")[0] == PATIENT
    assert len(chosen.make("A8", "line")) > len(Canaries(PATIENT).make("A8", "line"))
    assert chosen.scan("x", chosen.make("A8", "line").encode())[0].kind == "line"


def test_values_that_others_made() -> None:
    canaries = Canaries()
    signature = "5f" * 32
    assert canaries.scan("x", signature.encode()) == []
    canaries.watch(signature, "B", "signature")
    for way in ("plain", "base64", "gzip", "hex", "reversed"):
        assert [find.row for find in canaries.scan("x", WAYS[way](signature.encode()))] == ["B"]


def test_occurrences_are_counted() -> None:
    canaries = Canaries()
    data = canaries.line("A8", "line", repeats=7).encode() + canaries.make("A9", "secret").encode()
    assert {kind.name: count for kind, count in canaries.count(data).items()} == {
        "line": 7,
        "secret": 1,
    }


def test_names_of_files_are_scanned(tmp_path: Path) -> None:
    canaries = Canaries()
    (tmp_path / canaries.make()).touch()
    assert [find.encoding for find in canaries.scan_tree(tmp_path)] == ["plain"]


def test_a_canary_does_not_show_itself() -> None:
    canaries = Canaries()
    canaries.watch("a value of somebody", "B", "signature")
    assert canaries.secret not in repr(canaries)
    assert "somebody" not in repr(canaries._targets)


def test_scanning_is_fast_enough_for_memory() -> None:
    canaries = Canaries()
    data = bytes(range(256)) * 16_384
    began = time.process_time()
    for _ in range(3):
        canaries.scan("x", data)
    assert 3 * len(data) / 1e6 / (time.process_time() - began) > MB_PER_S


@pytest.mark.parametrize(
    "hide",
    [
        lambda s: bytes(b ^ 0x55 for b in s),
        lambda s: base64.b64encode(base64.b64encode(s)),
        base64.b85encode,
        lambda s: s[:9] + b"\x02\x00\x00\x00\x00\x00\x00\x01" + s[9:],
    ],
    ids=["xor", "double base64", "base85", "cut by a frame header"],
)
def test_what_no_scan_sees_is_as_documented(hide: Callable[[bytes], bytes]) -> None:
    canaries = Canaries()
    assert canaries.scan("x", hide(canaries.make("A8", "line").encode())) == []
