"""What the kernel does not take at once waits for `flush`, and nothing of it is lost or doubled."""

from __future__ import annotations

import trio

from relay.http1 import Http1
from relay.settings import RelaySettings

PART = bytes(range(256)) * 4_096  # more than a socket takes
READ_BYTES = 1_048_576


async def test_what_write_now_leaves_is_flushed() -> None:
    ours, theirs = trio.socket.socketpair()
    http = Http1(trio.SocketStream(ours), RelaySettings())
    chunk = b"%x\r\n%s\r\n" % (2 * len(PART), PART + PART)
    chunks, got = 1, bytearray()
    while http.write_now([PART, PART], 2 * len(PART)):
        chunks += 1  # until the socket is full
    assert http.torn
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.flush)
        while len(got) < chunks * len(chunk):
            got += await theirs.recv(READ_BYTES)
    assert not http.torn
    assert got == chunk * chunks
    ours.close()
    theirs.close()
