"""Resume cursors of event watches: opaque to everybody but the agent."""

from __future__ import annotations

import json
from dataclasses import dataclass


class BadCursor(ValueError):
    """A resume cursor that this agent did not make."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a watch resumes: every change of this pod's events up to `version` was delivered.

    Args:
        uid: of the pod.
        version: a resource version.
        live: whether the viewer was told that it has caught up.
    """

    uid: str
    version: int = 0
    live: bool = False

    def encode(self) -> bytes:
        """Serialise for MARK; far below its 1 KiB."""
        return json.dumps([self.uid, self.version, self.live], separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Cursor:
        """Parse what came back with OPEN.

        Raises:
            BadCursor: it is none of ours.
        """
        try:
            uid, version, live = json.loads(data)
            valid = isinstance(uid, str) and type(version) is int and type(live) is bool
        except (ValueError, TypeError, RecursionError):
            valid = False
        if not valid or version < 0:
            raise BadCursor("the resume cursor is none of this agent's")
        return cls(uid, version, live)
