"""`python -m customer_stub.clickhouse.generate`: synthetic samples into a running ClickHouse."""

from __future__ import annotations

import argparse
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from customer_stub.clickhouse.synthetic import MAX_ROWS, Series, statement
from tunnel.settings import SettingError

FAILED, USAGE, UNREACHABLE = 1, 2, 3
MAX_MESSAGE = 500  # characters of ClickHouse's error that are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 if ClickHouse refuses, 2 for usage, 3 if it can't be reached.

    Args:
        arguments: the command line, sys.argv by default.
    """
    options = _parser().parse_args(arguments)
    try:
        series = Series(
            rows=options.rows,
            seed=options.seed,
            org=options.org,
            project=options.project,
            domain=options.domain,
            run=options.run,
            runs=options.runs,
            step_ms=options.step_ms,
        )
        password = Path(options.password_file).read_text(encoding="utf-8").strip()
        context = ssl.create_default_context(cafile=options.ca_file)
    except (SettingError, OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return _tell(f"cannot use the arguments: {reason}", USAGE)
    started = time.monotonic()
    try:
        answer = httpx.post(
            options.url,
            content=statement(series, time.time_ns()).encode(),
            headers={"X-ClickHouse-User": options.user, "X-ClickHouse-Key": password},
            verify=context,
            timeout=options.timeout_s,
            trust_env=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _tell(f"cannot reach {options.url}: {type(error).__name__}", UNREACHABLE)
    if answer.status_code != 200:
        return _tell(f"ClickHouse refuses: {answer.text.strip()[:MAX_MESSAGE]}", FAILED)
    sys.stdout.write(f"{series.rows} rows in {time.monotonic() - started:.1f} s\n")
    return 0


def _tell(message: str, code: int) -> int:
    sys.stderr.write(f"generate: {message}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    defaults = Series(rows=1)
    parser = argparse.ArgumentParser(
        prog="python -m customer_stub.clickhouse.generate",
        description="Insert synthetic samples of task pods into otel.otel_metrics_gauge.",
        epilog="The same seed gives the same values; times end now.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--url", required=True, help="of the HTTP interface, http://host:port or https://host:port")
    add("--user", default="collector", help="a user that may insert")
    add("--password-file", required=True, metavar="FILE", help="holds the user's password")
    add("--ca-file", metavar="FILE", help="PEM of the CA to trust; the system's by default")
    add("--rows", type=int, default=1_000_000, help=f"samples altogether, 1 to {MAX_ROWS}")
    add("--seed", type=int, default=defaults.seed, help="makes the values")
    add("--org", default=defaults.org, help="organisation of the runs")
    add("--project", default=defaults.project, help="project of the runs")
    add("--domain", default=defaults.domain, help="domain of the runs")
    add("--run", default=defaults.run, help="prefix of the runs' names; their number follows")
    add("--runs", type=int, default=defaults.runs, help="how many runs share the rows")
    add("--step-ms", type=int, default=defaults.step_ms, help="time between two samples")
    add("--timeout-s", type=float, default=120.0, help="how long to wait for ClickHouse")
    return parser


if __name__ == "__main__":
    sys.exit(main())
