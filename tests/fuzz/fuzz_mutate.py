"""Bytes made of seeds: a few edits each, drawn by Hypothesis or by a seeded generator."""

from __future__ import annotations

import random

from fuzz_targets import Target
from hypothesis import strategies as st

MAX_EDITS = 6
MAX_BYTES = 6_000


@st.composite
def mutated(draw: st.DrawFn, target: Target) -> bytes:
    """A seed, or two behind each other, with a few edits."""
    data = draw(st.sampled_from(target.seeds))
    if draw(st.integers(0, 4)) == 0:
        data += draw(st.sampled_from(target.seeds))
    for _ in range(draw(st.integers(0, MAX_EDITS))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        piece = draw(st.sampled_from(target.words) | st.binary(max_size=6))
        data = edit(data, draw(st.integers(0, 3)), at, size, piece)
    return data[:MAX_BYTES]


def edit(data: bytes, what: int, at: int, size: int, piece: bytes) -> bytes:
    """One edit: insert, overwrite, remove or repeat."""
    match what:
        case 0:
            return data[:at] + piece + data[at:]
        case 1:
            return data[:at] + piece + data[at + len(piece) :]
        case 2:
            return data[:at] + data[at + size :]
        case _:
            return data[: at + size] + data[at:]


def shaken(rng: random.Random, target: Target) -> bytes:
    """The same by a generator, for long runs."""
    data = rng.choice(target.seeds)
    if not rng.randrange(5):
        data += rng.choice(target.seeds)
    for _ in range(rng.randrange(MAX_EDITS + 1)):
        at = rng.randrange(len(data) + 1)
        piece = rng.choice((rng.choice(target.words), rng.randbytes(rng.randrange(6))))
        data = edit(data, rng.randrange(4), at, rng.randrange(13), piece)
    return data[:MAX_BYTES]
