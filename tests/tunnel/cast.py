"""The cast of the scripts: ends of a tunnel, their frames, and how they get to know each other."""

from __future__ import annotations

from tunnel.connection import Connection, Role
from tunnel.errors import Code
from tunnel.exchange import RequestHead, ResponseHead, Scope
from tunnel.frames import (
    FLAG_AUTH_OK,
    FLAG_AUTH_REFUSED,
    GOAWAY_BODY,
    U16,
    U32,
    FrameType,
    frame,
)
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.settings import TunnelSettings

TOKEN = b"a-token"
VALID_S = 3600.0
AGENT = Hello("acme", "c1", "agent-1")
RELAY = Hello("-", "-", "relay-1")
REQUEST = RequestHead("POST", "/x.v1.Logs/Tail", Scope("acme", "p", "d", "c1"), "ann")
ANSWER = ResponseHead(200, (("content-type", "application/connect+proto"),))
SETTINGS = TunnelSettings()
WINDOW = SETTINGS.window_bytes


def dialer(
    settings: TunnelSettings = SETTINGS, hello: Hello = AGENT, now: float = 0.0
) -> Connection:
    """The agent's end."""
    return Connection(Role.DIALER, hello, settings, now=now, token=Payload(TOKEN))


def acceptor(
    settings: TunnelSettings = SETTINGS, hello: Hello = RELAY, now: float = 0.0
) -> Connection:
    """The relay's end."""
    return Connection(Role.ACCEPTOR, hello, settings, now=now)


def established(
    role: Role, settings: TunnelSettings = SETTINGS, peer: Hello | None = None
) -> Connection:
    """An end whose handshake is over, with nothing left to say."""
    if role is Role.DIALER:
        core = dialer(settings)
        core.receive([memoryview(f) for f in (hello(peer or RELAY), auth_ok())], 0.0)
    else:
        core = acceptor(settings)
        core.receive([memoryview(f) for f in (hello(peer or AGENT), auth())], 0.0)
        core.accept(VALID_S, 0.0)
    core.frames_to_send()
    return core


def opened(role: Role = Role.ACCEPTOR) -> tuple[Connection, int]:
    """An end that has opened one stream."""
    core = established(role)
    stream_id = core.open(REQUEST, 0.0)
    core.frames_to_send()
    return core, stream_id


def answering(room: int = WINDOW) -> Connection:
    """A dialer whose peer has opened stream 2 and granted `room` bytes."""
    core = established(Role.DIALER)
    core.receive([memoryview(open_(2)), memoryview(credit(2, room))], 0.0)
    return core


# Frames, by what they say.


def hello(who: Hello) -> bytes:
    return frame(FrameType.HELLO, payload=who.encode())


def auth(token: bytes = TOKEN) -> bytes:
    return frame(FrameType.AUTH, payload=token)


def auth_ok(valid_s: float = VALID_S) -> bytes:
    return frame(FrameType.AUTH, payload=U32.pack(int(valid_s)), flags=FLAG_AUTH_OK)


def auth_refused(code: Code) -> bytes:
    return frame(FrameType.AUTH, payload=U16.pack(code), flags=FLAG_AUTH_REFUSED)


def open_(stream_id: int, head: RequestHead = REQUEST, cursor: bytes = b"") -> bytes:
    encoded = head.encode()
    return frame(FrameType.OPEN, stream_id, U16.pack(len(encoded)) + encoded + cursor)


def head(stream_id: int, answer: ResponseHead = ANSWER) -> bytes:
    return frame(FrameType.HEAD, stream_id, answer.encode())


def data(stream_id: int, body: bytes) -> bytes:
    return frame(FrameType.DATA, stream_id, body)


def mark(stream_id: int, cursor: bytes = b"") -> bytes:
    return frame(FrameType.MARK, stream_id, cursor)


def credit(stream_id: int, count: int = WINDOW) -> bytes:
    return frame(FrameType.CREDIT, stream_id, U32.pack(count))


def end(stream_id: int) -> bytes:
    return frame(FrameType.END, stream_id)


def reset(stream_id: int, code: int) -> bytes:
    return frame(FrameType.RESET, stream_id, U16.pack(code))


def ping(body: bytes) -> bytes:
    return frame(FrameType.PING, payload=body)


def pong(body: bytes) -> bytes:
    return frame(FrameType.PONG, payload=body)


def goaway(code: int, last_stream: int = 0) -> bytes:
    return frame(FrameType.GOAWAY, payload=GOAWAY_BODY.pack(last_stream, code))


FIRST_PING = ping((1).to_bytes(8, "big"))
