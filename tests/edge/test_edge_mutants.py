"""Each defence removed, one at a time: a row of the table or a flood must notice.

A mutant is a piece of a function's source put in another's place, or another value of a constant.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest
import test_edge_crowds as crowds
import test_edge_floods as floods
from edge_rows import CHUNKS, HEADS, UPGRADES
from test_edge_table import check_refused

HEAD, GUARD, HTTP1 = "relay.http_head", "tunnel.http.guard", "relay.http1"
SOCKET, PATIENCE, DOOR = "tunnel.websocket", "tunnel.http.patience", "relay.server"
SERVER = "tunnel.http.server"


@dataclass(frozen=True)
class Mutant:
    """A defence that is gone.

    Args:
        place: module and function or method.
        old, new: what is replaced in its source.
        listener, row: of the table; or
        flood: a test of its own.
    """

    place: tuple[str, str]
    old: str
    new: str
    listener: str = ""
    row: str = ""
    flood: str = ""


def _relay(function: str, old: str, new: str, row: str) -> Mutant:
    return Mutant((HEAD, function), old, new, "viewer", row)


def _guard(function: str, old: str, new: str, row: str, listener: str = "customer") -> Mutant:
    return Mutant((GUARD, function), old, new, listener, row)


MUTANTS = {
    # The relay's edge.
    "relay: bare line breaks": _relay(
        "check_start",
        "_LONE_BREAK.search(data, max(0, seen - 1))",
        "False",
        "bare lf after a header",
    ),
    "relay: garbage waits for a deadline": _relay(
        "check_start", "not 0x41 <= data[0] <= 0x5A", "False", "tls without an end"
    ),
    "relay: number of headers": _relay(
        "_check_lines", "len(lines) > max_headers", "False", "many headers"
    ),
    "relay: folded lines": _relay(
        "_check_lines", 'line[:1] in (b" ", b"\\t")', "False", "obs-fold"
    ),
    "relay: single headers": _relay(
        "_check_lines", "names.count(name) > 1", "False", "two equal lengths"
    ),
    "relay: cl with te": _relay(
        "_check_lines", 'b"content-length" in names and', "False and", "cl and te"
    ),
    "relay: lists of lengths": _relay("_check_lines", 'b"," in line', "False", "a list of lengths"),
    "relay: other versions": _relay(
        "_checked", 'event.http_version != b"1.1"', "False", "http 1.0"
    ),
    "relay: upgrades": _relay(
        "_checked", '"upgrade" in found or "upgrade" in options', "False", "websocket upgrade"
    ),
    "relay: h2c settings": _relay(
        "_checked", 'or "http2-settings" in found', "", "h2c settings alone"
    ),
    "relay: forms of target": _relay(
        "_checked", "not _TARGET.fullmatch(target)", "False", "absolute form"
    ),
    "relay: length of target": _relay(
        "_checked", "len(target) > MAX_TARGET_BYTES", "False", "endless target"
    ),
    "relay: digits of a length": _relay(
        "_length", "len(value) > 18", "False", "length of 19 digits"
    ),
    "relay: chunk sizes": _relay(
        "chunk_size", "_CHUNK_LINE.fullmatch(line)", "_CHUNK_LINE.match(line)", "extension"
    ),
    "relay: size of a head": Mutant(
        (HTTP1, "Http1._head"), "len(self._buffer) >= limit", "False", "viewer", "endless header"
    ),
    "relay: length of a chunk's line": Mutant(
        (HTTP1, "Http1._line"),
        'self._buffer.find(b"\\n", MAX_CHUNK_LINE_BYTES) >= 0',
        "False",
        "viewer",
        "bare lf after a size, then silence",
    ),
    "relay: trailers": Mutant(
        (HTTP1, "Http1._begin_chunk"), "size == 0 and", "False and", "viewer", "trailer"
    ),
    "relay: end of a chunk": Mutant(
        (HTTP1, "Http1._begin_chunk"),
        "self._chunk_ends and await self._line()",
        "self._chunk_ends and await self._line() and False",
        "viewer",
        "chunk longer than its size",
    ),
    "relay: turn between requests": Mutant(
        (HTTP1, "Http1.next_request"),
        "await trio.lowlevel.checkpoint()",
        "pass",
        flood="test_others_have_a_turn_between_pipelined_requests",
    ),
    "relay: turn between chunks": Mutant(
        (HTTP1, "Http1.body"),
        "await trio.lowlevel.checkpoint()",
        "pass",
        flood="test_others_have_a_turn_between_tiny_chunks",
    ),
    "relay: a head is read once": Mutant(
        (HTTP1, "Http1._head"),
        "seen = len(self._buffer)",
        "seen = 0",
        flood="test_a_head_that_drips_is_not_read_again_and_again",
    ),
    # The guard in front of anycorn, and in front of the WebSocket library.
    "guard: foreign methods": _guard(
        "read_head", "match[1] not in dialect.methods", "False", "foreign method", "control plane"
    ),
    "guard: request line": _guard("read_head", "match is None", "False", "absolute form"),
    "guard: early refusal": _guard(
        "check_partial", "not any(", "not (lambda _: True)(", "tls without an end"
    ),
    "guard: bare lf at once": _guard(
        "check_partial", "_BARE_LF.search(data, start)", "False", "only bare lf"
    ),
    "guard: number of headers": _guard(
        "read_head", "len(rest) > MAX_HEADERS", "False", "many headers"
    ),
    "guard: no host": _guard(
        "read_head", 'b"host" not in fields', "False", "an upgrade without a host", "agent"
    ),
    "guard: upgrades": _guard(
        "read_head", 'b"upgrade" in fields or', "", "websocket upgrade", "control plane"
    ),
    "guard: h2c settings": _guard(
        "read_head", 'or b"http2-settings" in fields', "", "h2c settings alone"
    ),
    "guard: single headers": _guard("_fields", "name in _SINGLE", "False", "two equal lengths"),
    "guard: shape of a field": _guard(
        "_fields",
        "if match is None:\n            raise Ambiguous",
        "if match is None: continue",
        "obs-fold",
    ),
    "guard: cl with te": _guard("HttpGuard._begin_body", "length is not None or", "", "cl and te"),
    "guard: other codings": _guard(
        "HttpGuard._begin_body", 'or coding.lower() != b"chunked"', "", "coding gzip"
    ),
    "guard: lengths": _guard(
        "HttpGuard._begin_body", "not _DIGITS.fullmatch(length)", "False", "a list of lengths"
    ),
    "guard: size of a head": _guard(
        "HttpGuard._head", "size > self._dialect.max_head_bytes", "False", "endless header"
    ),
    "guard: chunk lines": _guard(
        "HttpGuard._chunk_line", "not _CHUNK_LINE.fullmatch(line)", "False", "extension"
    ),
    "guard: length of a chunk's line": _guard(
        "HttpGuard._chunk_line",
        "len(self._pending) >= _MAX_CHUNK_LINE_BYTES",
        "False",
        "endless size",
    ),
    "guard: trailers": Mutant(
        (GUARD, "HttpGuard._chunk_end"),
        'not b"\\r\\n".startswith(bytes(self._pending[:2]))',
        "False",
        flood="test_no_octet_of_a_trailer_passes_the_guard",
    ),
    "guard: slow bodies": Mutant(
        (SERVER, "GuardedStream._receive"),
        "with self._patience.scope():",
        "if True:",
        flood="test_a_body_that_drips_runs_out_of_patience(customer)",
    ),
    "agents: head of an upgrade": Mutant(
        (SOCKET, "WebSocketTransport.read_head"),
        "read_head(data[:end], UPGRADE)",
        "pass",
        "agent",
        "two hosts",
    ),
    "agents: size of a head": Mutant(
        (SOCKET, "WebSocketTransport.read_head"),
        ">= UPGRADE.max_head_bytes",
        "< 0",
        "agent",
        "endless header",
    ),
    "agents: origin": Mutant(
        (SOCKET, "accept_websocket"), "origins=[None], ", "", "agent", "an origin"
    ),
    "agents: path": Mutant(
        (SOCKET, "accept_websocket"), "request.path != path", "False", "agent", "another path"
    ),
    "agents: turns of a read": Mutant(
        (SOCKET, "WebSocketTransport._decode"),
        "FRAMES_IN_A_TURN - len(messages) - others",
        "1_000_000",
        flood="test_tiny_frames_of_one_read_are_decoded_in_turns",
    ),
    "agents: pings count more": Mutant(
        (SOCKET, "WebSocketTransport._decode"),
        "others += OTHER_FRAME",
        "others += 0",
        flood="test_pings_of_one_read_are_answered_in_turns",
    ),
    "agents: costly frames": Mutant(
        (SOCKET, "WebSocketTransport._portion"),
        "len(messages) > COSTLY_IN_A_TURN",
        "False",
        flood="test_frames_that_cost_more_are_handed_out_in_turns(ping)",
    ),
    "agents: held frames before the end": Mutant(
        (SOCKET, "WebSocketTransport.receive"),
        "(self._ahead or self._held)",
        "self._ahead",
        flood="test_costly_frames_between_others_keep_their_order",
    ),
    "agents: pongs that wait": Mutant(
        (SOCKET, "WebSocketTransport._reply"),
        "self._pongs > MAX_PONGS",
        "False",
        flood="test_a_peer_that_pings_and_does_not_read_is_cut_off",
    ),
    "agents: fragments": Mutant(
        (SOCKET, "WebSocketTransport._collect"),
        "self._fragment_count >= MAX_FRAGMENTS",
        "False",
        flood="test_a_message_in_too_many_fragments_is_cut_off(empty)",
    ),
    # All.
    "patience is renewed by any byte": Mutant(
        (PATIENCE, "Patience.got"),
        "self._left_s - waited_s + count / self._rate",
        "self._most_s",
        flood="test_a_body_that_drips_runs_out_of_patience(viewer)",
    ),
    "connections of an address": Mutant(
        (DOOR, "Door._full"),
        "self._of_peer[peer] >= limits.max_connections_per_peer",
        "False",
        flood="test_one_address_cannot_take_a_whole_listener",
    ),
    "connections of a listener": Mutant(
        (DOOR, "Door._full"),
        "self._open >= limits.max_connections",
        "False",
        flood="test_who_has_no_address_is_only_counted_in_all",
    ),
    "an address is forgotten": Mutant(
        (DOOR, "Door._count"),
        "if not self._of_peer[peer]:",
        "if False:",
        flood="test_who_leaves_makes_room_and_is_forgotten",
    ),
    "deadline of a handshake": Mutant(
        (DOOR, "Door._secure"),
        "trio.move_on_after(self._relay.settings.handshake_s)",
        "trio.move_on_after(1_000)",
        flood="test_a_handshake_that_never_ends_runs_into_its_deadline",
    ),
}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "test_frames_that_cost_more_are_handed_out_in_turns(ping)": {"kind": floods.PING},
    "test_a_body_that_drips_runs_out_of_patience(viewer)": {"listener": "viewer"},
    "test_a_body_that_drips_runs_out_of_patience(customer)": {"listener": "customer"},
    "test_a_message_in_too_many_fragments_is_cut_off(empty)": {"payload": b""},
}


def plant(mutant: Mutant, patch: pytest.MonkeyPatch) -> None:
    """Put the mutant in the place of the function, wherever it was imported to."""
    module_name, path = mutant.place
    module = importlib.import_module(module_name)
    *owners, name = path.split(".")
    owner = getattr(module, owners[0]) if owners else module
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(mutant.old) == 1, f"{path} has changed: {mutant.old}"
    code = compile(source.replace(mutant.old, mutant.new), f"<mutant of {path}>", "exec")
    planted: dict[str, Any] = {}
    exec(code, vars(module), planted)
    patch.setattr(owner, name, planted[name])
    if not owners:
        for other in [m for m in sys.modules.values() if getattr(m, name, None) is function]:
            patch.setattr(other, name, planted[name])


async def notice(mutant: Mutant, fixtures: dict[str, Any]) -> None:
    """Run what has to notice."""
    if mutant.flood:
        name = mutant.flood.partition("(")[0]
        test = getattr(floods, name, None) or getattr(crowds, name)
        given = {**fixtures, **ARGUMENTS.get(mutant.flood, {})}
        await test(**{key: given[key] for key in inspect.signature(test).parameters})
        return
    for table, reads in ((HEADS, False), (UPGRADES, False), (CHUNKS, True)):
        if mutant.row in table:
            for split in (False, True):
                await check_refused(mutant.listener, table[mutant.row], split=split, reads=reads)


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    autojump_clock: Any,
) -> None:
    mutant = MUTANTS[name]
    fixtures = {
        "monkeypatch": monkeypatch,
        "tmp_path": tmp_path,
        "autojump_clock": autojump_clock,
    }
    if not mutant.flood:
        await notice(mutant, fixtures)  # without the mutant all is well
    plant(mutant, monkeypatch)
    try:
        await notice(mutant, fixtures)
    except Exception:
        return
    pytest.fail(f"nobody noticed: {name}")
