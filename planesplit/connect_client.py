"""A small Connect RPC client on httpx and trio: unary calls and server streams.

Protocol: https://connectrpc.com/docs/protocol (unary and streaming, codec "proto"). Encoding is
identity, but for streams that are asked for compressed messages. The messages
are whatever the caller passes in; nothing here imports a service.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import httpx
from google.protobuf.message import DecodeError, Message

if TYPE_CHECKING:
    from tunnel.messages.compression import Encoding

ENVELOPE = struct.Struct(">BI")
END_STREAM = 0x02
COMPRESSED = 0x01
MAX_MESSAGE_BYTES = 4_194_304  # what connectrpc itself reads by default; units are 64 KiB
MAX_ERROR_CHARS = 500
CONNECT_S = 5.0
UNARY_S = 30.0
SILENCE_S = 35.0  # servers send an empty message every 10 s on a quiet stream

# HTTP statuses of answers that are no Connect errors (specification, "Error codes").
_HTTP_CODES = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


M = TypeVar("M", bound=Message)
TokenSource = Callable[[], Awaitable[str]]


class ConnectError(Exception):
    """An RPC failed.

    Args:
        code: Connect's error code, e.g. `unavailable`.
        message: the server's words, without control characters and cut to 500 characters.
    """

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = "".join(c for c in message if c.isprintable())[:MAX_ERROR_CHARS]
        super().__init__(f"{code}: {self.message}" if self.message else code)


class ConnectClient:
    """Calls RPCs below a base URL.

    Args:
        http: client with the right TLS context, transport and no default auth.
        token: returns the bearer token; None sends no Authorization.
    """

    def __init__(self, http: httpx.AsyncClient, token: TokenSource | None = None) -> None:
        self._http, self._token = http, token

    async def unary(self, url: str, request: Message, answer: type[M]) -> M:
        """Call a unary RPC.

        Args:
            url: base URL with path `/{service}/{method}`.

        Raises:
            ConnectError: also for a peer that cannot be reached (`unavailable`).
        """
        headers = await self._headers("application/proto")
        timeout = httpx.Timeout(UNARY_S, connect=CONNECT_S)
        try:
            response = await self._http.post(
                url, content=request.SerializeToString(), headers=headers, timeout=timeout
            )
        except httpx.HTTPError as error:
            raise _transport_error(error) from None
        if response.status_code != httpx.codes.OK:
            raise error_from_http(response.status_code, response.content)
        return _parse(answer, response.content)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        request: Message,
        answer: type[M],
        headers: Mapping[str, str] | None = None,
        *,
        compress: bool = False,
    ) -> AsyncIterator[AsyncIterator[M]]:
        """Open a server stream; leaving the context hangs up.

        Args:
            url: base URL with path `/{service}/{method}`.
            headers: further request headers.
            compress: ask for compressed messages; the server need not comply.

        Yields:
            An iterator of the stream's messages. It raises ConnectError for an end-stream error, a
            broken connection (`unavailable`) and an end without end-stream message (`data_loss`).
        """
        all_headers = {**await self._headers("application/connect+proto"), **(headers or {})}
        if compress:
            all_headers["connect-accept-encoding"] = ", ".join(encodings())
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        content = envelope(request.SerializeToString())
        try:
            async with self._http.stream(
                "POST", url, content=content, headers=all_headers, timeout=timeout
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise error_from_http(response.status_code, await response.aread())
                encoding = _encoding(response) if compress else None
                async with aclosing(_messages(response, answer, encoding)) as messages:
                    yield messages
        except httpx.HTTPError as error:
            raise _transport_error(error) from None

    async def _headers(self, content_type: str) -> dict[str, str]:
        headers = {
            "content-type": content_type,
            "connect-protocol-version": "1",
            "accept-encoding": "identity",
        }
        return headers | await self.authorization()

    async def authorization(self) -> dict[str, str]:
        """Return the header that says who asks; none without a token source."""
        return {"authorization": f"Bearer {await self._token()}"} if self._token else {}


def envelope(message: bytes, flags: int = 0) -> bytes:
    """Prefix a message with flags (u8) and length (u32, big endian)."""
    return ENVELOPE.pack(flags, len(message)) + message


def encodings() -> dict[str, Encoding]:
    """Return how messages of a stream may be compressed; most streams need none of it."""
    from tunnel.messages.compression import ENCODINGS

    return ENCODINGS


def _encoding(response: httpx.Response) -> Encoding | None:
    """Return how the server compresses messages.

    Raises:
        ConnectError: `internal`, in a way that was not asked for.
    """
    name = response.headers.get("connect-content-encoding", "identity")
    if name == "identity":
        return None
    if name not in encodings():
        raise ConnectError("internal", "the server compresses in a way that was not asked for")
    return encodings()[name]


class EnvelopeReader:
    """Cuts a byte stream into envelopes, however it was split.

    Args:
        max_bytes: of one message, also when decompressed.
        encoding: how messages may be compressed; None: they may not.
    """

    def __init__(
        self, max_bytes: int = MAX_MESSAGE_BYTES, encoding: Encoding | None = None
    ) -> None:
        self._buffer = bytearray()
        self._max_bytes, self._encoding = max_bytes, encoding

    @property
    def pending(self) -> bool:
        """Whether an envelope has begun and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes; return the (flags, message) pairs that are complete now, decompressed.

        Raises:
            ConnectError: `resource_exhausted` for a message over the limit, `internal` for a
                compressed one that was not asked for or is damaged or too large.
        """
        self._buffer += data
        found = []
        while len(self._buffer) >= ENVELOPE.size:
            flags, length = ENVELOPE.unpack_from(self._buffer)
            if length > self._max_bytes:
                text = f"message of {length} bytes, limit {self._max_bytes}"
                raise ConnectError("resource_exhausted", text)
            if flags & COMPRESSED and self._encoding is None:
                raise ConnectError("internal", "compressed message, but identity was asked for")
            end = ENVELOPE.size + length
            if len(self._buffer) < end:
                break
            message = bytes(self._buffer[ENVELOPE.size : end])
            if flags & COMPRESSED:
                message = self._decompressed(message)
            found.append((flags, message))
            del self._buffer[:end]
        return found

    def _decompressed(self, message: bytes) -> bytes:
        assert self._encoding is not None
        try:
            return self._encoding.decompress(message, self._max_bytes)
        except ValueError as error:  # Undecodable: its text is ours
            raise ConnectError("internal", str(error)) from None


async def _messages(
    response: httpx.Response, answer: type[M], encoding: Encoding | None
) -> AsyncGenerator[M]:
    reader = EnvelopeReader(encoding=encoding)
    async for data in response.aiter_raw():
        for flags, message in reader.feed(data):
            if flags & END_STREAM:
                error = end_stream_error(message)
                if error:
                    raise error
                return
            yield _parse(answer, message)
    raise ConnectError("data_loss", "the stream ended without an end-stream message")


def end_stream_error(message: bytes) -> ConnectError | None:
    """Read an end-stream message; None if it says success.

    Raises:
        ConnectError: it is no JSON object (`internal`).
    """
    fields = _json_object(message)
    if fields is None:
        raise ConnectError("internal", "end-stream message is not JSON")
    error = fields.get("error")
    return _error(error) if isinstance(error, dict) else None


def error_from_http(status: int, body: bytes) -> ConnectError:
    """Make the error of a unary answer, or of a stream that was refused as a whole."""
    fields = _json_object(body)
    if fields and isinstance(fields.get("code"), str):
        return _error(fields)
    return ConnectError(_HTTP_CODES.get(status, "unknown"), f"HTTP status {status}")


def _error(fields: Mapping[str, object]) -> ConnectError:
    return ConnectError(str(fields.get("code", "unknown"))[:64], str(fields.get("message", "")))


def _json_object(data: bytes) -> dict[str, object] | None:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", fields) if isinstance(fields, dict) else None


def _transport_error(error: httpx.HTTPError) -> ConnectError:
    if isinstance(error, httpx.TimeoutException):
        return ConnectError("deadline_exceeded", f"no answer in time ({type(error).__name__})")
    return ConnectError("unavailable", f"connection failed ({type(error).__name__})")


def _parse(answer: type[M], data: bytes) -> M:
    message = answer()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise ConnectError(
            "internal", f"an answer of {len(data)} bytes is no {answer.__name__}"
        ) from None
    return message
