"""What a container is to the runtime: a specification, an output, a request to stop, an exit."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import trio

from customer_stub.produced import Stream

T = TypeVar("T")

SIGTERM_EXIT = 143  # 128 + SIGTERM, what a shell and a container runtime report


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """The part of a pod's container that decides what runs; `env` may hold secrets: not shown."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_dir: str | None = None

    @classmethod
    def from_pod(cls, pod: Mapping[str, Any]) -> ContainerSpec:
        """Read the only container of an admitted pod."""
        container = pod["spec"]["containers"][0]
        return cls(
            container["image"],
            tuple(container.get("command", ())),
            tuple(container.get("args", ())),
            {item["name"]: item.get("value", "") for item in container.get("env", ())},
            container.get("workingDir"),
        )


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: exit code, Kubernetes' reason, and a message for its status."""

    code: int
    reason: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        if not self.reason:
            object.__setattr__(self, "reason", "Error" if self.code else "Completed")


class Output(Protocol):
    """Where a container writes."""

    def write(self, stream: Stream, data: bytes) -> None:
        """Take output, whole lines or not; never waits."""


class Stop:
    """A request to end a container, with a grace period that later requests can only shorten.

    Attributes:
        requested: set once the container has been asked to end.
        patience: cancelled when the grace period is over; for whoever waits for the end.
    """

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.patience = trio.CancelScope(deadline=math.inf)

    def request(self, grace_s: float) -> None:
        """Ask the container to end within `grace_s` seconds."""
        self.patience.deadline = min(self.patience.deadline, trio.current_time() + grace_s)
        self.requested.set()

    async def unless_requested(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of work that comes before the container; None if it is stopped first.

        Raises:
            Exception: what the work raised.
        """
        result: T | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await self.requested.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            try:
                result = await work()
            except Exception as error:  # raised again where no group wraps it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return result


class Run(Protocol):
    """Runs a container to its end; cancelled, it leaves nothing running."""

    async def __call__(
        self, spec: ContainerSpec, output: Output, stop: Stop, started: Callable[[], None]
    ) -> Exit:
        """Call `started` once the container runs; return how it ended."""
