"""Scripts: HELLO, versions, AUTH accepted, refused, refreshed and expired."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cast import (
    AGENT,
    FIRST_PING,
    RELAY,
    REQUEST,
    SETTINGS,
    TOKEN,
    VALID_S,
    acceptor,
    auth,
    auth_ok,
    auth_refused,
    data,
    dialer,
    established,
    goaway,
    hello,
    open_,
    ping,
    pong,
)
from playbook import Playbook

from tunnel.connection import MAX_VALID_S, Connection, Phase, Role
from tunnel.errors import Code, LocalError
from tunnel.events import Closed, Established, Opened, Reset, TokenReceived
from tunnel.frames import FLAG_AUTH_OK, FLAG_AUTH_REFUSED, FrameType, frame
from tunnel.hello import VERSION, Hello
from tunnel.payload import Payload


def token_event(who: Hello, token: bytes = TOKEN) -> TokenReceived:
    return TokenReceived(who, Payload(token))


def test_the_dialer_says_hello_and_presents_its_token_at_once() -> None:
    with Playbook(dialer()) as play:
        play.does("goaway", Code.DRAINING)
        play.says(hello(AGENT), auth(), goaway(Code.DRAINING))


def test_dialer_comes_up() -> None:
    core = dialer()
    core.frames_to_send()
    with Playbook(core) as play:
        play.hears(hello(RELAY))
        play.hears(auth_ok()).tells((0, Established(RELAY, VALID_S)))
        play.says(FIRST_PING)
    assert core.phase is Phase.OPEN
    assert (core.peer, core.version) == (RELAY, VERSION)


def test_acceptor_comes_up() -> None:
    core = acceptor()
    with Playbook(core) as play:
        play.hears(hello(AGENT), auth())
        play.tells((0, token_event(AGENT))).says(hello(RELAY))
        play.does("accept", VALID_S).tells((0, Established(AGENT, VALID_S)))
        play.says(auth_ok(), FIRST_PING)
    assert core.phase is Phase.OPEN


def test_the_acceptor_gets_the_token_that_was_sent() -> None:
    ((_, event),) = acceptor().receive([memoryview(hello(AGENT)), memoryview(auth(b"x y"))], 0.0)
    assert isinstance(event, TokenReceived)
    assert (event.hello, event.token.reveal()) == (AGENT, b"x y")


def test_limits_in_hello_are_those_of_the_settings() -> None:
    settings = replace(SETTINGS, window_bytes=100_000, max_streams=7)
    said = dialer(settings).hello
    assert (said.window_bytes, said.max_streams) == (100_000, 7)


@pytest.mark.parametrize(
    ("ours", "theirs", "common"),
    [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((2, 5), (1, 2), 2), ((1, 9), (4, 4), 4)],
)
def test_the_highest_common_version_is_spoken(
    ours: tuple[int, int], theirs: tuple[int, int], common: int
) -> None:
    core = acceptor(hello=replace(RELAY, min_version=ours[0], max_version=ours[1]))
    peer = replace(AGENT, min_version=theirs[0], max_version=theirs[1])
    assert core.receive([memoryview(hello(peer))], 0.0) == []
    assert core.version == common


@pytest.mark.parametrize(("low", "high"), [(3, 4), (200, 255)])
def test_without_a_common_version_the_tunnel_ends(low: int, high: int) -> None:
    with Playbook(acceptor()) as play:
        play.hears(hello(replace(AGENT, min_version=low, max_version=high)))
        play.tells((0, Closed(Code.VERSION, by_peer=False)))
        play.says(hello(RELAY), goaway(Code.VERSION))


def test_fields_of_later_versions_are_ignored() -> None:
    table = {**json.loads(AGENT.encode()), "colour": "blue"}
    with Playbook(acceptor()) as play:
        play.hears(frame(FrameType.HELLO, payload=json.dumps(table).encode())).says(hello(RELAY))
        play.hears(auth()).tells((0, token_event(AGENT)))


def test_a_second_hello_ends_the_tunnel() -> None:
    with Playbook(established(Role.DIALER)) as play:
        play.hears(hello(RELAY)).tells((0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(goaway(Code.PROTOCOL))


@pytest.mark.parametrize(
    "first",
    [auth(), ping(bytes(8)), pong(bytes(8)), goaway(Code.DRAINING), open_(1), data(1, b"x")],
)
def test_nothing_comes_before_hello(first: bytes) -> None:
    with Playbook(acceptor()) as play:
        play.hears(first).tells((0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(hello(RELAY), goaway(Code.PROTOCOL))


def test_no_stream_before_authentication() -> None:
    with Playbook(acceptor()) as play:
        play.hears(hello(AGENT), auth(), open_(1))
        play.tells((0, token_event(AGENT)), (0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(hello(RELAY), goaway(Code.PROTOCOL))
        play.fails(LocalError, Code.TUNNEL_LOST, "open", REQUEST)


@pytest.mark.parametrize("verdict", [("accept", VALID_S), ("refuse", Code.AUTH_REFUSED)])
def test_a_verdict_that_comes_after_the_end_changes_nothing(verdict: tuple[str, object]) -> None:
    core = acceptor()
    with Playbook(core) as play:
        play.hears(hello(AGENT), auth(), b"junk")
        play.tells((0, token_event(AGENT)), (0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(hello(RELAY), goaway(Code.PROTOCOL))
        play.does(*verdict)
    assert core.phase is Phase.CLOSED


@pytest.mark.parametrize(
    "code", [Code.AUTH_REFUSED, Code.AUTH_EXPIRED, Code.NOT_READY, Code.REVOKED]
)
def test_a_refused_token_ends_the_tunnel_and_says_why(code: Code) -> None:
    with Playbook(acceptor()) as play:
        play.hears(hello(AGENT), auth()).tells((0, token_event(AGENT))).says(hello(RELAY))
        play.does("refuse", code).tells((0, Closed(code, by_peer=False))).says(auth_refused(code))
    with Playbook(dialer()) as play:
        play.hears(hello(RELAY)).says(hello(AGENT), auth())
        play.hears(auth_refused(code)).tells((0, Closed(code, by_peer=True)))


def test_the_token_is_refreshed_in_band() -> None:
    core = established(Role.ACCEPTOR)
    with Playbook(core, now=VALID_S - 1) as play:
        play.hears(open_(1)).tells((1, Opened(REQUEST, b"")))
        play.hears(auth(b"fresh")).tells((0, token_event(AGENT, b"fresh")))
        play.does("accept", 60.0).tells((0, Established(AGENT, 60.0)))
        play.says(auth_ok(60), ping((2).to_bytes(8, "big")))
        play.hears(pong(bytes(8)))
        play.at(VALID_S + 1)
    assert core.streams_open == 1
    with Playbook(established(Role.DIALER)) as play:
        play.does("authenticate", Payload(b"fresh")).says(auth(b"fresh"))
        play.hears(auth_ok(60)).tells((0, Established(RELAY, 60.0)))


def test_a_refused_refresh_ends_the_tunnel_with_its_streams() -> None:
    with Playbook(established(Role.ACCEPTOR)) as play:
        play.hears(open_(1)).tells((1, Opened(REQUEST, b"")))
        play.hears(auth()).tells((0, token_event(AGENT)))
        play.does("refuse", Code.REVOKED)
        play.tells((1, Reset(Code.TUNNEL_LOST)), (0, Closed(Code.REVOKED, by_peer=False)))
        play.says(auth_refused(Code.REVOKED))


def test_an_expired_token_ends_the_tunnel() -> None:
    core = established(Role.ACCEPTOR)
    core.receive([], VALID_S - 1)
    with Playbook(core, now=VALID_S - 1) as play:
        play.at(VALID_S - 0.5).says(ping((2).to_bytes(8, "big")))
        play.at(VALID_S).tells((0, Closed(Code.AUTH_EXPIRED, by_peer=False)))
        play.says(goaway(Code.AUTH_EXPIRED))
    assert core.deadline() > VALID_S


@pytest.mark.parametrize(("valid_s", "said"), [(-3.5, 0), (0.9, 0), (2.0**40, MAX_VALID_S)])
def test_validities_fit_the_wire(valid_s: float, said: int) -> None:
    with Playbook(acceptor()) as play:
        play.hears(hello(AGENT), auth()).tells((0, token_event(AGENT))).says(hello(RELAY))
        play.does("accept", valid_s).tells((0, Established(AGENT, valid_s)))
        play.says(auth_ok(said), FIRST_PING)


@pytest.mark.parametrize(
    ("role", "bad"),
    [
        (Role.DIALER, auth()),
        (Role.ACCEPTOR, auth_ok()),
        (Role.ACCEPTOR, auth_refused(Code.REVOKED)),
        (Role.DIALER, frame(FrameType.AUTH, payload=b"abc", flags=FLAG_AUTH_OK)),
        (Role.DIALER, frame(FrameType.AUTH, payload=b"abc", flags=FLAG_AUTH_REFUSED)),
        (Role.DIALER, frame(FrameType.AUTH, payload=b"abcd", flags=3)),
    ],
)
def test_auth_in_the_wrong_direction_or_shape(role: Role, bad: bytes) -> None:
    with Playbook(established(role)) as play:
        play.hears(bad).tells((0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(goaway(Code.PROTOCOL))


@pytest.mark.parametrize("role", list(Role))
def test_a_slow_handshake_is_cut_off(role: Role) -> None:
    core = dialer() if role is Role.DIALER else acceptor()
    core.frames_to_send()
    peer = RELAY if role is Role.DIALER else AGENT
    assert core.deadline() <= SETTINGS.handshake_s
    with Playbook(core, now=SETTINGS.handshake_s - 0.5) as play:
        play.hears(hello(peer))
        play.at(SETTINGS.handshake_s - 0.1).says(FIRST_PING)
        play.at(SETTINGS.handshake_s).tells((0, Closed(Code.TIMEOUT, by_peer=False)))
        play.says(goaway(Code.TIMEOUT))


def test_the_driver_is_called_when_the_token_expires() -> None:
    core = acceptor()
    core.receive([memoryview(hello(AGENT)), memoryview(auth())], 0.0)
    core.accept(1.5, 0.0)
    assert core.deadline() == 1.5


def test_who_presents_a_token() -> None:
    with pytest.raises(LocalError):
        Connection(Role.DIALER, AGENT, SETTINGS, now=0.0)
    with pytest.raises(LocalError):
        Connection(Role.ACCEPTOR, RELAY, SETTINGS, now=0.0, token=Payload(TOKEN))
