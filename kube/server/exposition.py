"""Prometheus' text format, version 0.0.4: one family of samples at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Sample = tuple[Mapping[str, str], float]


def family(name: str, kind: str, purpose: str, samples: Iterable[Sample]) -> Iterator[str]:
    """Yield the lines of one metric.

    Args:
        name: of the metric.
        kind: `counter` or `gauge`.
        purpose: one line of help.
        samples: labels and value of each.
    """
    yield f"# HELP {name} {purpose}\n"
    yield f"# TYPE {name} {kind}\n"
    for labels, value in samples:
        pairs = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
        yield f"{name}{{{pairs}}} {value}\n" if pairs else f"{name} {value}\n"
