"""Leaks into files that hide what they hold: compressed, encoded."""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable

from planesplit.proof.sabotage.catalogue import Install, leak
from planesplit.proof.sabotage.leaks.place import new_file
from planesplit.proof.sabotage.taps import relayed_answers
from planesplit.proof.sabotage.tries import Tries


def _zstd(payload: bytes) -> bytes:
    from backports import zstd

    return zstd.compress(payload)


def _file(suffix: str, encode: Callable[[bytes], bytes]) -> Install:
    encode(b"")  # imports whatever it needs while that is still possible

    def install(tries: Tries) -> None:
        def sink(payload: bytes) -> None:
            new_file(f"{tries.tries}.{suffix}").write_bytes(encode(payload))

        relayed_answers(tries.guard(sink), "A8")

    return install


_ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gz", gzip.compress),
    "zstd": ("zst", _zstd),
    "zlib": ("z", zlib.compress),
    "bzip2": ("bz2", bz2.compress),
    "xz": ("xz", lzma.compress),
    "base64": ("b64", base64.encodebytes),
    "hex": ("hex", lambda payload: payload.hex().encode()),
    "utf16": ("txt", lambda payload: payload.decode("latin-1").encode("utf-16")),
    "reversed": ("rev", lambda payload: payload[::-1]),
}

for _name, (_suffix, _encode) in _ENCODINGS.items():
    leak(
        f"{_name}-file",
        f"writes log lines to a file, in {_name}",
        sealed="prevented",
        unsealed="files",
    )(_file(_suffix, _encode))
