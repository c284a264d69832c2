"""Access to ClickHouse: what is refused at start, and that a failed connection tells nobody why."""

from __future__ import annotations

import logging
import socket

import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from compute_agent.clickhouse import ClickHouse, ClickHouseSettings
from compute_agent.metrics.running import ClickHouseEngine
from compute_agent.metrics.settings import MetricsLimits
from tunnel.settings import SettingError, load
from tunnel.token import TokenUnreadable


@pytest.mark.parametrize(
    "url",
    [
        "http://clickhouse.example:8123",
        "clickhouse.example",
        "https://",
        "ftp://127.0.0.1",
        "chdb://memory",
        "http://127.0.0.1.example:8123",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_start(url: str) -> None:
    with pytest.raises(SettingError, match=r"clickhouse\.url"):
        ClickHouseEngine(ClickHouseSettings(url=url), MetricsLimits())


@pytest.mark.parametrize("url", ["https://clickhouse.example", "http://127.0.0.1:8123", ""])
def test_tls_anywhere_and_plain_on_loopback(url: str) -> None:
    load(ClickHouseSettings, {"url": url}).check()


def test_a_connection_that_fails_is_logged_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    access = ClickHouse(ClickHouseSettings(url=f"http://127.0.0.1:{port}"), 1.0)
    logging.getLogger().addHandler(stderr := logging.StreamHandler())
    try:
        with pytest.raises(OperationalError):
            access.client()
    finally:
        logging.getLogger().removeHandler(stderr)
    assert capfd.readouterr() == ("", "")


def test_a_password_that_cannot_be_read_is_told_as_such() -> None:
    settings = ClickHouseSettings(url="http://127.0.0.1:1", password_file="/nonexistent/password")
    with pytest.raises(TokenUnreadable):
        ClickHouse(settings, 1.0).client()
