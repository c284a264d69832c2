"""The HTTP side of ClickHouse as a script on real sockets, and a client whose stream it answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import urllib3

TAG = "abcdefghijklmnop"
QUERY = b"SELECT {x:String}"  # what clients ask; unread it would make a RST of our close
Body = Callable[["Connection"], None]


class Connection:
    """One request's connection, and what a body may do with it."""

    def __init__(self, connection: socket.socket, server: BodyServer) -> None:
        self.socket, self.server = connection, server

    def head(self, tag: str | None = TAG) -> None:
        extra = f"X-ClickHouse-Exception-Tag: {tag}\r\n" if tag else ""
        text = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{extra}\r\n"
        self.socket.sendall(text.encode())

    def chunk(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        self.server.sent += len(data)

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def exception(self, code: int, tag: str = TAG) -> None:
        text = f"Code: {code}. DB::Exception: secret words. (NAME) (version 26.5.1.1)"
        block = f"\r\n__exception__\r\n{tag}\r\n{text}\n{len(text)} {tag}\r\n__exception__\r\n"
        self.chunk(block.encode())


class BodyServer:
    """Answers each request with the same body."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sent = 0
        self.gone = threading.Event()  # the client went away
        self.killed = threading.Event()
        self._open: list[socket.socket] = []
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while not request.endswith(QUERY) and (piece := connection.recv(65_536)):
            request += piece
        try:
            self._body(Connection(connection, self))
        except OSError:
            self.gone.set()
        connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`, which a close would not
        self._serving.join()
        self._listener.close()
        for connection in self._open:
            connection.close()


class Client:
    """As much of clickhouse-connect's client as a query uses."""

    def __init__(self, server: BodyServer) -> None:
        self._server = server
        self._pool = urllib3.PoolManager(retries=False, timeout=5.0)
        self.asked: list[tuple[str, dict, dict, str]] = []
        self.killed: list[str] = []
        self.server_settings: dict[str, object] = {}

    def raw_stream(self, sql, values, settings, fmt):
        self.asked.append((sql, values, settings, fmt))
        url = f"http://127.0.0.1:{self._server.port}/"
        return self._pool.request("POST", url, body=sql, preload_content=False)

    def command(self, sql, parameters):
        assert sql.startswith("KILL QUERY")
        self.killed.append(parameters["id"])
        self._server.killed.set()


class Access:
    """What gives out clients; `error` is raised instead."""

    def __init__(self, client: Client, error: Exception | None = None) -> None:
        self._client, self.error, self.forgotten = client, error, 0

    def client(self) -> Client:
        if self.error is not None:
            raise self.error
        return self._client

    def forget(self) -> None:
        self.forgotten += 1


@contextmanager
def body_server(body: Body) -> Iterator[tuple[BodyServer, Client]]:
    server = BodyServer(body)
    try:
        yield server, Client(server)
    finally:
        server.close()
