"""What a connection tells its driver: events of the tunnel (stream id 0) and of its streams."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.errors import Code
from tunnel.exchange import RequestHead, ResponseHead
from tunnel.hello import Hello
from tunnel.payload import Payload


@dataclass(slots=True)
class Opened:
    """The peer opened a stream; `cursor` is where it wants to resume, empty for the beginning."""

    head: RequestHead
    cursor: bytes


@dataclass(slots=True)
class Head:
    """The answer's status and headers."""

    head: ResponseHead


@dataclass(slots=True, repr=False)
class Data:
    """Payload; `view` is borrowed until the consumer releases it."""

    view: memoryview

    def __repr__(self) -> str:
        return f"Data({len(self.view)} bytes)"


@dataclass(slots=True)
class Mark:
    """End of a unit; a resume may continue from `cursor`."""

    cursor: bytes


@dataclass(slots=True)
class End:
    """Orderly end of the peer's half."""


@dataclass(slots=True)
class Reset:
    """The stream ended early; nothing follows."""

    code: Code


@dataclass(slots=True)
class TokenReceived:
    """The dialer presents a token: answer with `accept` or `refuse`."""

    hello: Hello
    token: Payload


@dataclass(slots=True)
class Established:
    """Both HELLOs are exchanged and the token is accepted (also after every refresh)."""

    peer: Hello
    valid_s: float


@dataclass(slots=True)
class Going:
    """The peer takes no new streams; open ones may finish."""

    last_stream: int
    code: Code


@dataclass(slots=True)
class Closed:
    """The tunnel is over; `by_peer` tells who ended it."""

    code: Code
    by_peer: bool


StreamEvent = Opened | Head | Data | Mark | End | Reset
Event = StreamEvent | TokenReceived | Established | Going | Closed
Events = list[tuple[int, Event]]
