"""A trio loop in a thread of its own, and calls into it from any other thread.

`trio.from_thread` refuses a caller that is itself inside trio, as a trio test is; this doesn't.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeVar

import trio

T = TypeVar("T")
R = TypeVar("R")

JOIN_S = 60.0  # leaving the context has deadlines of its own; this one only bounds a bug


class Portal(Generic[T]):
    """Keeps an async context manager open in a thread.

    Args:
        open_context: makes the context manager, in the thread.
    """

    def __init__(self, open_context: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._open_context = open_context
        self._entered: Future[T] = Future()
        self._left: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="planesplit", daemon=True)
        self._token: trio.lowlevel.TrioToken
        self._nursery: trio.Nursery
        self._stop: trio.Event

    def start(self, timeout_s: float) -> T:
        """Start the thread, enter the context and return its value.

        Raises:
            TimeoutError: it took longer.
            Exception: whatever entering the context raised.
        """
        self._thread.start()
        return self._entered.result(timeout_s)

    def stop(self) -> None:
        """Leave the context and end the thread.

        Raises:
            Exception: whatever leaving the context raised.
        """
        with suppress(trio.RunFinishedError):  # it ended by itself; what it raised follows
            self._token.run_sync_soon(self._stop.set)
        self._thread.join(JOIN_S)
        self._left.result(0)

    def call(
        self, function: Callable[..., Awaitable[R]], *args: Any, timeout_s: float | None = None
    ) -> R:
        """Run an async function in the loop and wait for its result; it is cancelled on timeout.

        Raises:
            TimeoutError: it took longer than `timeout_s`.
            Exception: whatever it raised, or what ended the loop.
        """
        future: Future[R] = Future()

        async def job() -> None:
            try:
                with trio.fail_after(timeout_s if timeout_s is not None else float("inf")):
                    result = await function(*args)
            except trio.TooSlowError:
                future.set_exception(TimeoutError(f"not within {timeout_s:g} s"))
            except BaseException as error:
                future.set_exception(_outward(error))
                if not isinstance(error, Exception):
                    raise  # trio's own Cancelled has to go on
            else:
                future.set_result(result)

        try:
            self._token.run_sync_soon(self._nursery.start_soon, job)
        except trio.RunFinishedError:
            self._left.result(0)
            raise
        return future.result()

    def spawn(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task in the loop; it is cancelled by `stop`."""
        self._token.run_sync_soon(self._nursery.start_soon, function, *args)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            if not self._entered.done():
                self._entered.set_exception(error)
            self._left.set_exception(error)
        else:
            self._left.set_result(None)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with self._open_context() as value, trio.open_nursery() as self._nursery:
            self._entered.set_result(value)
            await self._stop.wait()
            self._nursery.cancel_scope.cancel()


def _outward(error: BaseException) -> BaseException:
    """What the caller sees: not trio's own Cancelled."""
    if isinstance(error, trio.Cancelled):
        return RuntimeError("the split was stopped meanwhile")
    return error
