"""Certificates for the tunnel's tests; trio's scheduler made repeatable."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
import wires

from planesplit.pki import Authority


@pytest.fixture(autouse=True)
def repeatable_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tasks in an order that is random and the same every time (trio's private names)."""
    run = trio._core._run
    monkeypatch.setattr(run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    monkeypatch.setattr(run, "_r", random.Random(1))


@pytest.fixture(params=["memory", "websocket"])
def either_wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test over a link in memory and over a WebSocket on streams in memory."""
    makers = {"memory": wires.memory_pair, "websocket": wires.plain_websocket_pair}
    monkeypatch.setattr(wires, "default_ends", makers[request.param])


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> wires.Contexts:
    """TLS contexts with certificates of a private authority."""
    return wires.Contexts.of(Authority(Path(tmp_path_factory.mktemp("authority")) / "pki"))
