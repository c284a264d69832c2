"""Leaks that no scan can recognise once they have landed: documented, and left to prevention."""

from __future__ import annotations

import base64
from collections.abc import Callable

from planesplit.proof.sabotage.catalogue import Install, leak
from planesplit.proof.sabotage.leaks.place import new_file
from planesplit.proof.sabotage.taps import relayed_answers
from planesplit.proof.sabotage.tries import Tries

KEY = 0x5A


def _file(encode: Callable[[bytes], bytes]) -> Install:
    def install(tries: Tries) -> None:
        def sink(payload: bytes) -> None:
            new_file("opaque").write_bytes(encode(payload))

        relayed_answers(tries.guard(sink), "A8")

    return install


_OPAQUE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "xor-file": ("XOR with a key", lambda payload: bytes(byte ^ KEY for byte in payload)),
    "double-base64-file": (
        "base64 twice",
        lambda payload: base64.b64encode(base64.b64encode(payload)),
    ),
    "base85-file": ("base85", base64.b85encode),
}

for _name, (_how, _encode) in _OPAQUE.items():
    leak(
        _name,
        f"writes log lines to a file, in {_how}",
        sealed="prevented",
        unsealed="blind, unless the file itself is seen (process_io, fanotify)",
        blind=f"no scan knows {_how}: a file like any other; the seal is what stops it",
    )(_file(_encode))
