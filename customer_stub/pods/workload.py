"""The image `planesplit/workload`: output like a training job's, the same for the same seed.

Every line starts with its number in seven digits, so that a reader can tell loss, repetition and
disorder. `generate` is the whole truth about what a run writes; the image only plays it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from customer_stub.pods.container import ContainerSpec, Exit, Output, Stop
from customer_stub.pods.playback import Arguments, Piece, run_playback
from customer_stub.produced import Stream

HUGE_EVERY = 700  # in lines: rare enough that ordinary lines dominate, often enough for short runs
PLAIN_BYTES = 200  # the line of the throughput figures, newline included
_WORDS = ("epoch", "grad_norm", "größe", "学習率", "потеря", "λ=0.9", "✓ checkpoint", "🚀 step")
_UNIT = "αβγ weights[0.125, -0.5] 数据 🧮 "

Text = tuple[Stream, bytes]


@dataclass(frozen=True, slots=True)
class Workload:
    """What to write.

    Args:
        name: `training` mixes everything; `plain` is lines of 200 bytes; `burst` sends them
            `burst_lines` at once; `huge` is lines of about `huge_bytes`; `binary` is invalid UTF-8.
        seed: the same seed gives the same bytes.
        lines: how many lines.
        rate: lines per second; 0 means as fast as possible.
        huge_bytes: size of a huge line.
        burst_lines: lines of a burst.
        exit_code: what the container ends with.
    """

    name: str = "training"
    seed: int = 0
    lines: int = 1000
    rate: float = 50.0
    huge_bytes: int = 2_097_152
    burst_lines: int = 150
    exit_code: int = 0


NAMES = ("training", "plain", "burst", "huge", "binary")


def generate(workload: Workload) -> Iterator[Piece]:
    """Yield exactly `workload.lines` lines, each with its newline, in order and with its time."""
    rng = random.Random(workload.seed)  # noqa: S311 - repeatable on purpose, nothing secret
    step_s = 1 / workload.rate if workload.rate > 0 else 0.0
    number, next_huge = 0, HUGE_EVERY // 2
    while number < workload.lines:
        huge = workload.name == "huge" or (workload.name == "training" and number >= next_huge)
        next_huge += HUGE_EVERY if huge else 0
        block = [_huge(rng, workload.huge_bytes)] if huge else _block(workload, rng, number)
        block = block[: workload.lines - number]
        burst_s = number * step_s  # all lines of a block are due with its first
        for stream, text in block:
            yield Piece(burst_s, stream, b"%07d %b\n" % (number, text))
            number += 1


def sequence(line: bytes) -> int | None:
    """Return the number that a generated line starts with, None for any other line."""
    head = line[:8]
    return int(head[:7]) if len(head) == 8 and head[:7].isdigit() and head[7:] == b" " else None


async def run(spec: ContainerSpec, output: Output, stop: Stop, started: Callable[[], None]) -> Exit:
    """Run the image; arguments: `[NAME] [--seed N] [--lines N] [--rate R] …` as in `Workload`."""

    def plan() -> tuple[Iterator[Piece], int]:
        workload = parse([*spec.command, *spec.args])
        return generate(workload), workload.exit_code

    return await run_playback(plan, output, stop, started)


def parse(arguments: list[str]) -> Workload:
    """Read the image's arguments.

    Raises:
        UsageError: unknown or malformed ones.
    """
    default = Workload()
    parser = Arguments("planesplit/workload")
    parser.add_argument("name", nargs="?", choices=NAMES, default=default.name)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--lines", type=int, default=default.lines)
    parser.add_argument("--rate", type=float, default=default.rate)
    parser.add_argument("--huge-bytes", type=int, default=default.huge_bytes)
    parser.add_argument("--burst-lines", type=_positive, default=default.burst_lines)
    parser.add_argument("--exit-code", type=int, default=default.exit_code, choices=range(256))
    return Workload(**vars(parser.parse_args(arguments)))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _block(workload: Workload, rng: random.Random, number: int) -> list[Text]:
    match workload.name:
        case "plain":
            return [_plain(rng)]
        case "burst":
            return [_plain(rng) for _ in range(workload.burst_lines)]
        case "binary":
            return [("stdout", rng.randbytes(rng.randrange(300)).replace(b"\n", b"\xff"))]
    (kind,) = rng.choices(_KINDS, _WEIGHTS)
    repeats = workload.burst_lines if kind is _burst else 1
    return [text for i in range(repeats) for text in kind(rng, number + i)]


def _plain(rng: random.Random) -> Text:
    return "stdout", rng.randbytes((PLAIN_BYTES - 9) // 2 + 1).hex().encode()[: PLAIN_BYTES - 9]


def _huge(rng: random.Random, size_bytes: int) -> Text:
    unit = f"{rng.random():.6f} {_UNIT}".encode()
    return "stdout", unit * max(1, size_bytes // len(unit))


def _step(rng: random.Random, number: int) -> list[Text]:
    loss = 4 * math.exp(-number / 400) + 0.4 + rng.gauss(0, 0.02)
    rate = rng.uniform(40e3, 60e3)
    return [("stdout", f"step={number} loss={loss:.5f} lr=3.0e-04 tok/s={rate:.0f}".encode())]


def _colour(rng: random.Random, _number: int) -> list[Text]:
    colour, share = rng.randrange(31, 37), rng.random()
    bar = "█" * int(share * 40)
    return [("stderr", f"\x1b[1;{colour}mINFO\x1b[0m {share:4.0%}|{bar:<40}|".encode())]


def _unicode(rng: random.Random, _number: int) -> list[Text]:
    return [("stdout", " ".join(rng.choices(_WORDS, k=rng.randrange(1, 9))).encode())]


def _traceback(rng: random.Random, _number: int) -> list[Text]:
    depth = rng.randrange(2, 6)
    frames = [
        text
        for level in range(depth)
        for text in (
            f'  File "/app/train.py", line {rng.randrange(1, 900)}, in layer_{level}',
            "    return self.forward(batch)",
        )
    ]
    last = f"RuntimeError: CUDA out of memory: tried to allocate {rng.randrange(1, 64)} GiB"
    text = ["Traceback (most recent call last):", *frames, last]
    return [("stderr", line.encode()) for line in text]


def _burst(rng: random.Random, number: int) -> list[Text]:
    """One line of a burst; `_block` repeats it."""
    return _step(rng, number)


def _blank(_rng: random.Random, _number: int) -> list[Text]:
    return [("stdout", b"")]


_KINDS = (_step, _colour, _unicode, _traceback, _burst, _blank)
_WEIGHTS = (70, 12, 10, 2, 1, 2)
