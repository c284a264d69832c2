"""What is fuzzed: for each parser of foreign bytes, a judge that says what became of them.

A judge takes bytes in pieces and returns something comparable. It lets documented errors of ours
pass as a verdict and anything else out: that is a finding. So is a verdict that depends on how the
bytes were cut, and an error that quotes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import fuzz_kube as kube
import fuzz_seeds as seeds
import trio
import trio.testing
from websockets.protocol import Protocol, Side, State

from compute_agent.logs.cri import Splitter, epoch_ns
from customer_stub.objects.aws_chunked import MODES, AwsChunked
from customer_stub.objects.errors import STATUS, S3Error
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.objects.sigv4 import verify
from relay import http1, serving
from relay.http_head import BadRequest, Request, parse_head
from relay.metrics import Metrics
from relay.policy import Policy, PolicyError
from relay.settings import RelaySettings
from tunnel.connection import Connection, Role
from tunnel.errors import RemoteError, TransportClosed
from tunnel.exchange import RequestHead, ResponseHead, Scope
from tunnel.hello import Hello
from tunnel.http.guard import CONNECT, STORE, Dialect, HttpGuard
from tunnel.settings import TunnelSettings
from tunnel.verifier import TUNNEL, VIEWER, TokenInvalid, Verifier, embedded_identity
from tunnel.websocket import WebSocketTransport

Pieces = Sequence[bytes]
Judge = Callable[[Pieces], Any]
SETTINGS = RelaySettings(max_head_bytes=1_024, max_headers=8)  # small: their bounds are reached too


@dataclass(frozen=True)
class Target:
    """One parser.

    Args:
        judge: what became of bytes that arrive in pieces.
        seeds: good bytes to begin with.
        words: what the format is made of.
        streams: whether bytes may arrive in pieces at all.
        cost: of one example, in examples of a cheap target.
    """

    judge: Judge
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    streams: bool = True
    cost: int = 1


def quotes_nothing(error: Exception) -> str:
    """Return an error's text, which must hold nothing of what was sent."""
    text = f"{error} {getattr(error, 'message', '')}"
    assert seeds.CANARY.decode() not in text
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return text


# The relay's HTTP edge.


async def _echo(http: http1.Http1, request: Request) -> None:
    body = await http.whole_body(300)
    headers = (("x-target", request.target), ("x-method", request.method))
    await http.answer(200, headers, body)


async def _served(pieces: Pieces) -> bytes:
    near, far = trio.testing.memory_stream_pair()
    answer = bytearray()

    async def feed() -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for piece in pieces:
                await near.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            await near.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        nursery.start_soon(serving.serve, far, SETTINGS, Metrics(), _echo)
        with suppress(trio.BrokenResourceError):
            while piece := await near.receive_some(65_536):
                answer += piece
        nursery.cancel_scope.cancel()
    return bytes(answer)


def http_edge(pieces: Pieces) -> Any:
    """Requests as the relay serves them; a refusal's words may depend on what arrived first."""
    answer = trio.run(_served, pieces, clock=trio.testing.MockClock(autojump_threshold=0))
    answer = answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")  # only for who waits
    if refused := answer.find(b"\r\nconnection: close\r\n") >= 0:
        at = answer.rfind(b"HTTP/1.1 ", 0, answer.find(b"\r\nconnection: close\r\n"))
        if answer[at : at + 12] != b"HTTP/1.1 200":
            assert seeds.CANARY not in answer[at:]
            answer = answer[:at]
    return answer, refused


def http_head(pieces: Pieces) -> Any:
    """One head, whole."""
    try:
        return parse_head(bytearray(b"".join(pieces)), max_headers=64)
    except BadRequest as error:
        return error.status, quotes_nothing(error)


def guarded(dialect: Dialect) -> Judge:
    """The guard in front of anycorn."""

    def judge(pieces: Pieces) -> tuple[bytes, bool]:
        guard = HttpGuard(dialect)
        return b"".join([guard.feed(piece) for piece in pieces]), guard.refused

    return judge


# The tunnel.


def _transport() -> WebSocketTransport:
    near, _ = trio.testing.memory_stream_pair()
    return WebSocketTransport(near, Protocol(Side.SERVER, state=State.OPEN, max_size=2_000))


async def _received(pieces: Pieces) -> Any:
    transport = _transport()
    near, far = trio.testing.memory_stream_pair()
    transport._stream = far
    messages: list[bytes] = []

    async def feed() -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for piece in pieces:
                await near.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            await near.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        try:
            while True:
                messages += map(bytes, await transport.receive())
        except TransportClosed as error:
            quotes_nothing(error)
        nursery.cancel_scope.cancel()
    close = transport._protocol.close_sent
    return messages, close.code if close else None


def websocket_frames(pieces: Pieces) -> Any:
    """WebSocket frames as an accepted tunnel reads them."""
    return trio.run(_received, pieces, clock=trio.testing.MockClock(autojump_threshold=0))


def _frames(data: bytes) -> list[memoryview]:
    """Read u8 lengths and so many bytes each."""
    found, at = [], 0
    while at < len(data):
        found.append(memoryview(data[at + 1 : at + 1 + data[at]]))
        at += 1 + data[at]
    return found


def tunnel_core(pieces: Pieces) -> Any:
    """Frames at the relay's end of an authenticated tunnel, all at once and one by one."""
    frames = _frames(b"".join(pieces))
    verdicts = [_core_verdict([frames]), _core_verdict([[frame] for frame in frames])]
    assert verdicts[0] == verdicts[1]
    return verdicts[0]


def _core_verdict(reads: list[list[memoryview]]) -> Any:
    core = Connection(Role.ACCEPTOR, seeds.RELAY, TunnelSettings(), now=0.0)
    core.receive([memoryview(frame) for frame in seeds.HANDSHAKE], 0.0)
    core.accept(60.0, 0.0)
    core.frames_to_send()
    events = []
    for read in reads:
        events += [(stream, type(event).__name__) for stream, event in core.receive(read, 0.0)]
    sent = [bytes(b"".join(frame)) for frame in core.frames_to_send()]
    assert not any(seeds.CANARY in frame for frame in sent)
    return events, core.phase, core.streams_open, core.granted_bytes


def documents(pieces: Pieces) -> Any:
    """HELLO and the heads of exchanges."""
    data, verdicts = b"".join(pieces), []
    decoders: tuple[Callable[[bytes], Any], ...] = (
        Hello.decode,
        RequestHead.decode,
        ResponseHead.decode,
    )
    for decode in decoders:
        try:
            value = decode(data)
        except RemoteError as error:
            quotes_nothing(error)
            verdicts.append(error.code)
        else:
            assert decode(value.encode()) == value
            verdicts.append(value)
    return verdicts


def paths(pieces: Pieces) -> Any:
    """A viewer's path."""
    try:
        return Scope.from_path(b"".join(pieces).decode("latin-1"))
    except ValueError as error:
        return quotes_nothing(error)


# Papers.


def tokens(pieces: Pieces) -> Any:
    """A token for each of two purposes."""
    token, verdicts = b"".join(pieces), []
    for kind in (VIEWER, TUNNEL):
        try:
            claims = Verifier().verify(token, seeds.KEYS, kind, seeds.ISSUER, seeds.NOW_S)
        except TokenInvalid as error:
            quotes_nothing(error)
            verdicts.append(error.expired)
        else:
            assert token in seeds.GOOD_TOKENS, "a token that nobody signed is good"
            verdicts.append((claims["sub"], embedded_identity(token.decode())))
    return verdicts


def policies(pieces: Pieces) -> Any:
    """What the control plane pushes."""
    try:
        return bool(Policy.from_json(b"".join(pieces)).keys)
    except PolicyError as error:
        return quotes_nothing(error)


def signatures(pieces: Pieces) -> Any:
    """A signed request: method, target and headers, each in a line."""
    method, target, *lines = (b"".join(pieces) + b"\n").split(b"\n")
    path, _, query = target.partition(b"?")
    fields = [line.partition(b":")[::2] for line in lines]
    scope = {"method": method.decode("latin-1"), "raw_path": path, "query_string": query}
    try:
        request = S3Request({**scope, "headers": fields})
        signed = verify(request, seeds.IDENTITIES, ObjectsSettings(), now_s=seeds.SIGNED_AT_S)
    except S3Error as error:
        refusal = error
    else:
        # Only spaces, case and order, which no signature covers, may differ from a seed.
        assert (request.method, request.bucket, request.key) == ("GET", "b", "k")
        return signed.identity.name
    assert seeds.SECRET.decode() not in quotes_nothing(refusal)
    return refusal.code, STATUS[refusal.code]


def aws_chunks(pieces: Pieces) -> Any:
    """A body of signed or unsigned chunks, in each mode."""
    return [_decoded(mode, pieces) for mode in MODES]


def _decoded(mode: str, pieces: Pieces) -> Any:
    decoder, content = AwsChunked(mode, seeds.SIGNED), b""
    try:
        for piece in pieces:
            content += b"".join(decoder.feed(piece))
        decoder.finish()
    except S3Error as error:
        quotes_nothing(error)
        return "refused"  # how much of a bad body was passed on depends on how it came
    return content, decoder.trailers


# Logs.


def cri_records(pieces: Pieces) -> Any:
    """Records of a container's log file; whatever is none comes back whole."""
    splitter = Splitter(0, 64)
    records = [record for piece in pieces for record in splitter.feed(piece)]
    records += splitter.flush()
    assert sum(record.end - record.offset for record in records) == len(b"".join(pieces))
    return records


def timestamps(pieces: Pieces) -> Any:
    """The time in front of a record."""
    try:
        return epoch_ns(b"".join(pieces))
    except ValueError:
        return None


TARGETS = {
    "http edge": Target(http_edge, seeds.REQUESTS, seeds.HTTP_WORDS, cost=8),
    "http head": Target(http_head, seeds.HEADS, seeds.HTTP_WORDS, streams=False),
    "guard, connect": Target(guarded(CONNECT), seeds.REQUESTS, seeds.HTTP_WORDS),
    "guard, stores": Target(guarded(STORE), seeds.REQUESTS, seeds.HTTP_WORDS),
    "websocket frames": Target(websocket_frames, seeds.SOCKET, seeds.SOCKET_WORDS, cost=8),
    "tunnel core": Target(tunnel_core, seeds.TUNNEL, seeds.TUNNEL_WORDS, streams=False),
    "documents": Target(documents, seeds.DOCUMENTS, seeds.JSON_WORDS, streams=False),
    "paths": Target(paths, seeds.PATHS, seeds.PATH_WORDS, streams=False),
    "tokens": Target(tokens, seeds.TOKENS, seeds.TOKEN_WORDS, streams=False),
    "policies": Target(policies, seeds.POLICIES, seeds.JSON_WORDS, streams=False),
    "signatures": Target(signatures, seeds.SIGNATURES, seeds.SIGNATURE_WORDS, streams=False),
    "aws chunks": Target(aws_chunks, seeds.CHUNKS, seeds.CHUNK_WORDS),
    "kubernetes bodies": Target(kube.bodies, kube.BODIES, kube.JSON_WORDS, False, cost=4),
    "kubernetes patches": Target(kube.patches, kube.PATCHES, kube.JSON_WORDS, False, cost=2),
    "kubernetes protobuf": Target(kube.messages, kube.MESSAGES, kube.MESSAGE_WORDS, streams=False),
    "cri records": Target(cri_records, seeds.RECORDS, seeds.RECORD_WORDS),
    "timestamps": Target(timestamps, seeds.STAMPS, seeds.RECORD_WORDS, streams=False),
}


def check(name: str, data: bytes, cuts: Sequence[int] = ()) -> None:
    """Judge bytes whole, cut at some places, and byte by byte; all verdicts are the same.

    Raises:
        AssertionError, or anything else: a finding.
    """
    target = TARGETS[name]
    verdict = target.judge([data])
    if target.streams and data:
        places = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
        some = [data[a:b] for a, b in pairwise(places)]
        each = [data[at : at + 1] for at in range(len(data))]
        for pieces in (some, each):
            assert target.judge(pieces) == verdict, "it depends on how the bytes arrive"
