"""The node agent: follows the object store, runs the containers of pods, reports their status."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from customer_stub.collector.collector import Collector
from customer_stub.cri import LogWriter
from customer_stub.kubernetes.events import SCHEDULER, EventRecorder
from customer_stub.pods import replay, status, workload
from customer_stub.pods.container import SIGTERM_EXIT, ContainerSpec, Exit, Run, Stop
from customer_stub.pods.environment import Additions
from customer_stub.pods.images import Image, Images, PullError
from customer_stub.pods.process import ProcessRunner
from customer_stub.pods.workplace import workplace
from customer_stub.produced import Produced
from customer_stub.rotation import LogFile
from customer_stub.samples.feeder import Feeder
from customer_stub.samples.sampler import Running
from customer_stub.secrets.injection import InjectionFailed, Injector
from customer_stub.settings import CustomerSettings
from kube.server.node import NODE
from kube.server.store import Expired, Missing, ObjectStore
from kube.server.values import timestamp
from tunnel.journal import Journal

PODS = "pods"
RESTART = 0  # restartPolicy is always Never; the log's path still carries the number
LOG_FAILURE_EXIT = 137  # killed by us: a container whose output can't be kept must not run on
START_FAILURE_EXIT = 128  # as for a container that could not be started
CONFIG_ERROR = "CreateContainerConfigError"  # kubelet's reason where a secret is missing

BUILT_IN: dict[str, Run] = {"planesplit/replay": replay.run, "planesplit/workload": workload.run}

Json = dict[str, Any]


class Kubelet:
    """Runs every pod of a store on this machine.

    Attributes:
        additions: what the customer's side adds to every container.
        images: those of the cluster's registry; None runs every image as a command.
        injector: brings secrets into containers; None brings none.
        collector: told of logs that begin, rotate, end and are removed; None for none.
        feeder: told of pods that start, to sample them; None for none.

    Args:
        store: where pods come from and their status goes to.
        settings: limits and the root of the log directories.
        events: where a pod's events are recorded.
        journal: told of phases and exit codes, never of output.
        node: identifies this node's processes on the machine.
        clock: wall clock, nanoseconds since the epoch.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: CustomerSettings,
        events: EventRecorder,
        *,
        journal: Journal,
        node: str,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store, self._settings, self._journal = store, settings, journal
        self.additions = Additions()
        self.images: Images | None = None
        self.injector: Injector | None = None
        self.collector: Collector | None = None
        self.feeder: Feeder | None = None
        self._events = events
        self._clock = clock
        self._log_root = Path(settings.log_root)
        self._work_root = Path(settings.data_root) / "work" if settings.data_root else None
        self._processes = ProcessRunner(node, drain_s=settings.drain_s)
        self._waiting: OrderedDict[str, Json] = OrderedDict()
        self._stops: dict[str, Stop] = {}
        self._produced: dict[tuple[str, str], tuple[str, Produced]] = {}
        self._known: dict[str, Json] = {}
        self._deleted: deque[Json] = deque()
        self._ended = trio.Event()
        self._draining = False
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the store until cancelled; then every container is killed."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                seen = self._relist()
                while True:
                    await self._store.changed(seen)
                    seen = self._catch_up(seen)
        finally:
            await self._processes.aclose()

    async def stop(self, grace_s: float) -> None:
        """Ask every container to end and wait until all have; SIGKILL after `grace_s` seconds."""
        self._draining = True
        for stop in self._stops.values():
            stop.request(grace_s)
        while self._stops:
            self._ended = trio.Event()
            await self._ended.wait()

    def produced(self, namespace: str, name: str) -> Json | None:
        """Return what a pod's container produced so far, None if it never ran (see `Produced`)."""
        found = self._produced.get((namespace, name))
        if found is None:
            return None
        uid, produced = found
        identity = {"namespace": namespace, "pod": name, "uid": uid, "restart": RESTART}
        return {**identity, **produced.report()}

    def running(self) -> list[Running]:
        """Return the pods that run now."""
        current = [self._current(self._known[uid]) for uid in self._stops if uid in self._known]
        return [
            Running(pod, self._processes.pids.get(pod["metadata"]["uid"]))
            for pod in current
            if pod is not None and pod["status"]["phase"] == "Running"
        ]

    def log_directory(self, pod: Json) -> Path:
        """Return the directory of a pod's container logs, laid out as kubelet does."""
        meta = pod["metadata"]
        container: str = pod["spec"]["containers"][0]["name"]
        return self._log_root / f"{meta['namespace']}_{meta['name']}_{meta['uid']}" / container

    def _relist(self) -> int:
        version = self._store.version
        pods = self._store.list(PODS)
        for uid in self._known.keys() - {pod["metadata"]["uid"] for pod in pods}:
            self._forget(uid)
        for pod in pods:
            self._sync(pod)
        return version

    def _catch_up(self, seen: int) -> int:
        try:
            events = self._store.events_since(seen)
        except Expired:
            return self._relist()
        for event in events:
            if event.resource != PODS:
                continue
            if event.type == "DELETED":
                self._forget(event.object["metadata"]["uid"])
            elif (pod := self._current(event.object)) is not None:
                self._sync(pod)
        return events[-1].version if events else seen

    def _sync(self, pod: Json) -> None:
        """Bring one pod closer to what its object says; harmless if that has been done."""
        meta = pod["metadata"]
        uid = meta["uid"]
        self._known[uid] = pod
        if uid in self._stops:
            if "deletionTimestamp" in meta:
                self._kill(pod, meta["deletionGracePeriodSeconds"])
        elif "deletionTimestamp" in meta:
            self._store.delete(PODS, meta["namespace"], meta["name"], uid=uid)
        elif pod["status"]["phase"] == "Pending":
            self._waiting[uid] = pod
            self._start_waiting()

    def _forget(self, uid: str) -> None:
        """Stop a pod that is no more, and remove the logs of the one deleted longest ago."""
        self._waiting.pop(uid, None)
        if uid in self._stops:
            self._kill(self._known[uid], 0)
        if (pod := self._known.pop(uid, None)) is not None:
            self._deleted.append(pod)
        while len(self._deleted) > self._settings.deleted_logs:
            self._remove_logs(self._deleted.popleft())

    def _kill(self, pod: Json, grace_s: float) -> None:
        stop = self._stops[pod["metadata"]["uid"]]
        if not stop.requested.is_set():
            name = pod["spec"]["containers"][0]["name"]
            self._events.normal(pod, "Killing", f"Stopping container {name}")
        stop.request(grace_s)

    def _remove_logs(self, pod: Json) -> None:
        if self.collector is not None:
            self.collector.removing(self.log_directory(pod))
        shutil.rmtree(self.log_directory(pod).parent, ignore_errors=True)
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if self._produced.get(key, ("",))[0] == pod["metadata"]["uid"]:
            del self._produced[key]

    def _start_waiting(self) -> None:
        while (
            self._waiting and len(self._stops) < self._settings.max_running and not self._draining
        ):
            uid, pod = self._waiting.popitem(last=False)
            self._stops[uid] = Stop()
            self._nursery.start_soon(self._run_pod, pod, self._stops[uid])

    async def _run_pod(self, pod: Json, stop: Stop) -> None:
        meta = pod["metadata"]
        placed = f"Successfully assigned {meta['namespace']}/{meta['name']} to {NODE}"
        self._events.normal(pod, "Scheduled", placed, source=SCHEDULER)
        self._report(pod, status.creating)
        try:
            exit_ = await self._pull_and_run(pod, stop)
        except* OSError:
            exit_ = Exit(LOG_FAILURE_EXIT, "LogFailed", "the container's output could not be kept")
        del self._stops[meta["uid"]]
        self._ended.set()
        finished = timestamp(self._clock())
        self._note_end(pod, exit_)
        self._report(pod, lambda current: status.terminated(current, exit_, finished=finished))
        self._journal.event("pod_ended", pod=pod["metadata"]["name"], exit_code=exit_.code)
        current = self._current(pod)
        if current is not None and "deletionTimestamp" in current["metadata"]:
            self._store.delete(PODS, current["metadata"]["namespace"], current["metadata"]["name"])
        self._start_waiting()

    async def _pull_and_run(self, pod: Json, stop: Stop) -> Exit:
        spec = ContainerSpec.from_pod(pod)
        with workplace(self._work_root, pod["metadata"]["uid"]) as place:
            image: Image | None = None
            try:
                if self.images and place and (reference := self.images.reference(spec.image)):
                    self._events.normal(pod, "Pulling", f'Pulling image "{spec.image}"')
                    pull = partial(self.images.instance, reference, Path(place))
                    image = await stop.unless_requested(pull)
                    if image is None:
                        return Exit(SIGTERM_EXIT)
            except PullError as error:
                why = str(error)
                self._report(pod, lambda current: status.waiting(current, "ErrImagePull", why))
                return Exit(START_FAILURE_EXIT, "ErrImagePull", why)
            spec = self.additions.complete(spec, image)
            spec = replace(spec, working_dir=spec.working_dir or place)
            return await self._inject_and_run(pod, stop, spec, image)

    async def _inject_and_run(
        self, pod: Json, stop: Stop, spec: ContainerSpec, image: Image | None
    ) -> Exit:
        if self.injector is None:
            return await self._run_container(pod, stop, spec, image)
        try:
            tell = partial(self._lacks_secret, pod)
            injected = await stop.unless_requested(partial(self.injector.inject, pod, tell))
        except InjectionFailed as error:
            return Exit(START_FAILURE_EXIT, CONFIG_ERROR, str(error))
        if injected is None:
            return Exit(SIGTERM_EXIT)
        try:
            spec = replace(spec, env={**spec.env, **injected.env})
            return await self._run_container(pod, stop, spec, image)
        finally:
            injected.close()

    def _lacks_secret(self, pod: Json, why: str) -> None:
        self._events.warning(pod, "Failed", f"Error: {why}")
        self._report(pod, lambda current: status.waiting(current, CONFIG_ERROR, why))

    async def _run_container(
        self, pod: Json, stop: Stop, spec: ContainerSpec, image: Image | None
    ) -> Exit:
        meta = pod["metadata"]
        produced = Produced()
        self._produced[meta["namespace"], meta["name"]] = (meta["uid"], produced)
        log = LogFile(
            self.log_directory(pod) / f"{RESTART}.log",
            rotate_bytes=self._settings.rotate_bytes,
            rotate_files=self._settings.rotate_files,
            clock=self._clock,
            on_rotate=self._collect(pod),
        )
        writer = LogWriter(log, produced, clock=self._clock)
        started = partial(self._started, pod)
        run = BUILT_IN.get(spec.image.partition(":")[0]) or partial(
            self._processes.run, uid=meta["uid"]
        )
        present = f'Container image "{spec.image}" already present on machine'
        pulled = f'Successfully pulled image "{spec.image}"'
        self._events.normal(pod, "Pulled", pulled if image else present)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.tend)
            try:
                return await run(spec, writer, stop, started)
            finally:
                writer.close()
                if self.collector is not None:
                    self.collector.ended(self.log_directory(pod), RESTART)

    def _collect(self, pod: Json) -> Callable[[], None]:
        """Have the log collected; what is returned is to be called at every rotation."""
        if self.collector is None:
            return lambda: None
        return self.collector.follow(pod, self.log_directory(pod), RESTART)

    def _note_end(self, pod: Json, exit_: Exit) -> None:
        name = pod["spec"]["containers"][0]["name"]
        if not exit_.code:
            self._events.normal(pod, "Completed", f"Container {name} completed")
        else:
            why = exit_.message or f"Container {name} exited with code {exit_.code}"
            self._events.warning(pod, "Failed", f"{exit_.reason}: {why}")

    def _started(self, pod: Json) -> None:
        name = pod["spec"]["containers"][0]["name"]
        self._events.normal(pod, "Created", f"Created container: {name}")
        self._events.normal(pod, "Started", f"Started container {name}")
        started = timestamp(self._clock())
        self._report(pod, lambda current: status.running(current, started=started))
        self._journal.event("pod_started", pod=pod["metadata"]["name"])
        if self.feeder is not None:
            self.feeder.started(Running(pod, self._processes.pids.get(pod["metadata"]["uid"])))

    def _report(self, pod: Json, new_status: Callable[[Json], Json]) -> None:
        meta = pod["metadata"]

        def change(current: Json) -> None:
            current["status"] = new_status(current)

        with contextlib.suppress(Missing):  # deleted by force while it ran
            self._store.update(PODS, meta["namespace"], meta["name"], change, uid=meta["uid"])

    def _current(self, pod: Json) -> Json | None:
        meta = pod["metadata"]
        try:
            return self._store.get(PODS, meta["namespace"], meta["name"], uid=meta["uid"])
        except Missing:
            return None
