"""HELLO: the first frame each way. Version range, limits and identity."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields

from tunnel.errors import Code, RemoteError
from tunnel.frames import MAX_FRAME_BYTES, MIN_FRAME_BYTES
from tunnel.payload import Buffer

MIN_VERSION, VERSION = 1, 2  # what we speak; 2 brought the proof in request heads
MAX_WINDOW_BYTES = 2**31 - 1  # RFC 9113, 6.9.1: the bound every mux uses
OPTIONAL = {"relieves"}  # of later releases than 1: an older peer leaves them out

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class Hello:
    """What one end says of itself.

    Args:
        org, cluster: whose tunnel it is; the acceptor repeats its own names or `-`.
        slot: which of an agent's tunnels this is; one live tunnel per org, cluster and slot.
        epoch: rises with every dial of an agent, so that the newest tunnel can be told.
        server_id: names this process; changes with every start.
        min_version, max_version: protocol versions it speaks.
        max_frame_bytes: longest frame it accepts; only DATA ever comes near it.
        relieves: epoch of the slot's tunnel that drains beside this one; 0 for none.
        window_bytes: credit the peer has at once on every stream that the peer opens.
        max_streams: open streams it accepts from the peer.
    """

    org: str
    cluster: str
    server_id: str
    slot: int = 0
    epoch: int = 0
    min_version: int = MIN_VERSION
    max_version: int = VERSION
    max_frame_bytes: int = MAX_FRAME_BYTES
    window_bytes: int = 81_920
    max_streams: int = 1_024
    relieves: int = 0

    def encode(self) -> bytes:
        """Serialise for the HELLO frame."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: Buffer) -> Hello:
        """Parse a HELLO payload; fields of later versions are ignored.

        Raises:
            RemoteError: not JSON, a field missing, of wrong type or out of range.
        """
        try:
            table = json.loads(bytes(data))
        except (ValueError, RecursionError):
            raise RemoteError("HELLO is not JSON") from None
        known = {f.name for f in fields(cls)}
        if not isinstance(table, dict) or known - table.keys() - OPTIONAL:
            raise RemoteError("HELLO lacks a field")
        hello = cls(**{name: table[name] for name in known & table.keys()})
        hello._check()
        return hello

    def _check(self) -> None:
        for name in (self.org, self.cluster, self.server_id):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise RemoteError("HELLO: a name is not one")
        for number, low, high in (
            (self.slot, 0, 255),
            (self.epoch, 0, 2**63),
            (self.min_version, 1, 255),
            (self.max_version, 1, 255),
            (self.max_frame_bytes, MIN_FRAME_BYTES, MAX_FRAME_BYTES),
            (self.window_bytes, 0, MAX_WINDOW_BYTES),
            (self.max_streams, 0, 2**31),
            (self.relieves, 0, 2**63),
        ):
            if type(number) is not int or not low <= number <= high:
                raise RemoteError("HELLO: a number is out of range")

    def common_version(self, peer: Hello) -> int:
        """Return the highest version both speak.

        Raises:
            RemoteError: with code VERSION when there is none.
        """
        version = min(self.max_version, peer.max_version)
        if version < max(self.min_version, peer.min_version):
            raise RemoteError("no common protocol version", code=Code.VERSION)
        return version
