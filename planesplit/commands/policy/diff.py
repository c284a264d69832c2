"""`planesplit policy diff`: an operator's manifests against the white paper."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from planesplit.commands.policy.answer import NO, OK, UsageError
from planesplit.commands.policy.show import wrapped
from planesplit.commands.tables import as_json, one_line
from policy.comparison import OTHER, Difference, compare
from policy.holdings import (
    BadManifest,
    Holdings,
    of_manifests,
    of_white_paper,
    planes_of,
    short_name,
)
from policy.question import identity
from policy.resources import VERBS, payload
from policy.roles import PLANES, Plane

MAX_BYTES = 16_777_216  # a file of manifests; a large cluster's RBAC is some hundred KiB
STDIN = "-"


def diff(file: Path, plane: str, only: Sequence[str], namespace: str, *, json: bool) -> int:
    """Print what differs; return 1 if anything does.

    Raises:
        UsageError: the file can't be read, or holds no Kubernetes objects.
        UnknownName: an account is none of the white paper's.
    """
    try:
        operator = of_manifests(_documents(_read(file)), namespace)
    except (BadManifest, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"'{file}': {_reason(error)}") from None
    planes = [name for name in PLANES if name == plane] or planes_of(operator) or PLANES
    wanted = {identity(name).user for name in only}
    white_paper = of_white_paper(planes)
    found = [one for one in compare(operator, white_paper) if not only or one.subject in wanted]
    if json:
        document = {"equal": not found, "planes": planes, "differences": list(map(_plain, found))}
        sys.stdout.write(as_json(document))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _report(found, operator, planes))
    return NO if found else OK


def _read(file: Path) -> str:
    try:
        source = sys.stdin.buffer if str(file) == STDIN else file.open("rb")
        with source:
            content = source.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"'{file}' is larger than {MAX_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise UsageError(f"cannot read '{file}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"'{file}' is not UTF-8") from None


def _documents(text: str) -> Iterator[object]:
    """Read YAML with every scalar as text: RBAC has nothing else, and nothing can go wrong."""
    yield from yaml.load_all(text, Loader=yaml.BaseLoader)


def _reason(error: Exception) -> str:
    """What is wrong with it and in which line, without the line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error) if isinstance(error, BadManifest) else "no YAML"
    return f"no YAML: {getattr(error, 'problem', None) or 'unreadable'} in line {mark.line + 1}"


def _report(
    found: Sequence[Difference], operator: Holdings, planes: Sequence[Plane]
) -> Iterator[str]:
    for subject, ones in itertools.groupby(found, key=lambda one: one.subject):
        yield one_line(short_name(subject))
        alike = itertools.groupby(ones, key=lambda one: dataclasses.replace(one, what=""))
        for one, group in alike:
            said = one_line(_said(one, [o.what for o in group]))
            yield wrapped("wider" if one.wider else "missing", said)
    compared = (
        f"{len(operator)} subjects compared with the {' and the '.join(planes)} plane's roles"
    )
    wider = sum(one.wider for one in found)
    yield f"{wider} wider, {len(found) - wider} missing; {compared}"


def _said(one: Difference, whats: Sequence[str]) -> str:
    """Return differences that are alike but for what they are about."""
    sources = ", ".join(one.sources)
    if whats == [""]:
        return f"all of it: no binding names it; the white paper gives it {sources}"
    if not one.verbs:
        return f"{' '.join(whats)}{_where(one)}: {sources} is bound, and not in the file"
    verbs = "every verb" if {*VERBS, OTHER} <= set(one.verbs) else " ".join(one.verbs)
    named = f" '{one.name}'" if one.name else ""
    return f"{verbs}: {' '.join(whats)}{named}{_where(one)} ({sources}){_holds(one, whats)}"


def _where(one: Difference) -> str:
    return f" in {one.namespace}" if one.namespace else ""


def _holds(one: Difference, whats: Sequence[str]) -> str:
    """What of it customers' payload is, or may hold it."""
    names = [what.partition(".")[0] for what in whats]
    found = [name for name in names if name in payload() or name == "everything"]
    return f"; payload: {' '.join(found)}" if one.wider and found else ""


def _plain(one: Difference) -> dict[str, object]:
    return {**dataclasses.asdict(one), "subject": short_name(one.subject)}
