"""`python -m perf`: the relay beside its floor and peers, interleaved in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import trio

from perf.document import DocumentError, as_blocks, write
from perf.plan import QUICK, Plan, measure
from perf.verdicts import verdict_table, verdicts
from planesplit.measure.catalogue import PARTS, SUBJECTS
from planesplit.measure.lab import MeasureError
from planesplit.measure.report import Report, machine, plain

USAGE_EXIT = 2
ENVIRONMENT_EXIT = 3
INTERRUPTED_EXIT = 130


def main() -> int:
    """Run and return the exit code: 0, 2 usage, 3 a subject does not run here, 130 Ctrl-C."""
    options = _options()
    plan = QUICK if options.quick else Plan()
    plan = replace(plan, parts=options.parts)
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    if options.streams:
        plan = replace(plan, streams=options.streams)
    try:
        report = trio.run(measure, plan, options.subjects, _progress)
    except* MeasureError as errors:
        sys.stderr.write(f"perf: {_first(errors)}\n")
        return_code = ENVIRONMENT_EXIT
    except* KeyboardInterrupt:
        return_code = INTERRUPTED_EXIT
    else:
        _progress("")
        return_code = _show(report, options)
    return return_code


def _show(report: Report, options: argparse.Namespace) -> int:
    """Print a report, and write it into a document if one was named."""
    found = verdicts(report)
    if options.json:
        judged = [asdict(each) | {"verdict": each.text} for each in found]
        document = report.as_json() | {"verdicts": plain(judged)}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        sys.stdout.write(f"{report.as_text()}\n{verdict_table(found).as_text()}\n")
    if options.document is None:
        return 0
    tables = [verdict_table(found), *report.tables()]
    try:
        write(options.document, as_blocks(machine(report.environment), tables))
    except (DocumentError, OSError) as error:
        sys.stderr.write(f"perf: {options.document}: {error}\n")
        return USAGE_EXIT
    return 0


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
    elif text:
        sys.stderr.write(f"{text}\n")


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(known)}")
        return names

    return parse


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to 1000")
    return int(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perf",
        description="Measures the relay beside its floor and peers, interleaved in one run.",
        epilog="subjects: " + "; ".join(f"{s.name}: {s.what}" for s in SUBJECTS.values()),
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, no tables")
    parser.add_argument("--quick", action="store_true", help="fewer loads")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="turns at each load")
    parser.add_argument("--streams", type=_numbers, metavar="N,N", help="loads of bulk transfers")
    parser.add_argument(
        "--subjects", type=_names(tuple(SUBJECTS)), default=tuple(SUBJECTS), metavar="NAME,NAME"
    )
    parser.add_argument(
        "--parts", type=_names(PARTS), default=PARTS, metavar="NAME,NAME", help=", ".join(PARTS)
    )
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="write the tables into its marked blocks too"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
