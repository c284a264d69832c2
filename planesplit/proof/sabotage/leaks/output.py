"""Leaks into what a process says: no kernel can forbid a pipe to a log collector."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from typing import Any

from planesplit.proof.sabotage.catalogue import leak
from planesplit.proof.sabotage.leaks.place import new_file
from planesplit.proof.sabotage.taps import Longest, relayed_answers
from planesplit.proof.sabotage.tries import Tries

SIGNED = frozenset({"A6", "B"})
MAX_TEXT = 1024
_URL = re.compile(rb"https?://[!-~]+?X-Amz-Signature=[0-9a-f]{64}")


def _text(payload: bytes) -> str:
    return payload[:MAX_TEXT].decode("latin-1")


@leak("stdout-print", "prints log lines", sealed="output", unsealed="output")
def stdout_print(tries: Tries) -> None:
    """A forgotten `print`."""

    def sink(payload: bytes) -> None:
        sys.stdout.write(_text(payload) + "\n")
        sys.stdout.flush()

    relayed_answers(tries.guard(sink), "A8")


@leak("debug-log", "logs bodies at DEBUG", sealed="output", unsealed="output")
def debug_log(tries: Tries) -> None:
    """A logger that somebody has turned up."""
    logger = logging.getLogger("relay.debug")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.DEBUG)
    relayed_answers(tries.guard(lambda payload: logger.debug("body=%s", _text(payload))), "A8")


@leak(
    "exception-text", "puts a body into an exception's message", sealed="output", unsealed="output"
)
def exception_text(tries: Tries) -> None:
    """Report an error whose message quotes what could not be understood."""

    def sink(payload: bytes) -> None:
        try:
            raise ValueError(f"cannot understand {payload[:MAX_TEXT]!r}")
        except ValueError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")

    relayed_answers(tries.guard(sink), "A8")


@leak("traceback", "prints a traceback with local variables", sealed="output", unsealed="output")
def traceback_locals(tries: Tries) -> None:
    """Format a traceback as error trackers do: with the values of local variables."""

    def sink(payload: bytes) -> None:
        line = payload[:MAX_TEXT]
        try:
            json.loads(b"{" + line)
        except ValueError as error:
            captured = traceback.TracebackException.from_exception(error, capture_locals=True)
            sys.stderr.write("".join(captured.format()))

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "access-log",
    "writes presigned URLs to an access log",
    rows=SIGNED,
    sealed="prevented",
    unsealed="files",
)
def access_log(tries: Tries) -> None:
    """An access log of signed URLs, in a file."""

    def sink(payload: bytes) -> None:
        for url in _URL.findall(payload):
            with new_file("access.log").open("ab") as file:
                file.write(b'127.0.0.1 "GET ' + url + b'" 200\n')

    relayed_answers(tries.guard(sink), *SIGNED)


@leak(
    "access-log-output",
    "logs presigned URLs to standard error",
    rows=SIGNED,
    sealed="output",
    unsealed="output",
)
def access_log_output(tries: Tries) -> None:
    """The same, as containers log."""

    def sink(payload: bytes) -> None:
        for url in _URL.findall(payload):
            sys.stderr.write(f'127.0.0.1 "GET {url.decode()}" 200\n')

    relayed_answers(tries.guard(sink), *SIGNED)


@leak(
    "trace-file",
    "writes spans with log lines as attributes to a file",
    sealed="prevented",
    unsealed="files",
)
def trace_file(tries: Tries) -> None:
    """A file exporter of spans."""

    def sink(payload: bytes) -> None:
        span = {"name": "forward", "attributes": {"body": _text(payload)}}
        with new_file("spans.jsonl").open("a") as file:
            file.write(json.dumps(span) + "\n")

    relayed_answers(tries.guard(sink), "A8")


@leak("metric-label", "makes a log line a label of a metric", sealed="pages", unsealed="pages")
def metric_label(tries: Tries) -> None:
    """Count lines by their text."""
    from relay.metrics import Metrics

    labels: dict[str, int] = {}
    render = Metrics.render

    def sink(payload: bytes) -> None:
        label = json.dumps(_text(payload))
        labels[label] = labels.get(label, 0) + 1

    def rendered(self: Metrics) -> bytes:
        lines = (f"relay_line_total{{text={label}}} {count}\n" for label, count in labels.items())
        return render(self) + "".join(lines).encode()

    _set(Metrics, "render", rendered)
    relayed_answers(tries.guard(sink), "A8")


@leak(
    "status-page", "shows the last log line on an operators' page", sealed="pages", unsealed="pages"
)
def status_page(tries: Tries) -> None:
    """Add the last line to the answer of /readyz."""
    from relay.ops import OpsSide

    last = Longest(MAX_TEXT)
    answer = OpsSide._answer

    def answered(self: OpsSide, request: Any) -> tuple[int, str, bytes]:
        status, kind, body = answer(self, request)
        return status, kind, body + last.piece if request.target == "/readyz" else body

    _set(OpsSide, "_answer", answered)
    relayed_answers(tries.guard(last.add), "A8")


def _set(kind: type, name: str, method: Any) -> None:
    setattr(kind, name, method)
