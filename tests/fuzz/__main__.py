"""A longer search: `python tests/fuzz MINUTES [TARGET ...]`; exit status 1 when something is found.

With atheris each target gets its share of the time in a process of its own, led by coverage.
Without it seeds are shaken by a generator whose start is printed. What is found is printed as a
Python literal, to be put into `fuzz_found.py`.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fuzz_found import FOUND
from fuzz_mutate import shaken
from fuzz_targets import TARGETS, check

MAX_BYTES = 4_096
MAX_MINUTES = 120.0
USAGE = f"usage: python tests/fuzz MINUTES (up to {MAX_MINUTES:g}) [TARGET ...]"
WATCHED = ("relay", "tunnel", "compute_agent.logs", "customer_stub.objects")


def tried(name: str, data: bytes) -> bool:
    """Judge one case; print it if it is a finding."""
    try:
        check(name, data, (len(data) // 3, len(data) // 2))
    except Exception as error:
        print(f"FOUND in {name!r}: {type(error).__name__}: {error}\n  {data!r}", flush=True)
        return False
    return True


def by_chance(name: str, seconds: float, seed: int) -> bool:
    """Shake seeds for a while; whether nothing was found."""
    rng, until = random.Random(f"{seed} {name}"), time.monotonic() + seconds
    count = 0
    while time.monotonic() < until:
        count += 1
        if not tried(name, shaken(rng, TARGETS[name])):
            return False
    print(f"{name}: {count} cases, nothing found", flush=True)
    return True


def by_coverage(name: str, seconds: float) -> bool:
    """Let atheris search in a process of its own; whether nothing was found."""
    with tempfile.TemporaryDirectory() as directory:
        corpus, words = Path(directory, "corpus"), Path(directory, "words")
        corpus.mkdir()
        for number, data in enumerate((*TARGETS[name].seeds, *FOUND.get(name, ()))):
            Path(corpus, str(number)).write_bytes(data)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in TARGETS[name].words))
        options = [f"-max_total_time={int(seconds) or 1}", f"-max_len={MAX_BYTES}"]
        options += [f"-dict={words}", f"-artifact_prefix={directory}/", "-print_final_stats=1"]
        command = [sys.executable, __file__, "--led", name, *options, str(corpus)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    tail = [line for line in done.stderr.splitlines() if "executed_units" in line]
    print("\n".join((done.stdout, f"{name}: {' '.join(tail)}")).strip(), flush=True)
    return done.returncode == 0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word[:64])


def led(name: str, options: Sequence[str]) -> None:
    """Run inside atheris' process; libFuzzer ends it."""
    import atheris  # there or not, as the machine has it

    def one(data: bytes) -> None:
        if not tried(name, data):
            raise SystemExit(1)

    for module in [m for n, m in sys.modules.items() if n.startswith(WATCHED) and m is not None]:
        for function in [v for v in vars(module).values() if hasattr(v, "__code__")]:
            if getattr(function, "__module__", "") == module.__name__:
                atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def has_atheris() -> bool:
    """Whether atheris can be imported here."""
    done = subprocess.run(
        [sys.executable, "-c", "import atheris"], capture_output=True, check=False
    )
    return done.returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Search all targets, or those named."""
    if arguments[:1] == ["--led"]:
        led(arguments[1], arguments[2:])
        return 0
    try:
        minutes = float(arguments[0])
        names = list(arguments[1:]) or list(TARGETS)
        if not 0 < minutes <= MAX_MINUTES or not set(names) <= set(TARGETS):
            raise ValueError
    except (IndexError, ValueError):
        print(f"{USAGE}\ntargets: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    seconds, seed, coverage = 60 * minutes / len(names), int(time.time()), has_atheris()
    print(f"{'atheris' if coverage else f'seed {seed}'}; {seconds:.0f} s a target", flush=True)
    clean = [by_coverage(n, seconds) if coverage else by_chance(n, seconds, seed) for n in names]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
