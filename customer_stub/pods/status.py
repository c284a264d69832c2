"""Pod status as Kubernetes shapes it: pending, running, terminated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from customer_stub.pods.container import Exit

Json = dict[str, Any]


def creating(pod: Mapping[str, Any]) -> Json:
    """Return the status of a pod whose container is about to start."""
    state = {"waiting": {"reason": "ContainerCreating"}}
    return {
        "phase": "Pending",
        "containerStatuses": [_container(pod, state, running=False, started=False)],
    }


def waiting(pod: Mapping[str, Any], reason: str, message: str) -> Json:
    """Return the status of a pod whose container can't be started, and why."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "phase": "Pending",
        "containerStatuses": [_container(pod, state, running=False, started=False)],
    }


def running(pod: Mapping[str, Any], *, started: str) -> Json:
    """Return the status of a pod whose container runs since `started`."""
    state = {"running": {"startedAt": started}}
    return {
        "phase": "Running",
        "startTime": started,
        "containerStatuses": [_container(pod, state, running=True, started=True)],
    }


def terminated(pod: Mapping[str, Any], exit_: Exit, *, finished: str) -> Json:
    """Return the status of a pod whose container has ended, or could not be started."""
    started = pod["status"].get("startTime", finished)
    state: Json = {
        "exitCode": exit_.code,
        "reason": exit_.reason,
        "startedAt": started,
        "finishedAt": finished,
        "containerID": _container_id(pod),
    }
    if exit_.message:
        state["message"] = exit_.message
    return {
        "phase": "Failed" if exit_.code else "Succeeded",
        "startTime": started,
        "containerStatuses": [_container(pod, {"terminated": state}, running=False, started=False)],
    }


def _container(pod: Mapping[str, Any], state: Json, *, running: bool, started: bool) -> Json:
    container = pod["spec"]["containers"][0]
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "containerID": "" if "waiting" in state else _container_id(pod),
        "ready": running,
        "started": started,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }


def _container_id(pod: Mapping[str, Any]) -> str:
    return f"planesplit://{pod['metadata']['uid']}"
