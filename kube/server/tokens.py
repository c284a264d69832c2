"""Who calls, by bearer token."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kube.server.status import unauthorized
from policy.bindings import AUTHENTICATED, MASTERS, UNAUTHENTICATED
from tunnel.settings import SettingError

PREFIX = "system:serviceaccount:"
MAX_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller; service accounts are `system:serviceaccount:{namespace}:{name}`."""

    name: str
    groups: frozenset[str] = frozenset()

    @property
    def all_groups(self) -> tuple[str, ...]:
        """Its groups, and those that Kubernetes adds."""
        if UNAUTHENTICATED in self.groups:
            return tuple(self.groups)
        added = [AUTHENTICATED]
        if self.name.startswith(PREFIX):
            namespace = self.name.removeprefix(PREFIX).partition(":")[0]
            added += ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        return (*sorted(self.groups), *added)


DEMO_USER = User("demo", frozenset({MASTERS}))


class Tokens:
    """Bearer tokens of known users. Only digests are kept, so that no dump shows a token.

    Args:
        users: user by token.
        anonymous: who a caller without a valid token is; None refuses such callers.
    """

    def __init__(self, users: Mapping[str, User], *, anonymous: User | None = None) -> None:
        self._replace(users)
        self._anonymous = anonymous

    def _replace(self, users: Mapping[str, User]) -> None:
        self._users = {_digest(token): user for token, user in users.items()}

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


class TokenFile(Tokens):
    """The tokens of a file that is read again when it was replaced.

    A file that can't be used any more leaves the tokens as they were.

    Args:
        path: see `read_token_file`.

    Raises:
        SettingError: the file can't be used now.
    """

    def __init__(self, path: str) -> None:
        super().__init__(read_token_file(path))
        self._path, self._seen = path, _state(path)

    def authenticate(self, authorization: str | None) -> User:
        """See Tokens."""
        seen = _state(self._path)
        if seen != self._seen:
            self._seen = seen
            with contextlib.suppress(SettingError):
                self._replace(read_token_file(self._path))
        return super().authenticate(authorization)


def read_tokens(token_file: str) -> Tokens:
    """Return the tokens of a file; without one, everybody is the demo user.

    Raises:
        SettingError: the file can't be used.
    """
    if token_file:
        return TokenFile(token_file)
    return Tokens({}, anonymous=DEMO_USER)


def _state(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


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
