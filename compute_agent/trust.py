"""Whose signature counts here: the issuer, and its keys.

The customer's operator puts them into a file, as it does the token, so that trust does not come
through the relay. The control plane's signed pushes bring the keys that follow; whichever came last
counts. Nothing is fetched: a token that names an unknown key costs one look at the file, at most
once in `reread_s`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunnel.verifier import Keys, Kind, TokenInvalid, Verifier, import_keys

MAX_FILE_BYTES = 65_536


class Trust:
    """The issuer and its keys.

    Args:
        file: JSON: `issuer`, and `keys` as in a JWK set (RFC 7517); empty for none.
        reread_s: least time between two looks at the file, seconds.
        now_s: wall clock, seconds since the epoch.
        time_s: monotonic clock, seconds.
    """

    def __init__(
        self,
        file: str,
        *,
        reread_s: float,
        now_s: Callable[[], float],
        time_s: Callable[[], float],
    ) -> None:
        self._file, self._reread_s = Path(file) if file else None, reread_s
        self._now_s, self._time_s = now_s, time_s
        self._issuer, self._keys = "", dict[str, Any]()
        self._seen: tuple[int, int] | None = None
        self._looked_at = -math.inf
        self._verifier = Verifier()

    def adopt(self, issuer: str, keys: Keys) -> None:
        """Take keys that came with a signature of a known one."""
        self._issuer, self._keys = issuer, dict(keys)

    def verify(self, token: str, kind: Kind) -> dict[str, Any]:
        """Return what a good token says; see Verifier.verify.

        Raises:
            TokenInvalid: it is not good.
        """
        try:
            return self._verified(token, kind)
        except TokenInvalid as error:
            if error.expired or not self._reread():
                raise
        return self._verified(token, kind)

    def _verified(self, token: str, kind: Kind) -> dict[str, Any]:
        return self._verifier.verify(token, self._keys, kind, self._issuer, self._now_s())

    def _reread(self) -> bool:
        """Look at the file again if it is time to; whether it has changed."""
        time_s = self._time_s()
        if self._file is None or time_s - self._looked_at < self._reread_s:
            return False
        self._looked_at = time_s
        try:
            state = self._file.stat()
            seen = state.st_ino, state.st_mtime_ns
            if seen == self._seen or state.st_size > MAX_FILE_BYTES:
                return False
            document = json.loads(self._file.read_bytes())
            issuer, keys = str(document["issuer"]), import_keys(document)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return False  # being replaced, or none of ours: what is known goes on to count
        self._issuer, self._keys, self._seen = issuer, keys, seen
        return True
