"""Who calls, by bearer token, and what they may do."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from customer_stub.kubernetes.status import forbidden_path, forbidden_verb, unauthorized
from tunnel.settings import SettingError

MASTERS = "system:masters"  # Kubernetes' group that may do anything
PREFIX = "system:serviceaccount:"
MAX_TOKENS = 1000

# Verbs on pods by service account; the accounts are the white paper's (Appendix D).
_POD_VERBS = {
    "executor": frozenset({"create", "delete", "get", "list", "watch"}),
    "proxy-system": frozenset({"get", "list", "watch"}),
}


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller; service accounts are `system:serviceaccount:{namespace}:{name}`."""

    name: str
    groups: frozenset[str] = frozenset()

    def require(self, verb: str, resource: str, namespace: str | None) -> None:
        """Raise ApiError 403 unless the user may do this to the resource."""
        account = self.name.rpartition(":")[2] if self.name.startswith(PREFIX) else ""
        allowed = resource == "pods" and verb in _POD_VERBS.get(account, ())
        if not allowed and MASTERS not in self.groups:
            raise forbidden_verb(self.name, verb, resource, namespace)

    def require_path(self, verb: str, path: str) -> None:
        """Raise ApiError 403 unless the user may use this URL that is no resource."""
        if MASTERS not in self.groups:
            raise forbidden_path(self.name, verb, path)


DEMO_USER = User("demo", frozenset({MASTERS}))


class Tokens:
    """Bearer tokens of known users. Only digests are kept, so that no dump shows a token.

    Args:
        users: user by token.
        anonymous: who a caller without a valid token is; None refuses such callers.
    """

    def __init__(self, users: Mapping[str, User], *, anonymous: User | None = None) -> None:
        self._users = {_digest(token): user for token, user in users.items()}
        self._anonymous = anonymous

    def authenticate(self, authorization: str | None) -> User:
        """Return who sends this Authorization header.

        Raises:
            ApiError: 401.
        """
        scheme, _, token = (authorization or "").partition(" ")
        user = self._users.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
        user = user or self._anonymous
        if user is None:
            raise unauthorized()
        return user


def read_token_file(path: str) -> dict[str, User]:
    """Read Kubernetes' static token file: `token,user,uid` and optionally `,"group1,group2"`.

    Raises:
        SettingError: unreadable, malformed or without any token; never shows content.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingError(f"setting 'token_file': cannot read '{path}'") from None
    users = {}
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        if not row:
            continue
        if not 3 <= len(row) <= 4 or not row[0] or not row[1]:
            raise SettingError(
                f"setting 'token_file': line {number} is not token,user,uid[,\"groups\"]"
            )
        users[row[0]] = User(row[1], frozenset(row[3].split(",") if len(row) == 4 else ()))
    if not 0 < len(users) <= MAX_TOKENS:
        raise SettingError(f"setting 'token_file': '{path}' must hold 1 to {MAX_TOKENS} tokens")
    return users


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
