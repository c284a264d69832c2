"""`Split`: a whole split as one object. `async with Split() as split: ...`"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import trio

from planesplit.delivery import Delivery, WholeLine, compare, sha256
from planesplit.ready import Ready
from planesplit.residency import Counted, count
from planesplit.split.backend import Backend, Listener
from planesplit.split.customer_log import last_written, pod_directory, read_log
from planesplit.split.describe import describe
from planesplit.split.directory import Directory, private_directory
from planesplit.split.link import Ending, Link
from planesplit.split.options import AGENT, SplitOptions
from planesplit.split.plane import LAST_LINES, PlaneFailed
from planesplit.split.process_memory import ProcessMemory
from planesplit.split.processes import Processes
from planesplit.split.ring import Ring
from planesplit.split.sole import sole
from planesplit.split.steering import serve_steering
from planesplit.tail import Line
from planesplit.viewer import ROOT_ACTION, RunStatus, Viewer, open_viewer
from planesplit.workloads import container

METRICS_S = 5.0
HEAL_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Produced:
    """What a run wrote, by the customer's own files: lines, SHA-256 of their text."""

    lines: int
    sha256: str


class Split:
    """Customer infrastructure, agent, relay and control plane, running together.

    Args:
        options: how it is started.

    Raises:
        PlaneFailed: on entering, when a plane does not come up; on leaving, when one ended unasked.
    """

    def __init__(self, options: SplitOptions | None = None) -> None:
        self.options = options or SplitOptions()
        self._context: AbstractAsyncContextManager[None] | None = None
        self._files: Directory
        self._planes: Backend
        self._ops: httpx.AsyncClient
        self.viewer: Viewer
        self.ready: Ready

    async def __aenter__(self) -> Split:
        self._context = self._running()
        await self._context.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._context is not None
        return await self._context.__aexit__(kind, error, trace)

    @property
    def link(self) -> Link:
        """The hop from agent to relay."""
        return self._planes.link

    @property
    def pids(self) -> dict[str, int]:
        """Process id of every plane now; those in the ready file are of their first lives."""
        return self._planes.pids

    def memory(self, plane: str) -> ProcessMemory | None:
        """Return the memory of a plane's process in its present life.

        None unless the split is `provable`, and the plane the relay or the control plane.
        """
        return self._planes.memory(plane)

    def journal(self, plane: str) -> Ring:
        """Return the last journal lines of a plane; they survive its restarts."""
        return self._planes.journals[plane]

    @contextmanager
    def hear(self, listener: Listener) -> Iterator[None]:
        """Have every line that a plane's process writes, on either stream, told to `listener`."""
        self._planes.listeners.append(listener)
        try:
            yield
        finally:
            self._planes.listeners.remove(listener)

    async def run(
        self,
        *,
        exec: str | Sequence[str] | None = None,  # noqa: A002 - the option's name
        replay: Path | str | None = None,
        workload: str | None = None,
        image: str | None = None,
        args: Sequence[str] = (),
        env: dict[str, str] | None = None,
        name: str = "",
        cluster: str = "",
    ) -> str:
        """Start a run and return its name; see `planesplit.workloads.container`.

        Args:
            name, cluster: see `Viewer.run`.

        Raises:
            ValueError: not exactly one of exec, replay, workload and image.
            ConnectError: the control plane refuses.
        """
        made = container(
            exec=exec, replay=replay, workload=workload, image=image, args=args, env=env
        )
        return await self.viewer.run(made, name, cluster=cluster)

    def tail(self, run: str, **options: Any) -> AbstractAsyncContextManager[AsyncGenerator[Line]]:
        """Tail a run as the demo client; see `Viewer.tail`."""
        return self.viewer.tail(run, **options)

    async def wait(self, run: str) -> RunStatus:
        """Wait until a run has ended; see `Viewer.wait`."""
        return await self.viewer.wait(run)

    async def kill(self, plane: str) -> None:
        """SIGKILL a plane."""
        await self._planes.kill(plane)

    async def restart(self, plane: str) -> None:
        """Start a plane again, where it was; one that still runs is killed first."""
        await self._planes.restart(plane)

    def plant(self, planted: Mapping[str, str]) -> None:
        """Say which plane is started with which leak from its next start on; `{}` for none.

        Raises:
            ValueError: the planes run in this process.
        """
        self._planes.plant(planted)

    async def stop(self, plane: str) -> int:
        """Stop a plane in order (SIGTERM); return its exit status."""
        return await self._planes.stop_plane(plane)

    def freeze(self, plane: str) -> None:
        """Stop a plane's process (SIGSTOP) until `thaw`."""
        self._planes.freeze(plane)

    def thaw(self, plane: str) -> None:
        """Let a frozen plane go on (SIGCONT)."""
        self._planes.thaw(plane)

    async def rotate_certs(self) -> None:
        """Give the relay and every agent other certificates; raises what Backend's does."""
        await self._planes.rotate_certs()

    async def revoke_control(self) -> None:
        """Shut the control plane's certificate out and give it another; see Backend."""
        await self._planes.revoke_control()

    async def rotate_keys(self) -> None:
        """Have the control plane sign with another key, once everybody knows it."""
        await self._planes.rotate_keys()

    async def heal(self) -> None:
        """Undo faults: the link passes everything, every plane runs, the tunnel is open.

        Raises:
            PlaneFailed: a plane does not come back, or the tunnel does not open in `ready_s`.
        """
        await self._planes.heal()
        with trio.move_on_after(self.options.ready_s):
            while await self._tunnel_count() < len(self.options.all_clusters):  # noqa: ASYNC110 - another process
                await trio.sleep(HEAL_POLL_S)
            return
        lines = self.journal(AGENT).lines[-LAST_LINES:]
        raise PlaneFailed(AGENT, "did not come back to the relay", lines)

    def cut(self, ending: Ending = "reset") -> int:
        """Cut the tunnel's TCP connection; return how many connections that were."""
        return self.link.cut(ending)

    async def tunnel_open(self, since: int = 0) -> None:
        """Wait until the agent has opened a tunnel.

        Args:
            since: `journal("compute_agent").count`, taken before what cut the last one.
        """
        await self._planes.tunnel_open(since)

    def log(self, run: str, attempt: int = 1) -> list[WholeLine]:
        """Read what a run wrote from the customer's own files, every line so far.

        Raises:
            NoLog: it has not begun.
        """
        return read_log(self._pod_directory(run, attempt))

    def last_written(self, run: str, count: int) -> list[str]:
        """Look at the last lines in a run's current log file; cheap, for a screen.

        Raises:
            NoLog: it has not begun.
        """
        return last_written(self._pod_directory(run), count)

    def produced(self, run: str) -> Produced:
        """Return count and digest of what a run wrote.

        Raises:
            NoLog: it has not begun.
        """
        lines = self.log(run)
        return Produced(len(lines), sha256(lines))

    def delivery(self, run: str, lines: Iterable[Line]) -> Delivery:
        """Compare what a viewer received with what the run wrote."""
        return compare(self.log(run), lines)

    def assert_delivered(self, run: str, lines: Iterable[Line]) -> Delivery:
        """Assert that a viewer received exactly what the run wrote, in its order.

        Raises:
            AssertionError: with the counts of what is wrong.
        """
        delivery = self.delivery(run, lines)
        if not delivery.exact:
            raise AssertionError(f"run {run} was not delivered exactly: {delivery}")
        return delivery

    async def metrics(self) -> dict[str, float]:
        """Read the relay's metrics: value by sample name, labels included.

        Raises:
            httpx.HTTPError: the relay is away.
        """
        answer = await self._ops.get(f"{self.ready.urls.ops}/metrics")
        samples = (line.rpartition(" ") for line in answer.text.splitlines() if line[:1] != "#")
        return {name: float(value) for name, _, value in samples}

    async def residency(self) -> list[Counted]:
        """Return the white paper's rows with each hop's bytes since its plane started.

        Raises:
            CountersAway: naming the hop that does not tell.
        """
        return await count(self.ready, self._planes.mounts)

    async def assert_resident(self) -> list[Counted]:
        """Assert that every row went where the white paper says, and nowhere else.

        Raises:
            AssertionError: naming the rows.
            CountersAway: naming the hop that does not tell.
        """
        rows = await self.residency()
        if broken := [row.table() for row in rows if not row.as_claimed]:
            raise AssertionError(f"rows are not as claimed: {broken}")
        return rows

    async def _tunnel_count(self) -> int:
        try:
            return int((await self.metrics())["relay_tunnels"])
        except (httpx.HTTPError, KeyError):
            return 0

    def _pod_directory(self, run: str, attempt: int = 1) -> Path:
        place = self.options.place
        pod = f"{run}-{ROOT_ACTION}-{attempt}"
        roots = [site.log_root for site in self._files.sites.values()]
        return pod_directory(roots, f"{place.project}-{place.domain}", pod)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        with private_directory(self.options.keep) as path:
            self._files = Directory(path, self.options)
            try:
                async with trio.open_nursery() as nursery:
                    self._planes = self._backend(nursery)
                    async with _stopping(self._planes):
                        await self._planes.start()
                        self.ready = describe(self.options, self._files, self._planes)
                        if self.options.mode == "processes":
                            await nursery.start(serve_steering, self, self._files.path)
                        async with self._clients():
                            yield
                    nursery.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                raise sole(group) from None
            if self._planes.failure:
                raise self._planes.failure

    def _backend(self, nursery: trio.Nursery) -> Backend:
        if self.options.mode == "processes":
            return Processes(self.options, self._files, nursery)
        from planesplit.split.inprocess import InProcess  # imports every plane

        return InProcess(self.options, self._files, nursery)

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[None]:
        planes = self._planes
        self._ops = httpx.AsyncClient(
            mounts=planes.mounts,
            trust_env=False,
            verify=False,  # noqa: S501 - plain HTTP on loopback
            timeout=METRICS_S,
        )
        viewer = open_viewer(self.ready, mounts=planes.mounts, now_s=planes.now_s)
        async with self._ops, viewer as self.viewer:
            yield


@asynccontextmanager
async def _stopping(planes: Backend) -> AsyncIterator[None]:
    """Stop every plane at the end, in order if there is time, whatever ended the body."""
    try:
        yield
    finally:
        try:
            with trio.CancelScope(shield=True):
                await planes.stop()
        finally:
            planes.kill_all()
