"""TLS as a pump of SSLObject and MemoryBIO on the same loop.

trio.SSLStream costs 7.8 CPU s/GB on one side, this pump 1.3 (measured). After the handshake the
reader never writes: what TLS itself wants to say (KeyUpdate) rides with the next send. On a socket
both directions have a short way without awaiting: `read_now` and `send_now`.
"""

from __future__ import annotations

import operator
import os
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import cast

import trio

from tunnel.errors import Code, HandshakeFailed
from tunnel.gather import SendsNow, skip
from tunnel.heap import blank
from tunnel.payload import Buffer
from tunnel.peer import Peer, peer_of
from tunnel.wipe import wipe

READ_BYTES, WRITE_BYTES = 524_288, 262_144  # OpenSSL keeps the latter for each that has sent it
Turn = Callable[[], Awaitable[None]]
CLEANSE_PLAINTEXT = 0x2  # SSL_OP_CLEANSE_PLAINTEXT: OpenSSL wipes what it has handed out


class CertificateRefused(HandshakeFailed):
    """The peer does not accept our certificate (in TLS 1.3 seen only at the first read)."""

    code = Code.AUTH_REFUSED


def server_context(
    cert_file: str, key_file: str, client_ca_file: str | None = None
) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer, HTTP/1.1 by ALPN.

    Args:
        cert_file, key_file: PEM files.
        client_ca_file: if given, clients must show a certificate of this CA.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    if client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca_file)
        # A resumed session would show no certificate anew, and nobody resumes: tickets are a third
        # of what a server's handshake costs (0.86 against 0.58 ms, measured).
        context.num_tickets = 0
    return _harden(context)


def client_context(
    ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """Return a client's context; it trusts `ca_file` alone if given, else the system's CAs."""
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file)
    return _harden(context)


def _harden(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | CLEANSE_PLAINTEXT
    context.set_alpn_protocols(["http/1.1"])
    return context


class _OneTask:
    """Refuses a second task at a time, and everybody once the stream is closed."""

    __slots__ = ("_busy", "closed")

    def __init__(self) -> None:
        self._busy = self.closed = False

    def __enter__(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("this TLS stream was closed")
        if self._busy:
            raise trio.BusyResourceError("another task uses this direction of the TLS stream")
        self._busy = True

    def __exit__(self, *_: object) -> None:
        self._busy = False


class _Scratch(threading.local):
    """What all TLS streams of a thread share; in use from one await to the next only."""

    def __init__(self) -> None:
        self.plain = blank(max(READ_BYTES, WRITE_BYTES))
        self.records = blank(READ_BYTES)


_scratch = _Scratch()


class TlsStream(SendsNow, trio.abc.Stream):
    """A byte stream inside TLS. One task receives, one task sends.

    Args:
        stream: what carries the records.
        context: see server_context, client_context.
        server_hostname: name to verify, for a client.
        server_side: which end this is.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        server_side: bool = False,
    ) -> None:
        self._stream = stream
        self._sender, self._receiver = _OneTask(), _OneTask()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._dry = False  # whether nothing can be decrypted until more records come
        self._unsent: list[Buffer] = []  # records that the stream below has not taken
        self._ahead = 0  # bytes encrypted already, that `send_now` has not called taken
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
        )

    def peer(self) -> Peer:
        """Who has shown a certificate; nobody without one."""
        return peer_of(self._tls)

    async def handshake(self, turn: Turn = trio.lowlevel.checkpoint) -> None:
        """Shake hands, `turn` first for each flight: 1 ms of work. The caller sets the deadline.

        Raises:
            HandshakeFailed: certificate or protocol refused by either side.
        """
        try:
            while not await self._step():
                await turn()
        except ssl.SSLError as error:
            with suppress(trio.BrokenResourceError):
                await self._flush()  # the alert that tells the peer why
            raise _failure(error) from None
        except trio.BrokenResourceError:
            raise HandshakeFailed("the connection broke during the TLS handshake") from None

    @property
    def socket(self) -> trio.socket.SocketType | None:
        """The socket below, if that is what carries the records."""
        return self._stream.socket if isinstance(self._stream, trio.SocketStream) else None

    # Receiving.

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream.

        Raises:
            CertificateRefused: the peer refused our certificate.
        """
        limit = READ_BYTES if max_bytes is None else operator.index(max_bytes)
        if limit < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiver:
            await trio.lowlevel.checkpoint_if_cancelled()
            data = self._take(limit)
            if data is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while data is None:
                records = await self._stream.receive_some(READ_BYTES)
                if not records:
                    return b""
                self._feed(records)
                data = self._take(limit)
            return data

    def read_now(self, view: memoryview) -> int:
        """Decrypt what is there straight into a buffer; for TLS on a socket.

        Returns:
            How many bytes, 0 at the end of the stream.

        Raises:
            BlockingIOError: nothing is there yet.
            CertificateRefused: the peer refused our certificate.
            trio.BrokenResourceError, trio.ClosedResourceError: the stream cannot be used.
        """
        with self._receiver:
            count = self._decrypt(view)
            while count is None:
                size = self._read_records()
                if not size:
                    return 0
                self._feed(_scratch.records[:size])
                count = self._decrypt(view)
            return count

    # Sending.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await self.send_rest([data])

    async def send_rest(self, buffers: Sequence[Buffer]) -> None:
        """Send it all; see SendsNow."""
        with self._sender:
            await trio.lowlevel.checkpoint_if_cancelled()
            rest = skip(buffers, self._ahead)
            self._ahead = 0
            await self._flush()
            while rest:
                rest = skip(rest, self._encrypt(rest))
                await self._flush()
            await trio.lowlevel.cancel_shielded_checkpoint()

    def send_now(self, buffers: Sequence[Buffer]) -> int:
        """Encrypt and write what the socket takes at once; see SendsNow.

        What is encrypted has to go out, so as with SSL_write a send that was not taken whole has to
        be repeated with its rest: the last byte counts as taken when the last record has left.
        """
        with self._sender:
            size = sum(map(len, buffers))
            if self.socket is None or size < 2:
                return 0
            taken, self._ahead = self._ahead, 0
            while self._write_now():
                if taken == size:
                    return size
                taken += self._encrypt(skip(buffers, taken))
            self._ahead = min(taken, 1)
            return taken - self._ahead

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        with self._sender:
            await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Say goodbye (close_notify) without waiting for the answer, then close."""
        if self._sender.closed:
            await trio.lowlevel.checkpoint()
            return
        self._sender.closed = self._receiver.closed = True
        with suppress(HandshakeFailed, trio.BrokenResourceError):
            while self._decrypt(_scratch.plain):  # OpenSSL wipes only what it has handed out
                wipe(_scratch.plain)
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        try:
            with suppress(
                trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError
            ):
                await self._flush()
        finally:
            await self._stream.aclose()

    async def _step(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            await self._flush()
            records = await self._stream.receive_some(READ_BYTES)
            if not records:
                raise HandshakeFailed("the peer left during the TLS handshake") from None
            self._incoming.write(records)
            return False
        await self._flush()
        return True

    def _take(self, limit: int) -> bytes | None:
        """Decrypt up to so many bytes, b"" at the end; None until more records come."""
        view = _scratch.plain[:limit]
        count = self._decrypt(view)
        if count is None:
            return None
        data = bytes(view[:count])
        wipe(view[:count])
        return data

    def _decrypt(self, view: memoryview) -> int | None:
        """Decrypt into a buffer, 0 bytes at the end; None until more records come."""
        if self._dry:
            return None
        read = cast("Callable[[int, memoryview], int]", self._tls.read)  # with a buffer: a count
        done, size = 0, len(view)
        try:
            while done < size and (count := read(size - done, view[done:])):
                done += count
        except ssl.SSLWantReadError:
            self._dry = True
            return done or None
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            if not done:
                failure = _failure(error)
                if isinstance(failure, CertificateRefused):
                    raise failure from None
                raise trio.BrokenResourceError("TLS failed") from None
        return done

    def _feed(self, records: Buffer) -> None:
        self._incoming.write(records)
        self._dry = False

    def _read_records(self) -> int:
        try:
            return os.readv(self._descriptor(), [_scratch.records])
        except BlockingIOError:
            raise
        except OSError:
            raise trio.BrokenResourceError("the connection broke") from None

    def _encrypt(self, buffers: Sequence[Buffer]) -> int:
        """Encrypt the beginning of some buffers; returns how many bytes."""
        plain, size = _scratch.plain, 0
        for buffer in buffers:
            count = min(len(buffer), WRITE_BYTES - size)
            plain[size : size + count] = memoryview(buffer)[:count]
            size += count
            if size == WRITE_BYTES:
                break
        if size:
            try:
                self._tls.write(plain[:size])
            except ssl.SSLError:
                raise trio.BrokenResourceError("TLS failed") from None
            finally:
                wipe(plain[:size])
        self._collect()
        return size

    def _collect(self) -> None:
        if self._outgoing.pending:
            self._unsent.append(self._outgoing.read())

    def _write_now(self) -> bool:
        """Write records as far as the socket takes them; returns whether all have left."""
        if self._unsent:
            try:
                sent = os.writev(self._descriptor(), self._unsent)
            except BlockingIOError:
                return False
            except OSError:
                raise trio.BrokenResourceError("the connection broke") from None
            self._unsent = skip(self._unsent, sent)
        return not self._unsent

    async def _flush(self) -> None:
        self._collect()
        socket = self.socket
        if socket is None:
            records, self._unsent = b"".join(self._unsent), []
            if records:
                await self._stream.send_all(records)
            return
        while not self._write_now():
            await trio.lowlevel.wait_writable(socket)

    def _descriptor(self) -> int:
        socket = self.socket
        assert socket is not None
        if (descriptor := socket.fileno()) < 0:
            raise trio.ClosedResourceError("the stream was closed")
        return descriptor


def _failure(error: ssl.SSLError) -> HandshakeFailed:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return HandshakeFailed(f"the peer's certificate is not valid here: {error.verify_message}")
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return CertificateRefused("the peer refused this side's certificate")
    return HandshakeFailed("the TLS handshake failed")


async def start_tls(
    stream: trio.abc.Stream,
    context: ssl.SSLContext,
    *,
    server_hostname: str | None = None,
    server_side: bool = False,
) -> TlsStream:
    """Wrap a connected byte stream and shake hands; the caller sets the deadline.

    Raises:
        HandshakeFailed: certificate or protocol refused by either side.
    """
    tls = TlsStream(stream, context, server_hostname=server_hostname, server_side=server_side)
    await tls.handshake()
    return tls
