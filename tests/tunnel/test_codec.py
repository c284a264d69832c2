"""Frames, HELLO and heads: round trips, and nothing but documented errors for any bytes."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from cast import AGENT, ANSWER, REQUEST
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import RemoteError
from tunnel.exchange import (
    MAX_HEAD_BYTES,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    RequestHead,
    ResponseHead,
    Scope,
    allowed,
)
from tunnel.frames import (
    HEADER_BYTES,
    MAX_DATA_BYTES,
    MAX_FRAME_BYTES,
    MAX_HELLO_BYTES,
    MIN_FRAME_BYTES,
    RULES,
    FrameType,
    frame,
    header,
    parse,
)
from tunnel.hello import MAX_WINDOW_BYTES, Hello

names = st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True)
segments = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}|-", fullmatch=True)
paths = st.from_regex(r"/[A-Za-z0-9_.]{1,200}/[A-Za-z0-9_]{1,100}", fullmatch=True)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=512)
versions = st.integers(1, 255)
scopes = st.builds(Scope, segments, segments, segments, segments)
hellos = st.builds(
    Hello,
    org=names,
    cluster=names,
    server_id=names,
    slot=st.integers(0, 255),
    epoch=st.integers(0, 2**63),
    min_version=versions,
    max_version=versions,
    max_frame_bytes=st.integers(MIN_FRAME_BYTES, MAX_FRAME_BYTES),
    window_bytes=st.integers(0, MAX_WINDOW_BYTES),
    max_streams=st.integers(0, 2**31),
)


def headers(allow: frozenset[str]) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    pairs = st.tuples(st.sampled_from(sorted(allow)), texts)
    return st.lists(pairs, max_size=len(allow)).map(tuple)


requests = st.builds(
    RequestHead, st.sampled_from(["GET", "POST"]), paths, scopes, segments, headers(REQUEST_HEADERS)
)
responses = st.builds(ResponseHead, st.integers(200, 599), headers(RESPONSE_HEADERS))


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[FrameType, int, int, bytes]:
    """Type, flags, stream id and payload of a frame that keeps its type's rule."""
    kind = draw(st.sampled_from(FrameType))
    rule = RULES[kind]
    flags = draw(st.sampled_from(rule.flags))
    stream_id = draw(st.integers(1, 2**32 - 1)) if rule.on_stream else 0
    size = draw(st.integers(rule.low_bytes, min(rule.high_bytes, rule.low_bytes + 64)))
    return kind, flags, stream_id, draw(st.binary(min_size=size, max_size=size))


@given(well_formed())
def test_frames_round_trip(parts: tuple[FrameType, int, int, bytes]) -> None:
    kind, flags, stream_id, payload = parts
    data = frame(kind, stream_id, payload, flags)
    assert data == header(kind, stream_id, flags) + payload
    got_kind, got_flags, got_id, body = parse(memoryview(data))
    assert (got_kind, got_flags, got_id, bytes(body)) == (*parts[:3], payload)
    assert body.obj is data


@given(st.binary(max_size=64), st.integers(0, 64))
def test_any_bytes_parse_or_are_refused(data: bytes, limit: int) -> None:
    with contextlib.suppress(RemoteError):
        _, _, _, body = parse(memoryview(data), limit)
        assert HEADER_BYTES + len(body) == len(data) <= limit


def test_every_type_has_a_rule_within_the_limits() -> None:
    assert set(RULES) == set(FrameType)
    assert all(r.high_bytes <= MAX_DATA_BYTES for r in RULES.values())
    longest = max(r.high_bytes for kind, r in RULES.items() if kind is not FrameType.DATA)
    assert longest + HEADER_BYTES == MIN_FRAME_BYTES


# HELLO.


@given(hellos)
def test_hello_round_trips_and_fits(who: Hello) -> None:
    encoded = who.encode()
    assert Hello.decode(encoded) == who
    assert len(encoded) <= MAX_HELLO_BYTES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_garbage_is_no_hello_and_no_head(data: bytes) -> None:
    for decode in (Hello.decode, RequestHead.decode, ResponseHead.decode):
        with pytest.raises(RemoteError):
            decode(data)


@given(st.sampled_from(sorted(asdict(AGENT))), json_values)
def test_one_strange_field_makes_no_hello_or_a_valid_one(field: str, value: Any) -> None:
    decodes_or_is_refused(Hello, {**asdict(AGENT), field: value})


@given(st.sampled_from("mpsvh"), json_values)
def test_one_strange_field_makes_no_request(field: str, value: Any) -> None:
    decodes_or_is_refused(RequestHead, {**json.loads(REQUEST.encode()), field: value})


@given(st.sampled_from("ch"), json_values)
def test_one_strange_field_makes_no_response(field: str, value: Any) -> None:
    decodes_or_is_refused(ResponseHead, {**json.loads(ANSWER.encode()), field: value})


def decodes_or_is_refused(cls: Any, table: dict[str, Any]) -> None:
    with contextlib.suppress(RemoteError):
        value = cls.decode(json.dumps(table).encode())
        assert cls.decode(value.encode()) == value


# Heads.


@given(requests)
def test_request_heads_round_trip_and_fit(head: RequestHead) -> None:
    encoded = head.encode()
    assert RequestHead.decode(encoded) == head
    assert len(encoded) <= MAX_HEAD_BYTES


@given(responses)
def test_response_heads_round_trip_and_fit(head: ResponseHead) -> None:
    encoded = head.encode()
    assert ResponseHead.decode(memoryview(encoded)) == head
    assert len(encoded) <= MAX_HEAD_BYTES


def test_the_longest_possible_heads_fit() -> None:
    worst = '"' * 512
    full = tuple((name, worst) for name in sorted(REQUEST_HEADERS))
    name = "n" * 128
    path = f"/{'s' * 200}/{'m' * 100}"
    head = RequestHead("POST", path, Scope(name, name, name, name), name, full)
    assert len(head.encode()) <= MAX_HEAD_BYTES
    assert RequestHead.decode(head.encode()) == head


@pytest.mark.parametrize(
    ("method", "path", "viewer", "headers"),
    [
        ("PUT", "/a/b", "ann", ()),
        ("POST", "a/b", "ann", ()),
        ("POST", "/a/b/c", "ann", ()),
        ("POST", "/a/../b", "ann", ()),
        ("POST", "/a/b?c", "ann", ()),
        ("POST", "/a/b\n", "ann", ()),
        ("POST", "/a/b", "", ()),
        ("POST", "/a/b", "ann smith", ()),
        ("POST", "/a/b", "ann", (("authorization", "Bearer x"),)),
        ("POST", "/a/b", "ann", (("Content-Type", "x"),)),
        ("POST", "/a/b", "ann", (("content-type", "x\r\ny: z"),)),
        ("POST", "/a/b", "ann", (("content-type", "x" * 513),)),
        ("POST", "/a/b", "ann", (("content-type", "x"),) * (len(REQUEST_HEADERS) + 1)),
    ],
)
def test_a_head_that_the_peer_would_refuse_cannot_be_made(
    method: str, path: str, viewer: str, headers: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(ValueError, match="head"):
        RequestHead(method, path, REQUEST.scope, viewer, headers)

    good = json.loads(REQUEST.encode())
    bad = {**good, "m": method, "p": path, "v": viewer, "h": headers}
    with pytest.raises(RemoteError):
        RequestHead.decode(json.dumps(bad).encode())


@pytest.mark.parametrize("proof", ["a b", "a\n", "é"], ids=["space", "newline", "not-ascii"])
def test_a_proof_that_is_no_token_is_not_sent(proof: str) -> None:
    with pytest.raises(ValueError, match="proof"):
        replace(REQUEST, proof=proof)


@pytest.mark.parametrize("status", [0, 100, 199, 600, True, "200", 200.0, None])
def test_a_status_is_a_final_one(status: Any) -> None:
    with pytest.raises(ValueError, match="status"):
        ResponseHead(status)
    with pytest.raises(RemoteError):
        ResponseHead.decode(json.dumps({"c": status, "h": []}).encode())


@pytest.mark.parametrize(
    "pairs", [{"content-type": "x"}, "xy", [["content-type"]], [["content-type", 1]], ["ab"], [{}]]
)
def test_headers_are_pairs_of_text(pairs: object) -> None:
    with pytest.raises(RemoteError):
        ResponseHead.decode(json.dumps({"c": 200, "h": pairs}).encode())


@pytest.mark.parametrize("scope", ["acme", ["a", "b", "c"], ["a", "b", "c", 1], {}, ["a"] * 5])
def test_a_scope_is_four_names(scope: object) -> None:
    table = {**json.loads(REQUEST.encode()), "s": scope}
    with pytest.raises(RemoteError):
        RequestHead.decode(json.dumps(table).encode())


def test_headers_are_read_by_name() -> None:
    assert ANSWER.get("content-type") == "application/connect+proto"
    assert ANSWER.get("content-encoding", "identity") == "identity"
    head = RequestHead("POST", "/a/b", REQUEST.scope, "ann", (("planesplit-lines", "10"),))
    assert (head.get("planesplit-lines"), head.get("planesplit-since")) == ("10", "")


def test_allowed_keeps_what_may_cross() -> None:
    given_ = (("Content-Type", "a"), ("Authorization", "b"), ("connect-timeout-ms", "c\x00"))
    assert allowed(given_, REQUEST_HEADERS) == (("content-type", "a"),)


# Scope.


@given(scopes, paths)
def test_scopes_round_trip_through_paths(scope: Scope, rest: str) -> None:
    assert Scope.from_path(scope.prefix + rest) == (scope, rest)


@given(st.text(st.sampled_from("/r.-a%\n\x00é"), max_size=24))
def test_any_path_is_a_scope_or_a_value_error(path: str) -> None:
    with contextlib.suppress(ValueError):
        scope, rest = Scope.from_path(path)
        assert scope.prefix + rest == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/r/a/b/c/d",
        "/r/a/b/c/d/svc",
        "/r/a/b/c/d/svc/m/x",
        "/q/a/b/c/d/svc/m",
        "r/a/b/c/d/svc/m",
        "/r//b/c/d/svc/m",
        "/r/../b/c/d/svc/m",
        "/r/a b/b/c/d/svc/m",
        "/r/a/b/c/d/svc/m\n",
        "/r/" + "a" * 129 + "/b/c/d/svc/m",
    ],
)
def test_paths_of_another_shape(path: str) -> None:
    with pytest.raises(ValueError, match=r"path|scope"):
        Scope.from_path(path)
