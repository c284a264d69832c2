"""One request of ClickHouse's HTTP interface: its fields, its statement, its data."""

from __future__ import annotations

import email.parser
import email.policy
import re
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import parse_qsl

import trio

from customer_stub.clickhouse import compression, errors
from customer_stub.clickhouse.errors import QueryError
from customer_stub.clickhouse.settings import ClickHouseSettings

MEMORY_BYTES = 1_048_576  # a larger body goes to an unnamed file
MAX_FORM_BYTES = 4_194_304
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:/@+-]{1,128}")
_FORMAT = re.compile(r"[A-Za-z0-9_]{1,64}")
# Fields of the URL that are not settings of the engine.
_OWN_WORDS = """
    query database default_format user password query_id quota_key session_id
    session_timeout session_check wait_end_of_query buffer_size compress decompress
    enable_http_compression http_zlib_compression_level send_progress_in_http_headers
    http_headers_progress_interval_ms cancel_http_readonly_queries_on_client_close
    client_protocol_version add_http_cors_header role stacktrace
    http_write_exception_in_output_format
"""
_OWN = frozenset(_OWN_WORDS.split())

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class Request:
    """A request, its body read.

    Attributes:
        method: GET or POST.
        path: decoded path.
        headers: by lower-case name.
        fields: of the URL, and of a form.
        body: the data, decompressed; at its start.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    fields: dict[str, str]
    body: IO[bytes]
    query_id: str = field(default="")

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the engine that the request wants."""
        return {
            name: value
            for name, value in self.fields.items()
            if name not in _OWN and not name.startswith("param_")
        }

    @property
    def parameters(self) -> dict[str, str]:
        """Values of {name:Type}."""
        prefix = "param_"
        return {
            name[len(prefix) :]: value
            for name, value in self.fields.items()
            if name.startswith(prefix)
        }

    @property
    def database(self) -> str:
        """The current database that the request asks for, empty if it doesn't."""
        return self.fields.get("database") or self.headers.get("x-clickhouse-database", "")

    @property
    def default_format(self) -> str:
        """The format for a statement without a FORMAT clause."""
        name = self.fields.get("default_format") or self.headers.get("x-clickhouse-format", "")
        if name and not _FORMAT.fullmatch(name):
            raise QueryError(73, "UNKNOWN_FORMAT", "Unknown format.")
        return name or "TabSeparated"

    @property
    def coding(self) -> str:
        """The content coding for the answer, empty for none."""
        if not self.flag("enable_http_compression"):
            return ""
        return compression.chosen(self.headers.get("accept-encoding", ""))

    def flag(self, name: str) -> bool:
        """Return a boolean field, false if absent."""
        return self.fields.get(name, "0").lower() in ("1", "true")

    def check(self) -> None:
        """Raise QueryError for what is not supported, rather than do something else."""
        for name in ("compress", "decompress"):
            if self.flag(name):
                raise errors.not_implemented(f"{name}=1, ClickHouse's own block compression,")
        if self.fields.get("role"):
            raise errors.not_implemented("role=")
        if self.flag("session_check"):  # a session keeps nothing here, so none exists
            raise QueryError(372, "SESSION_NOT_FOUND", "Session not found.")
        if not _IDENTIFIER.fullmatch(self.query_id):
            raise errors.bad_arguments("query_id must be 1 to 128 letters, digits or ._:/@+-")


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers of an ASGI scope by lower-case name."""
    return {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}


def fields_of(scope: Scope, settings: ClickHouseSettings) -> dict[str, str]:
    """Return the fields of the URL; of repeated ones the last.

    Raises:
        QueryError: too many of them, or not UTF-8.
    """
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            max_num_fields=settings.max_parameters,
            errors="strict",
        )
    except ValueError:
        raise errors.bad_arguments("The URL's fields are malformed or too many") from None
    return dict(pairs)


async def read(
    scope: Scope,
    receive: Receive,
    headers: Mapping[str, str],
    fields: dict[str, str],
    settings: ClickHouseSettings,
) -> Request:
    """Read the body of a request whose caller is known.

    Raises:
        QueryError: too large, too slow, damaged, or of an unsupported kind.
    """
    body = await _body(receive, headers.get("content-encoding", ""), settings)
    kind = headers.get("content-type", "")
    if kind.lower().startswith("multipart/form-data"):
        fields |= _form(kind, body)
        body = _file()
    query_id = fields.get("query_id") or headers.get("x-clickhouse-query-id") or str(uuid.uuid4())
    return Request(scope["method"], scope["path"], headers, fields, body, query_id)


def _file() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(MEMORY_BYTES)


async def _body(receive: Receive, coding: str, settings: ClickHouseSettings) -> IO[bytes]:
    decoder = compression.Decoder(coding, settings.max_insert_bytes)
    body = _file()
    with trio.move_on_after(settings.body_s):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise errors.cancelled()
            for piece in decoder.add(message.get("body", b"")):
                body.write(piece)
            if not message.get("more_body", False):
                decoder.end()
                body.seek(0)
                return body
    raise QueryError(209, "SOCKET_TIMEOUT", "The request's body did not arrive in time.")


def _form(kind: str, body: IO[bytes]) -> dict[str, str]:
    """Read the fields of a form; files (external data) are not supported."""
    content = body.read(MAX_FORM_BYTES + 1)
    if len(content) > MAX_FORM_BYTES:
        raise errors.too_large(MAX_FORM_BYTES)
    head = b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n"
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + content)
    found: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None or not isinstance(name, str):
            raise errors.not_implemented("External data")
        value = part.get_payload(decode=True)
        if not isinstance(value, bytes):
            raise errors.bad_arguments("The form is malformed")
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            raise errors.bad_arguments("The form is not UTF-8") from None
    return found
