"""`planesplit policy export`: manifests for Kubernetes, policies for AWS IAM."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping

import yaml

from planesplit.commands.policy.answer import OK, UsageError
from policy.documents import document
from policy.iam import iam_accounts
from policy.manifests import Manifest, manifests
from policy.question import UnknownName
from policy.roles import PLANES

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def export_yaml(plane: str) -> int:
    """Print the manifests of one plane or both, each object once."""
    for one in _once(plane):
        sys.stdout.write("---\n" + yaml.safe_dump(one, sort_keys=False, width=100))
    return OK


def export_iam(plane: str, account: str, buckets: Mapping[str, str]) -> int:
    """Print one account's IAM policy document, or an object with all of them by account.

    Raises:
        UnknownName: Appendix E has no such account.
        UsageError: a bucket's name is none.
    """
    for name in buckets.values():
        if not _BUCKET.fullmatch(name):
            raise UsageError(f"'{name}' is no bucket's name; 3 to 63 of a-z, 0-9, '.' and '-'")
    known = iam_accounts()
    if account and account not in known:
        raise UnknownName("service account of Appendix E", account, known)
    documents = {
        name: document(row, buckets)
        for name, row in known.items()
        if account == name or (not account and plane in ("all", row.plane))
    }
    sys.stdout.write(json.dumps(documents[account] if account else documents, indent=2) + "\n")
    return OK


def _once(plane: str) -> Iterator[Manifest]:
    seen = []
    for name in PLANES:
        for one in manifests(name) if plane in ("all", name) else ():
            if one not in seen:
                seen.append(one)
                yield one
