"""`planesplit policy matrix`: which account reaches what, payload marked."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from planesplit.commands.policy.answer import OK
from planesplit.commands.tables import as_json, as_table
from policy.iam import BUCKETS, iam_accounts
from policy.question import UnknownName, every_account
from policy.reach import Reach, reaches
from policy.resources import VERBS, find, payload, resources
from policy.roles import PLANES, Plane

SHOWN: dict[Plane, tuple[str, ...]] = {
    "control": ("namespaces", "configmaps", "secrets", "pods", "pods/log", "flyteworkflows"),
    "compute": ("pods", "pods/log", "pods/exec", "secrets", "events", "flyteworkflows"),
}
READ, WRITE = ("get", "list", "watch"), ("create", "update", "patch", "delete")
LETTERS = dict(zip(VERBS, "glwcupdD", strict=True))
MARK = "!"
LEGEND = f"""\
R get list watch   W create update patch delete   * all eight   else one letter
each: g get  l list  w watch  c create  u update  p patch  d delete
D deletecollection
{MARK} reaches customers' payload, or what may hold it; never in the control plane's
cluster, as no customer pod runs there. URLs: by presigned URLs only, for one
object each.
"""
S3_PAYLOAD = {"metadata": "inputs, outputs, reports", "fast-registration": "code bundles"}


def matrix(plane: str, chosen: Sequence[str], format: str) -> int:  # noqa: A002 - as the option
    """Print the matrix of one plane or both.

    Raises:
        UnknownName: one of the chosen columns is no resource.
    """
    columns = tuple(map(_column, chosen))
    planes = [name for name in PLANES if plane in ("all", name)]
    sys.stdout.write(_FORMATS[format](planes, columns))
    return OK


def _column(text: str) -> str:
    name, slash, subresource = text.partition("/")
    known = find(name)
    if known is None:
        raise UnknownName("resource", name, resources())
    if slash and subresource not in known.subresources:
        raise UnknownName(f"subresource of {known.name}", subresource, known.subresources)
    return f"{known.name}{slash}{subresource}"


def _everything() -> tuple[str, ...]:
    """Every resource, each followed by its subresources."""
    return tuple(
        what
        for resource in resources().values()
        for what in (resource.name, *(f"{resource.name}/{sub}" for sub in resource.subresources))
    )


def short(verbs: tuple[str, ...]) -> str:
    """Return verbs in few letters."""
    if set(verbs) == set(VERBS):
        return "*"
    text, left = "", list(verbs)
    for letter, group in (("R", READ), ("W", WRITE)):
        if set(group) <= set(left):
            text += letter
            left = [verb for verb in left if verb not in group]
    return text + "".join(LETTERS[verb] for verb in VERBS if verb in left)


def _rows(plane: Plane, columns: tuple[str, ...]) -> list[dict[str, str]]:
    rows = []
    for reach in reaches(plane, columns):
        cells = {what: short(verbs) for what, verbs in reach.cells.items()}
        marked = {what: cells[what] + MARK for what in reach.payload}
        name = f"  in {reach.namespace}, too" if reach.namespace else reach.account
        rows.append({"account": name, **cells, **marked})
    return rows


def _s3_rows(planes: Sequence[Plane]) -> list[dict[str, str]]:
    words = {"none": "", "read-only": "read!", "read/write": "read write!"}
    return [
        {
            "account": account.name,
            "plane": account.plane,
            **{bucket: words.get(account.grants[bucket], "URLs!") for bucket in BUCKETS},
        }
        for account in iam_accounts().values()
        if account.plane in planes
    ]


Section = tuple[str, list[dict[str, str]], tuple[str, ...]]  # title, rows, columns


def sections(planes: Sequence[Plane] = PLANES, columns: tuple[str, ...] = ()) -> Iterator[Section]:
    """Yield a table for each plane's cluster, and that of the buckets.

    Args:
        planes: which.
        columns: resources; those of SHOWN, and the buckets, if not given.
    """
    for plane in planes:
        shown = columns or SHOWN[plane]
        yield f"The {plane} plane's cluster", _rows(plane, shown), ("account", *shown)
    if not columns:
        yield "Customers' buckets", _s3_rows(planes), ("account", "plane", *BUCKETS)


def as_markdown(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    """Format rows as a table of a markdown page."""
    lines = [columns, ["---"] * len(columns)]
    lines += [[(row.get(column) or "-").strip() for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _table(planes: Sequence[Plane], columns: tuple[str, ...]) -> str:
    tables = (
        f"{title}\n{as_table(rows, heads)}\n" for title, rows, heads in sections(planes, columns)
    )
    return "".join(tables) + LEGEND


def _markdown(planes: Sequence[Plane], columns: tuple[str, ...]) -> str:
    tables = (
        f"### {title}\n\n{as_markdown(rows, heads)}\n"
        for title, rows, heads in sections(planes, columns)
    )
    return "".join(tables) + LEGEND


def _records(planes: Sequence[Plane], columns: tuple[str, ...]) -> list[dict[str, Any]]:
    found = [
        _record(reach, what, verbs)
        for plane in planes
        for reach in reaches(plane, columns or _everything())
        for what, verbs in reach.cells.items()
    ]
    for name, account in iam_accounts().items():
        for bucket, kind in account.grants.items():
            if account.plane in planes and kind != "none" and not columns:
                found.append(
                    {
                        "plane": account.plane,
                        "account": name,
                        "namespace": "",
                        "resource": f"s3:{bucket}",
                        "verbs": [kind],
                        "payload": S3_PAYLOAD[bucket],
                    }
                )
    return found


def _record(reach: Reach, what: str, verbs: tuple[str, ...]) -> dict[str, Any]:
    return {
        "plane": reach.plane,
        "account": reach.account,
        "namespace": reach.namespace,
        "resource": what,
        "verbs": list(verbs),
        "payload": reach.payload.get(what, ""),
    }


def _json(planes: Sequence[Plane], columns: tuple[str, ...]) -> str:
    document = {
        "accounts": [name for name, plane in every_account().items() if plane in planes],
        "payload": payload(),
        "cells": _records(planes, columns),
    }
    return as_json(document)


def _csv(planes: Sequence[Plane], columns: tuple[str, ...]) -> str:
    records = _records(planes, columns)
    text = io.StringIO()
    heads = ("plane", "account", "namespace", "resource", "verbs", "payload")
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**record, "verbs": " ".join(record["verbs"])} for record in records)
    return text.getvalue()


_FORMATS: dict[str, Callable[[Sequence[Plane], tuple[str, ...]], str]] = {
    "table": _table,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
