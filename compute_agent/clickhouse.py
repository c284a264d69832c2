"""The customer's ClickHouse: where it is, and a client for it. Used from threads only."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tunnel.settings import SettingError, setting
from tunnel.token import TokenFile

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from urllib3 import PoolManager

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
CLIENT_NAME = "planesplit-agent"


@dataclass(frozen=True, slots=True)
class ClickHouseSettings:
    """Access to ClickHouse over HTTP.

    Args:
        url: `https://host:port`, or `http://` on loopback; empty: there is none.
        user: must be allowed to set limits for its own queries (readonly 0 or 2).
        password_file: read again when the user is refused; empty for no password.
        ca_file: PEM of the CA of its certificate; empty for the system's.
        database: with the tables of the OpenTelemetry exporter.
    """

    url: str = ""
    user: str = "default"
    password_file: str = ""
    ca_file: str = ""
    database: str = "otel"
    connect_s: int = setting(
        5, low=1, high=60, why="TCP handshake: two SYN retransmissions (1 s, 3 s) fit"
    )
    pool_connections: int = setting(
        16, low=1, high=256, why="idle connections kept; more are opened and closed again"
    )

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            SettingError: the URL is none.
        """
        url = urlsplit(self.url)
        plain = url.scheme == "http" and url.hostname in LOOPBACK
        if self.url and (not url.hostname or not (plain or url.scheme == "https")):
            raise SettingError(
                "setting 'clickhouse.url' must be https://host:port, or http:// on loopback"
            )


class ClickHouse:
    """Makes clickhouse-connect's client when it is first needed, and again after it was refused.

    The client is shared by threads: it has no session, and its pool opens as many connections as
    there are queries.

    Args:
        settings: where it is.
        read_s: longest silence of the server; what runs longer fails.
    """

    def __init__(self, settings: ClickHouseSettings, read_s: float) -> None:
        settings.check()
        self._settings, self._read_s = settings, read_s
        self._client: Client | None = None

    def client(self) -> Client:
        """Return a client; connects at the first call, in this thread.

        Raises:
            clickhouse_connect.driver.exceptions.Error: the server cannot be reached, or refuses.
            OSError: the password's file cannot be read.
        """
        client = self._client
        if client is None:  # threads that come here together all connect: none waits for another
            client = self._client = self._connect()
        return client

    def forget(self) -> None:
        """Connect anew next time: the password may have changed."""
        self._client = None

    def _connect(self) -> Client:
        import clickhouse_connect  # 0.3 s: only agents that are asked need it

        _silence("clickhouse_connect")
        _silence("urllib3")
        settings = self._settings
        url = urlsplit(settings.url)
        file = settings.password_file
        return clickhouse_connect.get_client(
            interface=url.scheme,
            host=url.hostname,
            port=url.port or (8443 if url.scheme == "https" else 8123),
            username=settings.user,
            password=TokenFile(file).current().reveal().decode() if file else "",
            database=settings.database,
            compress=False,
            query_retries=0,
            connect_timeout=settings.connect_s,
            send_receive_timeout=math.ceil(self._read_s),
            client_name=CLIENT_NAME,
            show_clickhouse_errors=False,  # errors quote statements and URLs
            autogenerate_session_id=False,  # a session serves one query at a time
            pool_mgr=self._pool(),
        )

    def _pool(self) -> PoolManager:
        from clickhouse_connect.driver.httputil import get_pool_manager

        made: PoolManager = get_pool_manager(
            ca_cert=self._settings.ca_file or None, maxsize=self._settings.pool_connections
        )
        return made


def _silence(name: str) -> None:
    """Cut a library's loggers off: they tell URLs, which carry a query's parameters."""
    logger = logging.getLogger(name)
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)
