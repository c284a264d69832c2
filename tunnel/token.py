"""A token that somebody else keeps fresh in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from tunnel.payload import Payload

MAX_TOKEN_BYTES = 16_384  # what fits into an HTTP head, and into one frame


class TokenUnreadable(OSError):
    """The token file is missing, empty or too long."""


class TokenSource(Protocol):
    """Where the tunnel's token comes from."""

    def current(self) -> Payload:
        """Return the token to present now.

        Raises:
            TokenUnreadable: there is none.
        """
        ...


class TokenFile:
    """Reads a token again whenever its file changes; a rewrite must replace the file atomically.

    Args:
        path: the file; white space around the token is ignored.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._token = b""

    def current(self) -> Payload:
        """See TokenSource."""
        try:
            state = self._path.stat()
            seen = (state.st_ino, state.st_mtime_ns, state.st_size)
            if seen != self._seen:
                self._token, self._seen = self._read(), seen
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "not a token"
            raise TokenUnreadable(f"token file '{self._path}': {reason}") from None
        return Payload(self._token)

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            token = file.read(MAX_TOKEN_BYTES + 1).strip()
        if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise OSError
        return token


class NoToken:
    """For loopback without authentication: AUTH cannot be empty, so a word that is no token."""

    def current(self) -> Payload:
        """See TokenSource."""
        return Payload(b"insecure")
