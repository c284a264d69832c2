"""Raw bytes that a listener may get, and what has to come of them: one table for every listener."""

from __future__ import annotations

from dataclasses import dataclass, field

RELAY = ("viewer", "control", "ops")  # one HTTP edge, three handlers
GUARDED = ("control plane", "customer")  # the guard in front of anycorn
LISTENERS = (*RELAY, "agent", *GUARDED)

# What each listener takes for a beginning of a good request; `{OK}` in a row.
GOOD = {
    **dict.fromkeys((*RELAY, *GUARDED), b"POST /echo HTTP/1.1\r\nHost: a\r\n"),
    "agent": (
        b"GET /tunnel HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    ),
}


@dataclass(frozen=True)
class Row:
    """One case.

    Args:
        data: what is sent; `{OK}` stands for the listener's own good beginning.
        status: what a listener answers with before it closes.
        others: listeners that answer with another status; None: the row does not apply.
    """

    data: bytes
    status: int = 400
    others: dict[str, int | None] = field(default_factory=dict)

    def bytes_for(self, listener: str) -> bytes:
        """Return what is sent to a listener."""
        return self.data.replace(b"{OK}", GOOD[listener])

    def status_for(self, listener: str) -> int | None:
        """Return the status that a listener answers with, None if it is not asked."""
        return self.others.get(listener, self.status)


def relay(status: int) -> dict[str, int | None]:
    """The relay's edge says more than 400."""
    return dict.fromkeys(RELAY, status)


NOT_AGENT: dict[str, int | None] = {"agent": None}
GET = b"GET / HTTP/1.1\r\n"
CHUNKED = b"{OK}Transfer-Encoding: chunked\r\n\r\n"

HEADS = {
    # Another protocol, or none.
    "tls on a plain port": Row(b"\x16\x03\x01\x02\0\x01\0\r\n\r\n"),
    "tls without an end": Row(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    "binary garbage": Row(b"\xff\x00" * 40),
    "ssh": Row(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "http 2 preface": Row(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", others=relay(505)),
    "http 1.0": Row(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", others=relay(505)),
    "http 0.9": Row(b"GET /\r\n\r\n"),
    "http 1.2": Row(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", others=relay(505)),
    "lower-case method": Row(b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "empty line first": Row(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "foreign method": Row(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", others=dict.fromkeys(RELAY, None)),
    "proxy protocol": Row(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    # The target.
    "absolute form": Row(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "authority form": Row(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk form": Row(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two spaces": Row(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "blank in the target": Row(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "octets in the target": Row(b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "endless target": Row(b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    # Line breaks and octets that parsers disagree about.
    "bare lf in the request line": Row(b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "bare lf after a header": Row(b"{OK}X: 1\nY: 2\r\n\r\n"),
    "bare lf ends the head": Row(b"{OK}X: 1\r\n\n"),
    "only bare lf": Row(b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare cr in a value": Row(b"{OK}X: 1\r2\r\n\r\n"),
    "nul in a value": Row(b"{OK}X: \0\r\n\r\n"),
    "control character in a value": Row(b"{OK}X: \x0b\r\n\r\n"),
    "obs-fold": Row(b"{OK}X: 1\r\n more\r\n\r\n"),
    "obs-fold by tab": Row(b"{OK}X: 1\r\n\tmore\r\n\r\n"),
    "folded first header": Row(GET + b" X: 1\r\nHost: a\r\n\r\n"),
    "folded transfer-encoding": Row(b"{OK}Transfer-Encoding:\r\n chunked\r\n\r\n"),
    "blank before the colon": Row(b"{OK}Content-Length : 5\r\n\r\nhello"),
    "tab before the colon": Row(b"{OK}Transfer-Encoding\t: chunked\r\n\r\n"),
    "header without a name": Row(b"{OK}: 1\r\n\r\n"),
    "header without a colon": Row(b"{OK}X\r\n\r\n"),
    # Host.
    "no host": Row(GET + b"X: 1\r\n\r\n"),
    "two hosts": Row(b"{OK}Host: b\r\n\r\n"),
    # How the body is framed.
    "cl and te": Row(b"{OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "te and cl": Row(b"{OK}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "two different lengths": Row(b"{OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "two equal lengths": Row(b"{OK}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    "a list of lengths": Row(b"{OK}Content-Length: 5, 5\r\n\r\nhello"),
    "signed length": Row(b"{OK}Content-Length: +5\r\n\r\nhello"),
    "negative length": Row(b"{OK}Content-Length: -5\r\n\r\n"),
    "hexadecimal length": Row(b"{OK}Content-Length: 0x5\r\n\r\nhello"),
    "length of 19 digits": Row(b"{OK}Content-Length: " + b"9" * 19 + b"\r\n\r\n"),
    "empty length": Row(b"{OK}Content-Length:\r\n\r\n"),
    "coding gzip": Row(b"{OK}Transfer-Encoding: gzip\r\n\r\n", others=relay(501)),
    "coding identity": Row(b"{OK}Transfer-Encoding: identity\r\n\r\n", others=relay(501)),
    "gzip and chunked": Row(b"{OK}Transfer-Encoding: gzip, chunked\r\n\r\n", others=relay(501)),
    "chunked and gzip": Row(b"{OK}Transfer-Encoding: chunked, gzip\r\n\r\n", others=relay(501)),
    "two codings": Row(b"{OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "misspelt chunked": Row(b"{OK}Transfer-Encoding: xchunked\r\n\r\n", others=relay(501)),
    # Other protocols by invitation.
    "h2c upgrade": Row(
        GET + b"Host: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"HTTP2-Settings: AAMAAABk\r\n\r\n",
        others={"agent": 404},
    ),
    "h2c settings alone": Row(b"{OK}HTTP2-Settings: AAMAAABk\r\n\r\n", others=NOT_AGENT),
    "websocket upgrade": Row(
        b"{OK}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
        others=NOT_AGENT,
    ),
    # Sizes.
    "many headers": Row(b"{OK}" + b"X: y\r\n" * 120 + b"\r\n", others=relay(431)),
    "endless header": Row(b"{OK}X: " + b"y" * 17_000, others=relay(431)),
    "endless request line": Row(b"GET /" + b"a" * 17_000, others=relay(431)),
    "two tokens": Row(b"{OK}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"),
}

# At the agents' listener alone: what is no upgrade of ours.
UPGRADES = {
    "another path": Row(b"GET /other" + GOOD["agent"][len("GET /tunnel") :] + b"\r\n", 404),
    "a query": Row(b"GET /tunnel?a" + GOOD["agent"][len("GET /tunnel") :] + b"\r\n", 404),
    "an upgrade without a host": Row(GOOD["agent"].replace(b"Host: a\r\n", b"") + b"\r\n", 400),
    "an origin": Row(GOOD["agent"] + b"Origin: https://evil.example\r\n\r\n", 403),
    "the relay's own origin": Row(GOOD["agent"] + b"Origin: https://a\r\n\r\n", 403),
    "origin null": Row(GOOD["agent"] + b"Origin: null\r\n\r\n", 403),
    "no upgrade": Row(b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n", 426),
    "post": Row(b"POST /tunnel" + GOOD["agent"][len("GET /tunnel") :] + b"\r\n", 405),
    "version 8": Row(GOOD["agent"].replace(b"13", b"8") + b"\r\n", 400),
    "a short key": Row(GOOD["agent"].replace(b"AAAA", b"") + b"\r\n", 400),
    "a body": Row(GOOD["agent"] + b"Content-Length: 5\r\n\r\nhello", 400),
    "a chunked body": Row(GOOD["agent"] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
}

# Bodies in chunks, for whoever reads bodies.
CHUNKS = {
    "extension": Row(CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    "size that overflows": Row(CHUNKED + b"fffffffffffffffff\r\nhello"),
    "size of nine digits": Row(CHUNKED + b"000000005\r\nhello\r\n0\r\n\r\n"),
    "signed size": Row(CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n"),
    "prefixed size": Row(CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    "underscore in a size": Row(CHUNKED + b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"),
    "no size": Row(CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    "blank before a size": Row(CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n"),
    "blank after a size": Row(CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n"),
    "bare lf after a size": Row(CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    "bare lf after a size, then silence": Row(CHUNKED + b"5\nhel"),
    "endless size": Row(CHUNKED + b"0" * 30),
    "bare cr after a size": Row(CHUNKED + b"5\rhello\r\n0\r\n\r\n"),
    "chunk longer than its size": Row(CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n"),
    "bare lf after a chunk": Row(CHUNKED + b"5\r\nhello\n0\r\n\r\n"),
    "trailer": Row(CHUNKED + b"0\r\nX: 1\r\n\r\n"),
    "smuggled trailer": Row(CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n"),
}

# What is legal and is served: the body that comes back after the heads.
LEGAL = {
    "no body": (b"{OK}\r\n", [b""]),
    "a body": (b"{OK}Content-Length: 5\r\n\r\nhello", [b"hello"]),
    "chunks": (CHUNKED + b"5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n", [b"hello0123456789"]),
    "upper-case coding": (
        b"{OK}transfer-encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        [b"x"],
    ),
    "padded values": (b"{OK}Content-Length: \t 2 \t\r\n\r\nab", [b"ab"]),
    "pipelined": (
        b"{OK}Content-Length: 2\r\n\r\nab" + CHUNKED + b"1\r\nc\r\n0\r\n\r\n" + b"{OK}\r\n",
        [b"ab", b"c", b""],
    ),
    "line breaks in a body": (b"{OK}Content-Length: 6\r\n\r\n\n\r\n\r\nG", [b"\n\r\n\r\nG"]),
}
