"""The image `planesplit/replay`: a file's lines on stdout, at a rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from customer_stub.pods.container import ContainerSpec, Exit, Output, Stop
from customer_stub.pods.playback import Arguments, Piece, UsageError, run_playback

DEFAULT_LINES_PER_S = 100.0
READ_BYTES = 65_536


async def run(spec: ContainerSpec, output: Output, stop: Stop, started: Callable[[], None]) -> Exit:
    """Run the image; arguments: `PATH [LINES_PER_S]`, where 0 means as fast as possible."""
    return await run_playback(lambda: (_plan(spec), 0), output, stop, started)


def _plan(spec: ContainerSpec) -> Iterator[Piece]:
    parser = Arguments("planesplit/replay")
    parser.add_argument("path", type=Path)
    parser.add_argument("lines_per_s", type=float, nargs="?", default=DEFAULT_LINES_PER_S)
    options = parser.parse_args([*spec.command, *spec.args])
    try:
        options.path.open("rb").close()
    except OSError as error:
        raise UsageError(f"planesplit/replay: cannot read the file: {error.strerror}") from None
    return replay(options.path, options.lines_per_s)


def replay(path: Path, lines_per_s: float) -> Iterator[Piece]:
    """Yield a file's lines, the n-th due at n / `lines_per_s` seconds (0: all at once).

    A line longer than 64 KiB comes in several pieces, due at the same time.
    """
    step_s = 1 / lines_per_s if lines_per_s > 0 else 0.0
    number = 0
    with path.open("rb") as file:
        while piece := file.readline(READ_BYTES):
            yield Piece(number * step_s, "stdout", piece)
            number += piece.endswith(b"\n")
