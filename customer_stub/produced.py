"""The customer's own account of what a container produced, to compare with what a viewer got.

The digest is SHA-256 over the lines in the order in which they were completed in the log file, each
with a newline (also a last one that had none), invalid UTF-8 replaced by U+FFFD as Python's
`errors="replace"` does. That is the concatenation of the messages that a viewer gets. Only
a line longer than 8 MiB is digested before it is complete.
"""

from __future__ import annotations

import codecs
import hashlib
from typing import Any, Literal

_DECODER = codecs.getincrementaldecoder("utf-8")

Stream = Literal["stdout", "stderr"]

HELD_BYTES = 8_388_608  # of an unfinished line; as much as the agent holds by default


class Produced:
    """Running counts and digest of one container's output.

    Attributes:
        lines: complete lines; an unfinished last line counts when the container has ended.
        raw_bytes: bytes as the container wrote them.
        text_bytes: bytes that went into the digest.
        complete: the container has ended and everything is in the file.
    """

    def __init__(self) -> None:
        self.lines = {"stdout": 0, "stderr": 0}
        self.raw_bytes = {"stdout": 0, "stderr": 0}
        self.text_bytes = 0
        self.complete = False
        self._digest = hashlib.sha256()
        self._decoders = {name: _DECODER("replace") for name in ("stdout", "stderr")}
        self._held = {"stdout": bytearray(), "stderr": bytearray()}

    def raw(self, stream: Stream, size_bytes: int) -> None:
        """Count output as it comes out of the container."""
        self.raw_bytes[stream] += size_bytes

    def stored(self, stream: Stream, content: bytes) -> None:
        """Account for the content of records, in the order of the file."""
        self.lines[stream] += content.count(b"\n")
        held = self._held[stream]
        if held or not content.endswith(b"\n"):
            end = content.rfind(b"\n") + 1
            end = len(held) + end if end else 0
            held += content
            end = len(held) if len(held) > HELD_BYTES else end
            content = bytes(held[:end])
            del held[:end]
        text = self._decoders[stream].decode(content).encode()
        self.text_bytes += len(text)
        self._digest.update(text)

    def report(self) -> dict[str, Any]:
        """Return the account as JSON values. Numbers and a digest only, no content."""
        return {
            "lines": sum(self.lines.values()),
            "bytes": sum(self.raw_bytes.values()),
            "textBytes": self.text_bytes,
            "sha256": self._digest.hexdigest(),
            "complete": self.complete,
            "streams": {
                name: {"lines": self.lines[name], "bytes": self.raw_bytes[name]}
                for name in self.lines
            },
        }
