"""What the agent knows of pods, and what it may ask of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import trio

from compute_agent.attempts import Attempt
from kube.client import ClusterError


@dataclass(frozen=True, slots=True)
class SecretWish:
    """A secret that the cluster's webhook is asked to inject; a name and where it goes."""

    key: str
    env_var: str = ""
    mount_path: str = ""


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A task pod to create. One container, no restarts."""

    attempt: Attempt
    container: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[SecretWish, ...] = ()
    requests: dict[str, str] = field(default_factory=dict)  # Kubernetes resource -> quantity


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the cluster reports it.

    Args:
        attempt: whose pod.
        namespace, name, uid: its identity; the uid changes when a pod is created again.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        scheduled: whether it has a container that was at least tried to start.
        deleting: whether its deletion was asked for.
        deleted: whether it is gone.
        exit_code: of its container, once that has ended.
        created_s, started_s, finished_s: seconds since the epoch, None if not yet.
    """

    attempt: Attempt
    namespace: str
    name: str
    uid: str
    phase: str
    scheduled: bool = False
    deleting: bool = False
    deleted: bool = False
    exit_code: int | None = None
    created_s: float | None = None
    started_s: float | None = None
    finished_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it will never run again."""
        return self.deleted or self.phase in ("Succeeded", "Failed")

    @classmethod
    def from_json(cls, value: Any) -> Pod | None:
        """Read a Kubernetes Pod; None for a pod that is not one of ours.

        Raises:
            ClusterError: it is no Pod.
        """
        try:
            meta, status = value["metadata"], value.get("status") or {}
            attempt = Attempt.from_labels(meta.get("labels") or {})
            statuses = status.get("containerStatuses") or []
            state = statuses[0].get("state") or {} if statuses else {}
            ended = state.get("terminated") or {}
            started = (state.get("running") or ended).get("startedAt")
            if attempt is None:
                return None
            return cls(
                attempt=attempt,
                namespace=str(meta["namespace"]),
                name=str(meta["name"]),
                uid=str(meta["uid"]),
                phase=str(status.get("phase", "Pending")),
                scheduled=bool(statuses),
                deleting="deletionTimestamp" in meta,
                exit_code=int(ended["exitCode"]) if "exitCode" in ended else None,
                created_s=_seconds(meta.get("creationTimestamp")),
                started_s=_seconds(started),
                finished_s=_seconds(ended.get("finishedAt")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise ClusterError("the cluster's API sent something that is no Pod") from None


def _seconds(stamp: str | None) -> float | None:
    return datetime.fromisoformat(stamp).timestamp() if stamp else None


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch."""

    pod: Pod
    deleted: bool = False


class Cluster(Protocol):
    """What the agent may do in a cluster; nothing else."""

    async def create(self, spec: PodSpec) -> bool:
        """Create a pod; False if one by that name exists already.

        Raises:
            ClusterError
        """
        ...

    async def get(self, namespace: str, name: str) -> Pod | None:
        """Return a pod, None if there is none or it is not ours.

        Raises:
            ClusterError
        """
        ...

    async def delete(self, namespace: str, name: str) -> bool:
        """Delete a pod; False if there is none.

        Raises:
            ClusterError
        """
        ...

    async def list(self) -> tuple[list[Pod], str]:
        """Return our pods of all namespaces and the version to watch from.

        Raises:
            ClusterError
        """
        ...

    async def watch(self, version: str, tell: Callable[[Change], None]) -> str:
        """Tell every change after `version` until the API ends the watch; return the last version.

        Raises:
            WatchExpired: list again.
            ClusterError
        """
        ...


Listener = Callable[[Change], None]


class PodStore:
    """The agent's picture of its pods, kept by a watch.

    Attributes:
        change: set at the next change, and replaced by another then.

    Args:
        max_pods: most pods remembered, and as many deleted ones, whose logs may still be there;
            more are counted in `ignored`, not kept.
    """

    def __init__(self, max_pods: int) -> None:
        self._pods: dict[tuple[str, str], Pod] = {}
        self._past: dict[tuple[str, str], Pod] = {}
        self._max = max_pods
        self.change = trio.Event()
        self._listeners: list[Listener] = []
        self.synced = False
        self.ignored = 0

    def listen(self, listener: Listener) -> None:
        """Tell `listener` every change from now on."""
        self._listeners.append(listener)

    def all(self) -> list[Pod]:
        """Return every pod that there is."""
        return list(self._pods.values())

    def get(self, attempt: Attempt) -> Pod | None:
        """Return an attempt's pod, also when it was deleted; None if it was never seen."""
        key = attempt.namespace, attempt.pod
        pod = self._pods.get(key) or self._past.get(key)
        return pod if pod is not None and pod.attempt == attempt else None

    def latest(self, attempt: Attempt) -> int:
        """Return the highest attempt of the same action that has a pod; 1 if none has."""
        pods = (*self._pods.values(), *self._past.values())
        numbers = [
            p.attempt.attempt for p in pods if p.attempt.numbered(attempt.attempt) == attempt
        ]
        return max(numbers, default=1)

    def replace(self, pods: list[Pod]) -> None:
        """Take a complete list: what is not in it is gone."""
        there = {(pod.namespace, pod.name): pod for pod in pods}
        for key in self._pods.keys() - there.keys():
            self.apply(Change(self._pods[key], deleted=True))
        for pod in there.values():
            self.apply(Change(pod))
        self.synced = True
        self._notify()

    def apply(self, change: Change) -> None:
        """Take one change."""
        key = change.pod.namespace, change.pod.name
        if change.deleted:
            self._pods.pop(key, None)
            self._past[key] = replace(change.pod, deleted=True)
            if len(self._past) > self._max:
                del self._past[next(iter(self._past))]
        elif key in self._pods or len(self._pods) < self._max:
            self._pods[key] = change.pod
        else:
            self.ignored += 1
            return
        for listener in self._listeners:
            listener(change)
        self._notify()

    def lost(self) -> None:
        """The cluster cannot be seen any more."""
        self.synced = False
        self._notify()

    async def changed(self) -> None:
        """Wait for the next change."""
        await self.change.wait()

    def _notify(self) -> None:
        self.change.set()
        self.change = trio.Event()
