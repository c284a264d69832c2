"""What a session needs below it: complete frames in, frames out."""

from __future__ import annotations

from typing import Protocol

from tunnel.streams import Frame


class Transport(Protocol):
    """An ordered, reliable, message-preserving connection. One task reads, one task writes."""

    @property
    def pending(self) -> bool:
        """Whether the layer has something of its own to send: call `send`, if only with []."""
        ...

    async def receive(self) -> list[memoryview]:
        """Wait for frames and return all that are there, in order; none if only `pending` is.

        Raises:
            TransportClosed: the connection ended, cleanly or not.
        """
        ...

    async def send(self, frames: list[Frame]) -> None:
        """Hand frames over; returns when the layer below took them all.

        Raises:
            TransportClosed: the connection ended.
        """
        ...

    def send_now(self, frames: list[Frame]) -> None:
        """Hand frames over without waiting; what is not taken at once becomes `pending`.

        Only while nothing is pending and `send` is not under way.

        Raises:
            TransportClosed: the connection ended.
        """
        ...

    async def aclose(self) -> None:
        """End the connection; safe to call twice and when cancelled."""
        ...
