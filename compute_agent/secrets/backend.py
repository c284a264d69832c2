"""What the agent may do with a secrets backend: write values, read everything but values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from compute_agent.secrets.names import SecretName, SecretScope


class SecretError(Exception):
    """The backend can't be used now; worth a retry. Never holds a value."""


class SecretRefused(SecretError):
    """The backend says no, and will again; the message says why."""


class SecretExists(SecretError):
    """There is a secret by that name."""


class SecretMissing(SecretError):
    """There is no secret by that name."""


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be told of a secret.

    Args:
        name: in its scope.
        image_pull: whether it is for pulling images.
        created_s: seconds since the epoch.
    """

    name: str
    image_pull: bool
    created_s: float


@dataclass(frozen=True, slots=True)
class SecretValue:
    """A value on its way into the backend; not shown by repr.

    Args:
        data: the bytes.
        image_pull: see SecretInfo.
    """

    data: bytes
    image_pull: bool = False

    def __repr__(self) -> str:
        return f"SecretValue({len(self.data)} bytes)"


class SecretBackend(Protocol):
    """A customer's secrets. Every method raises SecretError, SecretRefused and those it names."""

    async def create(self, name: SecretName, value: SecretValue) -> None:
        """Add a secret; raises SecretExists."""
        ...

    async def update(self, name: SecretName, value: SecretValue) -> None:
        """Replace a value; raises SecretMissing."""
        ...

    async def delete(self, name: SecretName) -> None:
        """Remove a secret; raises SecretMissing."""
        ...

    async def get(self, name: SecretName) -> SecretInfo:
        """Describe a secret; raises SecretMissing."""
        ...

    async def list(self, scope: SecretScope) -> list[SecretInfo]:
        """Describe every secret of exactly this scope, in the order of names."""
        ...
