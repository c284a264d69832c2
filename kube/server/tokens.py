"""Who calls, by bearer token, and what they may do."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kube.server.status import forbidden_path, forbidden_verb, unauthorized
from tunnel.settings import SettingError

MASTERS = "system:masters"  # Kubernetes' group that may do anything
PREFIX = "system:serviceaccount:"
MAX_TOKENS = 1000

SYSTEM_NAMESPACE = "union"  # the white paper's, where the proxy keeps secrets (Appendix D)

_READ = frozenset({"get", "list", "watch"})
_WRITE = frozenset({"create", "delete", "update", "patch"})


@dataclass(frozen=True, slots=True)
class Rule:
    """What a service account may do.

    Args:
        resources, verbs: all combinations.
        namespace: the only one where; None for the whole cluster.
    """

    resources: frozenset[str]
    verbs: frozenset[str]
    namespace: str | None = None

    def allows(self, verb: str, resource: str, namespace: str | None) -> bool:
        """Whether it covers this."""
        inside = self.namespace in (None, namespace)
        return inside and resource in self.resources and verb in self.verbs


def _rule(resources: str, verbs: frozenset[str], namespace: str | None = None) -> Rule:
    return Rule(frozenset(resources.split()), verbs, namespace)


# Of the white paper's service accounts (Appendix D), as far as this API serves their resources.
RULES: dict[str, tuple[Rule, ...]] = {
    "executor": (_rule("pods", _READ | _WRITE), _rule("pods/log events nodes", _READ)),
    "proxy-system": (
        _rule("pods pods/log events nodes", _READ),
        _rule("secrets", _WRITE - {"patch"} | {"get", "list"}, SYSTEM_NAMESPACE),
    ),
    "operator-system": (_rule("pods nodes namespaces", _READ | _WRITE),),
    "flytepropeller-webhook-system": (_rule("secrets pods", _WRITE - {"delete"} | {"get"}),),
}


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller; service accounts are `system:serviceaccount:{namespace}:{name}`."""

    name: str
    groups: frozenset[str] = frozenset()

    def may(self, verb: str, resource: str, namespace: str | None) -> bool:
        """Whether the user may do this to the resource."""
        if MASTERS in self.groups:
            return True
        account = self.name.rpartition(":")[2] if self.name.startswith(PREFIX) else ""
        return any(rule.allows(verb, resource, namespace) for rule in RULES.get(account, ()))

    def require(self, verb: str, resource: str, namespace: str | None) -> None:
        """Raise ApiError 403 unless the user may do this to the resource."""
        if not self.may(verb, resource, namespace):
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
