"""The machine-readable files of a run: JSON, CSV, hlog."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from hdrh.log import HistogramLogWriter

from planesplit.bench.document import check_schema
from planesplit.measure.histogram import Histogram

RUN = "run.json"
_TEXTS = ("latency", "late", "delay", "heat")


def as_json(document: Mapping[str, Any]) -> str:
    """Return the document."""
    return json.dumps(document, indent=1) + "\n"


def load(where: Path) -> dict[str, Any]:
    """Read a run, given its directory or its run.json.

    Raises:
        ValueError: it cannot be read or is none; the message names it.
    """
    file = where / RUN if where.is_dir() else where
    try:
        document = json.loads(file.read_text(encoding="utf-8"), parse_constant=_constant)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}; give a directory that -o has made") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{file} is no JSON") from None
    return check_schema(document, str(file))


def _constant(text: str) -> NoReturn:
    raise ValueError(text)


def as_csv(document: Mapping[str, Any]) -> str:
    """Return one row a turn: figures only; latencies are in milliseconds."""
    turns = document["turns"]
    out = io.StringIO()
    if turns:
        writer = csv.DictWriter(out, [name for name in turns[0] if name not in _TEXTS])
        writer.writeheader()
        for turn in turns:
            writer.writerow({key: value for key, value in turn.items() if key not in _TEXTS})
    return out.getvalue()


def as_hlog(document: Mapping[str, Any]) -> str:
    """Return a histogram log, version 1.2: an interval a turn, tagged by its path, in ns."""
    out = io.StringIO()
    writer = HistogramLogWriter(out)
    writer.output_comment("[planesplit bench; values are nanoseconds]")
    writer.output_log_format_version()
    start_s = datetime.fromisoformat(document["started"]).timestamp()
    out.write(f"#[StartTime: {start_s:.3f} (seconds since epoch), {document['started']}]\n")
    writer.output_legend()
    lasting_s = document["plan"]["duration_s"]
    for number, turn in enumerate(document["turns"]):
        found = Histogram.decode(turn["latency"])
        begin_s = number * lasting_s
        out.write(
            f"Tag={turn['path']},{begin_s:.3f},{lasting_s:.3f},{found.max_ms:.3f},"
            f"{turn['latency']}\n"
        )
    return out.getvalue()
