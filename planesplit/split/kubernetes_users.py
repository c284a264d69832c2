"""Who may call a cluster's Kubernetes API: its operator, and the white paper's accounts."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterable
from pathlib import Path

from planesplit.ready import write_atomically
from policy.bindings import MASTERS
from policy.roles import user_name

OPERATOR = "operator"  # of the cluster's owner, who may do everything
SECRET_BYTES = 32


def write_secret(file: Path) -> str:
    """Write a new random secret to a file and return it."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    write_atomically(file, secret + "\n")
    return secret


def write_tokens(directory: Path, table: Path, accounts: Iterable[str]) -> dict[str, Path]:
    """Make a token for the operator and for each account.

    Args:
        directory: where each token goes to a file of its own.
        table: Kubernetes' static token file, for the API server.
        accounts: service accounts of the namespace `union`.

    Returns:
        Token file by account, the operator's among them.
    """
    files = {name: directory / f"kubernetes-{name}" for name in (OPERATOR, *accounts)}
    text = io.StringIO()
    rows = csv.writer(text)
    for uid, (name, file) in enumerate(files.items(), start=1):
        user, groups = (OPERATOR, MASTERS) if name == OPERATOR else (user_name(name), "")
        rows.writerow([write_secret(file), user, uid, groups])
    write_atomically(table, text.getvalue())
    return files
