"""Bounds of an HTTP listener."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.settings import setting


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one listener."""

    connections: int = setting(
        512, low=1, high=65_536, why="more are closed at once; half of a usual descriptor limit"
    )
    handshake_s: float = setting(
        10.0, low=0.1, high=120.0, why="a TLS handshake takes four flights at most"
    )
    idle_s: float = setting(
        30.0, low=0.1, high=600.0, why="keep-alive, and the time for a first request to arrive"
    )
    request_s: float = setting(
        30.0, low=0.1, high=600.0, why="time for a body: 4 MiB at 1.2 Mbit/s"
    )
    body_idle_s: float = setting(
        30.0, low=0.1, high=600.0, why="patience with a body that does not move"
    )
    body_rate_bytes_s: int = setting(
        1_024, low=1, high=1_048_576, why="slowest sender: so many bytes give a second back to it"
    )
    send_s: float = setting(
        30.0, low=0.1, high=600.0, why="a client that reads nothing for so long is cut off"
    )
    grace_s: float = setting(
        3.0, low=0.0, high=60.0, why="requests that run at SIGTERM may end within it"
    )
