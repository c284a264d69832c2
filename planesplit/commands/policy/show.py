"""`planesplit policy show`: roles and accounts, the white paper's words, our reading."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from planesplit.commands.policy.answer import OK, WIDTH
from planesplit.commands.tables import as_json, as_table
from policy.iam import Account, iam_accounts
from policy.normalised import NOTES, Note, notes_of
from policy.question import role_rows
from policy.roles import PLANES, Role, roles
from policy.rules import Rule
from policy.uncalled import UNCALLED

_HEADS = {
    "role_name": "role",
    "api_groups": "API groups",
    "service_account": "account",
    "k8s_namespace": "namespace",
    "iam_role_arn_pattern": "IAM role",
    "bound_to": "bound to",
    "s3_access": "S3 access",
}
_LABEL = 12
_ROLE_COLUMNS = ("row", "role", "holds", "account", "called")
_ACCOUNT_COLUMNS = ("row", "account", "plane", "iam role", "metadata", "fast-registration")


def show(role: str, *, notes: bool, json: bool) -> int:
    """Print all roles and accounts, or one in full, or the notes.

    Raises:
        UnknownName: no role or account is called so.
    """
    rows = role_rows(role) if role else ()
    shown = [note for note in NOTES if not rows or set(rows) & set(note.rows)]
    if json:
        text = as_json(_document(rows, shown))
    elif notes:
        text = "\n".join(map(_note, shown))
    else:
        text = "\n".join(map(_entry, rows)) if rows else _overview()
    sys.stdout.write(text)
    return OK


def every_row() -> dict[str, Role | Account]:
    """Return what each row of Appendix C, D and E became."""
    found: dict[str, Role | Account] = {r.appendix: r for plane in PLANES for r in roles(plane)}
    return found | {account.appendix: account for account in iam_accounts().values()}


def _overview() -> str:
    parts = []
    for plane, appendix in (("control", "C"), ("compute", "D")):
        table = [
            {
                "row": role.appendix,
                "role": role.name,
                "holds": f"in {role.scope}" if role.scope else "everywhere",
                "account": ", ".join(role.accounts),
                "called": "yes" if role.actor else "",
            }
            for role in roles(plane)
        ]
        head = f"Appendix {appendix}: Kubernetes roles of the {plane} plane's cluster\n"
        parts.append(head + as_table(table, _ROLE_COLUMNS))
    table = [
        {"row": a.appendix, "account": a.name, "plane": a.plane, "iam role": a.role, **a.grants}
        for a in iam_accounts().values()
    ]
    parts.append(
        "Appendix E: rights in the customer's buckets\n" + as_table(table, _ACCOUNT_COLUMNS)
    )
    parts.append(
        "called: a part of planesplit calls under it; the others are evaluated and exported only\n"
        "--role NAME shows one in full, --notes where the white paper's words leave a choice\n"
    )
    return "\n".join(parts)


def _entry(row: str) -> str:
    entry = every_row()[row]
    lines = list(_role(entry) if isinstance(entry, Role) else _account(entry))
    lines.append("  the white paper's words")
    lines += [wrapped(_HEADS.get(head, head), cell, 4) for head, cell in entry.words.items()]
    lines += [
        wrapped("note", f"{_quoted(note)}: {note.reading}; {note.reason}") for note in notes_of(row)
    ]
    return "\n".join(lines) + "\n"


def _role(role: Role) -> Iterator[str]:
    where = f"namespace {role.scope}" if role.scope else "whole cluster"
    yield f"{role.appendix}  {role.kind} {role.name}  ({role.plane} plane, {where})"
    yield wrapped("account", ", ".join(role.accounts) or "none")
    yield wrapped("called by", role.actor or "nobody here: evaluated and exported only")
    for rule in role.rules:
        yield wrapped("may", said(rule))
    for one in UNCALLED:
        if one.account in role.accounts and role.actor and not role.scope:
            yield wrapped("not called", f"{one.verbs}: {one.resources}; {one.reason}")


def _account(account: Account) -> Iterator[str]:
    yield f"{account.appendix}  service account {account.name}  ({account.plane} plane)"
    yield wrapped("IAM role", account.role)
    for bucket, kind in account.grants.items():
        yield wrapped("may", f"{kind} in {bucket}")


def said(rule: Rule) -> str:
    """Return a rule as a sentence's end."""
    verbs = " ".join(rule.verbs)
    if rule.urls:
        return f"{verbs}: URLs {' '.join(rule.urls)}"
    groups = " ".join(group or "(core)" for group in rule.groups)
    named = f" named {' '.join(rule.names)}" if rule.names else ""
    return f"{verbs}: {' '.join(rule.resources)}{named} [{groups}]"


def _note(note: Note) -> str:
    head = f"{', '.join(note.rows)}  {_quoted(note)}"
    lines = textwrap.wrap(head, WIDTH, subsequent_indent="    ")
    return "\n".join([*lines, wrapped("reading", note.reading), wrapped("why", note.reason), ""])


def _quoted(note: Note) -> str:
    return f"'{note.words}'" if note.words else "no words"


def wrapped(label: str, text: str, indent: int = 2) -> str:
    """Return a labelled text in lines of at most 100 columns."""
    first = f"{' ' * indent}{label:<{_LABEL}}"
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    )


def _document(rows: tuple[str, ...], notes: list[Note]) -> Mapping[str, Any]:
    chosen = [entry for row, entry in every_row().items() if not rows or row in rows]
    return {
        "roles": [_plain(entry) for entry in chosen if isinstance(entry, Role)],
        "accounts": [_plain(entry) for entry in chosen if isinstance(entry, Account)],
        "notes": [dataclasses.asdict(note) for note in notes],
    }


def _plain(entry: Role | Account) -> dict[str, Any]:
    return dataclasses.asdict(entry)
