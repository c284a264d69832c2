"""Blocks become one document; content codings of bodies and answers."""

from __future__ import annotations

import gzip
import zlib

import lz4.frame
import pytest
from backports import zstd

from customer_stub.clickhouse import compression, errors, formats
from customer_stub.clickhouse.errors import QueryError


@pytest.mark.parametrize(
    ("name", "documents", "whole"),
    [
        ("Native", [b"a", b"b"], b"ab"),
        ("TabSeparatedWithNames", [b"n\n1\n", b"n\n2\n"], b"n\n1\n2\n"),
        ("TSVWithNamesAndTypes", [b"n\nInt8\n1\n", b"n\nInt8\n2\n"], b"n\nInt8\n1\n2\n"),
        ("CSVWithNames", [b'"a\nb"\n1\n', b'"a\nb"\n2\n'], b'"a\nb"\n1\n2\n'),
        ("CSVWithNames", [b'"a""\n""b"\n1\n', b'"a""\n""b"\n2\n'], b'"a""\n""b"\n1\n2\n'),
        ("JSONCompactEachRowWithNames", [b'["n"]\n[1]\n'], b'["n"]\n[1]\n'),
        ("Native", [], b""),
    ],
)
def test_joined_documents(name: str, documents: list[bytes], whole: bytes) -> None:
    joiner = formats.Joiner(name)
    assert formats.streams(name)
    assert b"".join([*map(joiner.add, documents), joiner.end()]) == whole


def test_arrow_streams_keep_one_schema_and_one_end() -> None:
    schema = b"\xff\xff\xff\xff" + (8).to_bytes(4, "little") + b"SCHEMA.."
    end = b"\xff\xff\xff\xff\0\0\0\0"
    joiner = formats.Joiner("ArrowStream")
    joined = b"".join(
        [joiner.add(schema + b"one" + end), joiner.add(schema + b"two" + end), joiner.end()]
    )
    assert joined == schema + b"one" + b"two" + end


@pytest.mark.parametrize("name", ["JSON", "Parquet", "Arrow", "Pretty", "Values", "JSONCompact"])
def test_what_cannot_be_joined_is_made_as_a_whole(name: str) -> None:
    assert not formats.streams(name)


def test_media_types() -> None:
    assert formats.media_type("JSON").startswith("application/json")
    assert formats.media_type("JSONEachRow").startswith("application/x-ndjson")
    assert formats.media_type("TSV").startswith("text/tab-separated-values")
    assert formats.media_type("Pretty").startswith("text/plain")


CODED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
}


def decoded(name: str, data: bytes, limit: int = 1_000_000, step: int = 7) -> bytes:
    decoder = compression.Decoder(name, limit)
    pieces = [
        piece for at in range(0, len(data), step) for piece in decoder.add(data[at : at + step])
    ]
    decoder.end()
    return b"".join(pieces)


@pytest.mark.parametrize("name", CODED)
def test_bodies_are_decoded_whatever_their_pieces_and_frames(name: str) -> None:
    plain = b"abc" * 1000
    coded = CODED[name](plain)
    assert decoded(name, coded) == plain
    assert decoded(name, coded + coded) == plain * 2
    assert decoded(name, coded, step=len(coded)) == plain


@pytest.mark.parametrize("name", CODED)
def test_a_bomb_is_cut_off_before_it_is_unpacked(name: str) -> None:
    with pytest.raises(QueryError) as caught:
        decoded(name, CODED[name](bytes(5_000_000)), limit=100_000, step=4096)
    assert caught.value.code == 229


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_bodies_are_refused(name: str, damage: str) -> None:
    coded = CODED[name](b"abc" * 1000)
    broken = coded[:-4] if damage == "cut" else b"\xff" + coded[1:]
    with pytest.raises(QueryError) as caught:
        decoded(name, broken)
    assert caught.value.code == 354


@pytest.mark.parametrize("name", CODED)
def test_answers_can_be_read_piece_by_piece(name: str) -> None:
    encoder = compression.encoder(name)
    assert encoder
    decoder = compression.Decoder(name, 1_000_000)
    for piece in (b"one", b"two" * 100_000, b""):
        assert b"".join(decoder.add(encoder.add(piece))) == piece
    assert b"".join(decoder.add(encoder.end())) == b""
    decoder.end()


def test_unknown_codings() -> None:
    with pytest.raises(QueryError):
        compression.Decoder("snappy", 1)
    assert compression.chosen("br, gzip;q=0.5, zstd;q=0") == "gzip"
    assert compression.chosen("identity") == ""
    assert compression.encoder("") is None


def test_errors_of_the_engine_keep_code_name_and_text() -> None:
    text = "Code: 60. DB::Exception: Code: 60. DB::Exception: No t. (UNKNOWN_TABLE) (version 1)"
    error = errors.from_engine(text + ". (UNKNOWN_TABLE)")
    assert (error.code, error.name, error.status) == (60, "UNKNOWN_TABLE", 404)
    assert error.message("26.1").endswith(b"(UNKNOWN_TABLE) (version 26.1)\n")
    assert errors.from_engine("something else").code == 1001
    hidden = errors.from_engine("Code: 1. DB::Exception: in /*planesplit:ab12*/ SELECT. (A_B)")
    assert hidden.text == "in SELECT."
    assert "SELECT" not in str(hidden)
