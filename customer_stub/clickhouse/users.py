"""Who calls: users by name and password, of which only digests are kept."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from customer_stub.clickhouse import errors
from customer_stub.clickhouse.settings import UserSettings
from tunnel.settings import SettingError

MAX_PASSWORD_BYTES = 4096

Credentials = tuple[str, str]


class Users:
    """The users that may connect.

    Args:
        users: each with the file that holds its password.

    Raises:
        SettingError: a password file can't be read or is empty.
    """

    def __init__(self, users: Iterable[UserSettings]) -> None:
        self._users = {user.name: (user, _digest(_password(user))) for user in users}
        self._nobody = _digest("")

    def authenticate(self, headers: Mapping[str, str], fields: Mapping[str, str]) -> UserSettings:
        """Return who sends these headers (lower-case names) and fields of the URL.

        Raises:
            QueryError: 516, for an unknown user as for a wrong password; also for credentials
                given in two ways at once.
        """
        name, password = _credentials(headers, fields)
        user, digest = self._users.get(name, (None, self._nobody))
        same = hmac.compare_digest(_digest(password), digest)
        if user is None or not same:
            raise errors.unauthenticated()
        return user


def _credentials(headers: Mapping[str, str], fields: Mapping[str, str]) -> Credentials:
    given: list[Credentials] = []
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        given.append((headers.get("x-clickhouse-user", ""), headers.get("x-clickhouse-key", "")))
    if "authorization" in headers:
        given.append(_basic(headers["authorization"]))
    if "user" in fields or "password" in fields:
        given.append((fields.get("user", ""), fields.get("password", "")))
    if len(given) != 1:
        raise errors.unauthenticated()
    return given[0]


def _basic(header: str) -> Credentials:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise errors.unauthenticated()
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise errors.unauthenticated() from None
    return name, password


def _password(user: UserSettings) -> str:
    try:
        with Path(user.password_file).open(encoding="utf-8") as file:
            password = file.read(MAX_PASSWORD_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        raise SettingError(
            f"setting 'users': cannot read the password file '{user.password_file}'"
        ) from None
    if not password:
        raise SettingError(f"setting 'users': password file '{user.password_file}' is empty")
    return password


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()
