"""Good bytes to begin with, what formats are made of, and every case that once was a finding."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from calendar import timegm

from joserfc import jwt
from joserfc.jwk import OKPKey

from customer_stub.objects.aws_chunked import SIGNED_CHUNKS
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import Identity
from customer_stub.objects.sigv4 import (
    ALGORITHM,
    UNSIGNED,
    Claim,
    Signed,
    _string_to_sign,
    sign,
    signing_key,
)
from tunnel.exchange import RequestHead, ResponseHead, Scope
from tunnel.frames import GOAWAY_BODY, U16, U32, FrameType, frame
from tunnel.hello import Hello
from tunnel.verifier import import_keys

CANARY = b"c4n4ry-of-the-fuzzer"

# HTTP.

GET = b"GET /livez?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n"
)
CLOSING = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
EXPECTING = POST.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue")
REQUESTS = (GET, POST, CHUNKED, CLOSING, EXPECTING, GET + POST + CHUNKED + GET)
HEADS = tuple(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for data in REQUESTS)
HTTP_WORDS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b"\0", b"\xff", b"\x0b", b"\r\n ",
    b"Content-Length: 5\r\n", b"content-length:0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Host: b\r\n", b"Upgrade: h2c\r\n", b"Connection: upgrade\r\n",
    b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\n",
    b"GET ", b"POST ", b"http://a/", b"*", b"0\r\n\r\n", b"1\r\nx\r\n", b"fffffffff", b";a=b",
    b"X: " + CANARY + b"\r\n", b"X: y\r\n" * 9, b"y" * 1_000,
)  # fmt: skip

# WebSocket frames of a client, unmasked by a key of zeros.

KEY0 = bytes(4)


def socket_frame(first: int, payload: bytes = b"") -> bytes:
    """A frame with a key of zeros, its length in the shortest form."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + KEY0 + payload


SOCKET = (
    socket_frame(0x82, b"\x05payload"),
    socket_frame(0x82, bytes(300)),
    socket_frame(0x02, b"ab") + socket_frame(0x00, b"cd") + socket_frame(0x80, b"ef"),
    socket_frame(0x89, b"ping") + socket_frame(0x82, CANARY) + socket_frame(0x8A),
    socket_frame(0x88, b"\x03\xe8bye"),
    socket_frame(0x02, b"a") + socket_frame(0x89) + socket_frame(0x80, b"b"),
)
SOCKET_WORDS = (
    b"\x82\x80" + KEY0, b"\x02\x80" + KEY0, b"\x80\x80" + KEY0, b"\x00\x80" + KEY0,
    b"\x89\x80" + KEY0, b"\x8a\x80" + KEY0, b"\x88\x80" + KEY0, b"\x81\x80" + KEY0,
    b"\x82\x00", b"\x82\xff" + b"\xff" * 8 + KEY0, b"\x82\xfe\xff\xff" + KEY0, b"\xc2", b"\x92",
    b"\x82\xff" + bytes(7) + b"\x05" + KEY0, b"\x83", b"\x89\xfe\x00\x80" + KEY0, CANARY,
    socket_frame(0x82, b"\x0a\0\0\0\0\0\0\0") * 40, socket_frame(0x89, b"x") * 40,
)  # fmt: skip

# The tunnel: u8 length and a frame, again and again.

AGENT, RELAY = Hello("acme", "c1", "agent-1"), Hello("-", "-", "relay-1")
HANDSHAKE = (frame(FrameType.HELLO, payload=AGENT.encode()), frame(FrameType.AUTH, payload=b"t"))
REQUEST = RequestHead("POST", "/a.B/C", Scope("acme", "-", "-", "c1"), "agent:c1", ()).encode()
ANSWER = ResponseHead(200, (("content-type", "application/proto"),)).encode()
OPEN = U16.pack(len(REQUEST)) + REQUEST


def listed(*frames: bytes) -> bytes:
    """Frames with their lengths in front."""
    return b"".join(bytes([len(each)]) + each for each in frames)


TUNNEL = (
    listed(
        frame(FrameType.OPEN, 1, OPEN + b"cursor"),
        frame(FrameType.DATA, 1, b"\x05" + CANARY),
        frame(FrameType.MARK, 1, b"m"),
        frame(FrameType.END, 1),
    ),
    listed(frame(FrameType.OPEN, 1, OPEN), frame(FrameType.RESET, 1, U16.pack(11))),
    listed(frame(FrameType.PING, payload=bytes(8)), frame(FrameType.PONG, payload=bytes(8))),
    listed(frame(FrameType.GOAWAY, payload=GOAWAY_BODY.pack(0, 9))),
    listed(frame(FrameType.OPEN, 3, OPEN), frame(FrameType.CREDIT, 3, U32.pack(2**31 - 1))),
    listed(frame(FrameType.AUTH, payload=CANARY)),
)
TUNNEL_WORDS = (
    *(
        listed(frame(kind, stream, payload))
        for kind in FrameType
        for stream, payload in ((0, b""), (1, b""), (1, b"xy"), (3, b"abcd"), (2, CANARY))
    ),
    *(b"\x00", b"\xff", b"\x08", listed(frame(FrameType.OPEN, 5, OPEN))),
)

DOCUMENTS = (AGENT.encode(), RELAY.encode(), REQUEST, ANSWER)
JSON_WORDS = (
    b"{}", b"[]", b"null", b"true", b"-1", b"1e999", b"NaN", b"Infinity", b'""', b'"\\ud800"',
    b'"' + CANARY + b'"', b"[" * 2_000, b'{"a":' * 500, b"9" * 5_000, b'"c":', b'"h":[["a","b"]]',
    b"\xff", b"\xef\xbb\xbf", b'"org":1,', b'"slot":true,', b'"max_streams":1.5,', b"0.0", b"\0",
)  # fmt: skip
PATHS = (b"/r/acme/p/d/c1/a.B/C", b"/r/acme/-/-/-/x.v1.S/M")
PATH_WORDS = (b"/", b"//", b"..", b"%2e", b"%00", b"?", b"#", b"-", b"\xff", b"@", b":", CANARY)

# Tokens and keys; the same in every run.

ISSUER, NOW_S = "https://control.example", 1_800_000_000
_PRIVATE = urlsafe_b64encode(hashlib.sha256(b"a key for tests").digest()).rstrip(b"=").decode()
_BOTH = OKPKey.import_key(
    {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "k1",
        "d": _PRIVATE,
        "x": "jxVDocTrO2FlJoVZfs97MvQ_21c2feFE2ZMk8Miq6wk",
    }
)


def _signed_token(kind: str, audience: str, **more: object) -> bytes:
    claims = {"iss": ISSUER, "aud": audience, "sub": "ann", "org": "acme"}
    times = {"iat": NOW_S - 1, "exp": NOW_S + 60}
    header = {"alg": "Ed25519", "kid": "k1", "typ": kind}
    return jwt.encode(header, {**claims, **times, **more}, _BOTH, algorithms=["Ed25519"]).encode()


KEYS = import_keys({"keys": [_BOTH.as_dict(private=False)]})
GOOD_TOKENS = (
    _signed_token("at+jwt", "planesplit", identity=CANARY.decode()),
    _signed_token("tunnel+jwt", "planesplit-tunnel", cluster="c1"),
)
TOKENS = (
    *GOOD_TOKENS,
    _signed_token("at+jwt", "planesplit", exp=NOW_S - 60),
    _signed_token("JWT", "planesplit"),
    _signed_token("at+jwt", "planesplit", sub=["ann"]),
)


def _part(table: object) -> bytes:
    return urlsafe_b64encode(json.dumps(table).encode()).rstrip(b"=")


TOKEN_WORDS = (
    b".", b"..", b"=", b"-", b"_", b"+", b"\xff", b"\0", CANARY, b"e30", b"bnVsbA",
    _part({"alg": "none", "kid": "k1", "typ": "at+jwt"}) + b".",
    _part({"alg": "HS256", "kid": "k1", "typ": "at+jwt"}) + b".",
    _part({"alg": "Ed25519", "kid": "k9", "typ": "at+jwt"}) + b".",
    _part({"alg": "Ed25519", "kid": ["k1"], "typ": "at+jwt"}) + b".",
    _part({"alg": "Ed25519", "kid": "k1", "typ": "at+jwt", "crit": ["x"], "x": 1}) + b".",
    _part({"alg": "Ed25519", "kid": "k1", "typ": "at+jwt", "b64": False, "crit": ["b64"]}) + b".",
    _part([[[[]]]]) + b".", _part({"alg": {}}) + b".", b"a" * 5_000,
)  # fmt: skip
POLICIES = (
    json.dumps(
        {
            "version": 1,
            "issuer": ISSUER,
            "jwks": {"keys": [_BOTH.as_dict(private=False)]},
            "bindings": [
                {"subject": "a", "role": "Viewer", "org": "o", "project": "*", "domain": "*"}
            ],
            "clusters": [{"org": "o", "cluster": "c", "enabled": True}],
            "revoked": {"a": 1.5},
        }
    ).encode(),
)

# SigV4: one request signed in a header, one in its query.

SECRET = b"s3cr3t-of-the-fuzzer"
IDENTITY = Identity("executor", "AK-executor", SECRET)
IDENTITIES = {IDENTITY.access_key: IDENTITY}
DATE, SIGNED_AT_S = "20260102T030405Z", timegm((2026, 1, 2, 3, 4, 5, 0, 0, 0))
CREDENTIAL = f"AK-executor/{DATE[:8]}/us-east-1/s3/aws4_request"
_SCOPE = (DATE[:8], "us-east-1", "s3", "aws4_request", DATE)


def _signature(query: bytes, headers: list[tuple[bytes, bytes]], signed: tuple[str, ...]) -> str:
    scope = {"method": "GET", "raw_path": b"/b/k", "query_string": query, "headers": headers}
    claim = Claim("AK-executor", *_SCOPE, signed, "", None)
    request = S3Request(scope)
    payload = request.header("x-amz-content-sha256") or UNSIGNED
    return sign(signing_key(SECRET, claim), _string_to_sign(request, claim, payload))


def _by_header() -> bytes:
    fields = [(b"host", b"a"), (b"x-amz-content-sha256", UNSIGNED.encode())]
    fields.append((b"x-amz-date", DATE.encode()))
    names = tuple(name.decode() for name, _ in fields)
    found = _signature(b"", fields, names)
    value = f"{ALGORITHM} Credential={CREDENTIAL}, SignedHeaders={';'.join(names)}, "
    fields.append((b"authorization", f"{value}Signature={found}".encode()))
    return b"GET\n/b/k\n" + b"\n".join(name + b":" + text for name, text in fields)


def _by_query() -> bytes:
    credential = CREDENTIAL.replace("/", "%2F")
    query = f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={DATE}"
    query += "&X-Amz-Expires=600&X-Amz-SignedHeaders=host"
    found = _signature(query.encode(), [(b"host", b"a")], ("host",))
    return f"GET\n/b/k?{query}&X-Amz-Signature={found}\nhost:a".encode()


SIGNATURES = (_by_header(), _by_query())
SIGNATURE_WORDS = (
    b"&", b"?", b"%", b"%00", b"%ff", b"%2F", b"+", b"\xff", b"\n", b":", b";", b",", b" ",
    b"X-Amz-Date=99999999T999999Z", b"X-Amz-Expires=%D9%A1", b"X-Amz-Expires=604801", b"\xed\xa0",
    b"X-Amz-Signature=" + b"0" * 64, b"x-amz-signature=1", b"host:b\n", b"x-amz-acl:private\n",
    b"authorization:AWS4-HMAC-SHA256 ", b"authorization:AWS ", CANARY, b"X-Amz-Security-Token=a",
)  # fmt: skip
SIGNED = Signed(IDENTITY, False, SIGNED_CHUNKS, DATE, "/".join(_SCOPE[:4]), "0" * 64, b"key")
CHUNKS = (
    b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
    b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n",
    b"3;chunk-signature=" + b"a" * 64 + b"\r\nabc\r\n0;chunk-signature=" + b"b" * 64 + b"\r\n\r\n",
)
CHUNK_WORDS = (
    b"\r\n", b"\n", b"\r", b"0\r\n", b"5\r\nhello\r\n", b"ffffffffff\r\n", b";chunk-signature=",
    b"x-amz-trailer-signature:" + b"0" * 64 + b"\r\n", b"a:b\r\n", b" ", b"x" * 1_024, CANARY,
    b"a:" + b" " * 1_000 + b"\r\n",
)  # fmt: skip

# CRI logs.

RECORDS = (
    b"2026-01-02T03:04:05.123456789Z stdout F hello\n",
    b"2026-01-02T03:04:05Z stderr P part\n2026-01-02T03:04:05.1+02:00 stderr F rest\n",
    b"no record\n\n" + CANARY + b"\n",
)
STAMPS = (b"2026-01-02T03:04:05.123456789Z", b"2026-01-02T03:04:05+02:00", b"1969-12-31T23:59:59Z")
RECORD_WORDS = (
    b"\n", b" ", b"\0", b"\r", b"stdout", b"stderr", b" F ", b" P ", b"Z", b"+00:00", b"-99:99",
    b".", b".1234567890", b"\xd9\xa1", b"0000-00-00T00:00:00Z", b"9999-12-31T23:59:60Z", b"T",
    b"2026-02-30T03:04:05Z", b"x" * 70, CANARY,
)  # fmt: skip
