"""Connect RPC servers from google.protobuf service descriptors.

flyteidl2's generated `*_connect.py` do not run on connectrpc 0.13, and messages of our own need no
second generator: a descriptor says everything that an endpoint needs.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Generic, TypeVar

from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.compat import google_protobuf_codecs
from connectrpc.compression import Compression
from connectrpc.errors import ConnectError
from connectrpc.interceptor import Interceptor
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from tunnel.messages.compression import Encoding, Undecodable

AsgiScope = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[MutableMapping[str, Any]]]
AsgiSend = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, AsgiReceive, AsgiSend], Awaitable[None]]
Context = RequestContext[Any, Any]
OnError = Callable[[str, Exception], None]
M = TypeVar("M")

PROTO = "proto"  # the binary encoding's name in connectrpc
_ENVELOPE = struct.Struct(">BI")
READ_MAX_BYTES = 4 * 1024 * 1024  # connectrpc's own default (FACTS: inputs of 10 MiB go elsewhere)

_CONTENT_TYPE = re.compile(rb"application/(connect\+)?(proto|json)(;.*)?", re.IGNORECASE)
_STREAM_TYPES = {
    (False, False): StreamType.UNARY,
    (True, False): StreamType.CLIENT_STREAM,
    (False, True): StreamType.SERVER_STREAM,
    (True, True): StreamType.BIDI_STREAM,
}
_ENDPOINTS: dict[StreamType, Callable[..., Any]] = {
    StreamType.UNARY: Endpoint.unary,
    StreamType.CLIENT_STREAM: Endpoint.client_stream,
    StreamType.SERVER_STREAM: Endpoint.server_stream,
    StreamType.BIDI_STREAM: Endpoint.bidi_stream,
}


def connect_app(
    *services: tuple[ServiceDescriptor, object],
    interceptors: Iterable[Interceptor] = (),
    read_max_bytes: int = READ_MAX_BYTES,
    compressions: Iterable[Compression] | None = None,
    on_error: OnError | None = None,
) -> AsgiApp:
    """Build one ASGI application that serves several Connect services.

    A handler has a snake_case method for each RPC that it implements: for a unary one
    `async def get_run(self, request, ctx) -> Response`, for a server stream
    `async def tail_logs(self, request, ctx)` that yields. Other RPCs answer UNIMPLEMENTED.
    gRPC and gRPC-Web are refused with 415.

    Args:
        services: pairs of a service's descriptor and the object that handles it.
        interceptors: connectrpc interceptors, outermost first.
        read_max_bytes: largest request message, decompressed.
        compressions: what may be negotiated beside identity; gzip if None.
        on_error: called with the RPC's path and any exception but ConnectError that a handler
            raises. The caller sees INTERNAL and no text, since the exception may hold payload.
    """
    endpoints: dict[str, Any] = {}
    for descriptor, handler in services:
        endpoints.update(_endpoints(descriptor, handler, on_error))
    return _ConnectApp(
        service=None,
        endpoints=lambda _: endpoints,
        interceptors=interceptors,
        read_max_bytes=read_max_bytes,
        compressions=compressions,
        codecs=[_QuietCodec(codec) for codec in google_protobuf_codecs()],
    )


class Encoded(bytes):
    """A message's bytes; what they are compressed to is kept with them, see `Packing`."""

    packed: dict[str, bytes]


class Prepared(Generic[M]):
    """An encoded message that several streams send; other encodings are made once for all of them.

    Args:
        kind: the message's class.
        data: its bytes, in protobuf's binary encoding.
    """

    __slots__ = ("_encoded", "_kind", "data")

    def __init__(self, kind: type[M], data: bytes) -> None:
        self._kind, self.data = kind, data
        self._encoded: dict[str, Encoded] = {}

    @property
    def message(self) -> M:
        """The message itself, made anew."""
        message: M = self._kind.FromString(self.data)  # type: ignore[attr-defined]
        return message

    def encoded(self, codec: Codec[Any, Any]) -> Encoded:
        """Return its bytes."""
        name = codec.name()
        found = self._encoded.get(name)
        if found is None:
            data = self.data if name == PROTO else codec.encode(self.message)
            found = self._encoded[name] = Encoded(data)
            found.packed = {}
        return found

    def framed(self) -> bytes:
        """Return what a stream without compression is sent: flags, length and message."""
        return _ENVELOPE.pack(0, len(self.data)) + self.data


class Packing:
    """A compression for `connect_app` that compresses what several streams send once.

    Args:
        encoding: how.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self.name = encoding.name

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Compress a message."""
        if not isinstance(data, Encoded):
            return self._encoding.compress(data)
        name = self.name()
        if name not in data.packed:
            data.packed[name] = self._encoding.compress(data)
        return data.packed[name]

    def decompress(
        self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None
    ) -> bytes:
        """Decompress a message of a peer.

        Raises:
            ConnectError: INVALID_ARGUMENT, it is damaged or too large.
        """
        try:
            return self._encoding.decompress(data, read_max_bytes)
        except Undecodable as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None


class _ConnectApp(ConnectASGIApplication[None]):
    @property
    def path(self) -> str:
        return "/"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not _acceptable(scope):
            await _refuse(send, 415)
        else:
            await super().__call__(scope, receive, send)


def _acceptable(scope: AsgiScope) -> bool:
    """Whether connectrpc can be trusted with the head: Connect's media types, readable headers."""
    headers = scope.get("headers", ())
    readable = all(name.isascii() and value.isascii() for name, value in headers)
    types = [value for name, value in headers if name.lower() == b"content-type"]
    return readable and len(types) == 1 and bool(_CONTENT_TYPE.fullmatch(types[0]))


async def _refuse(send: AsgiSend, status: int) -> None:
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class _QuietCodec:
    """A codec whose errors do not quote the message, as protobuf's JSON parser does."""

    def __init__(self, codec: Codec[Any, Any]) -> None:
        self._codec = codec
        self.name = codec.name

    def encode(self, message: Any) -> bytes:
        if isinstance(message, Prepared):
            return message.encoded(self._codec)
        return self._codec.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        try:
            return self._codec.decode(data, message_class)
        except Exception:
            raise ConnectError(
                Code.INVALID_ARGUMENT, f"not a {message_class.DESCRIPTOR.full_name}"
            ) from None


def _endpoints(
    service: ServiceDescriptor, handler: object, on_error: OnError | None
) -> dict[str, Any]:
    return {
        f"/{service.full_name}/{method.name}": _endpoint(method, handler, on_error)
        for method in service.methods
    }


def _endpoint(method: MethodDescriptor, handler: object, on_error: OnError | None) -> Any:
    stream_type = _STREAM_TYPES[method.client_streaming, method.server_streaming]
    function = getattr(handler, _snake_case(method.name), None)
    streams = method.server_streaming
    if function is None:
        function = _unimplemented_stream if streams else _unimplemented
    else:
        path = f"/{method.containing_service.full_name}/{method.name}"
        guard = _guarded_stream if streams else _guarded
        function = functools.partial(guard, function, path, on_error)
    info = MethodInfo(
        name=method.name,
        service_name=method.containing_service.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,  # so that no request travels in a URL by GET
        stream_type=stream_type,
    )
    return _ENDPOINTS[stream_type](info, function)


def _snake_case(name: str) -> str:
    """`GetRunDetails` -> `get_run_details`; a plural at the end stays whole: `GetDataURIs`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z](?!$))", "_", name).lower()


async def _unimplemented(_request: Any, _ctx: Context) -> Any:
    raise ConnectError(Code.UNIMPLEMENTED, "this RPC is not implemented")


async def _unimplemented_stream(_request: Any, _ctx: Context) -> AsyncIterator[Any]:
    raise ConnectError(Code.UNIMPLEMENTED, "this RPC is not implemented")
    yield  # makes it a generator


def _internal(path: str, error: Exception, on_error: OnError | None) -> ConnectError:
    if on_error is not None:
        on_error(path, error)
    return ConnectError(Code.INTERNAL, "internal error")


async def _guarded(
    function: Callable[[Any, Context], Awaitable[Any]],
    path: str,
    on_error: OnError | None,
    request: Any,
    ctx: Context,
) -> Any:
    try:
        return await function(request, ctx)
    except ConnectError:
        raise
    except Exception as error:
        raise _internal(path, error, on_error) from None


async def _guarded_stream(
    function: Callable[[Any, Context], Any],
    path: str,
    on_error: OnError | None,
    request: Any,
    ctx: Context,
) -> AsyncIterator[Any]:
    responses = function(request, ctx)
    try:
        async for response in responses:
            yield response
    except ConnectError:
        raise
    except Exception as error:
        raise _internal(path, error, on_error) from None
    finally:
        # A generator around another does not close it; its finally blocks must run here and now.
        await responses.aclose()
