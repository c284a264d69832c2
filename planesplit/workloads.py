"""What a run may execute: a command, the replay of a file, or a named workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SHELL = "/bin/sh"
COMMAND_IMAGE = "planesplit/command"  # any image name runs its command as a real process
REPLAY_IMAGE = "planesplit/replay"
WORKLOAD_IMAGE = "planesplit/workload"
TRAINING = "training"  # the workload that asks for a GPU


@dataclass(frozen=True, slots=True)
class Container:
    """One container: image, command line, environment and how many GPUs it asks for."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] | None = None
    name: str = "command"
    gpus: int = 0


def container(
    *,
    exec: str | Sequence[str] | None = None,  # noqa: A002 - the option's name
    replay: Path | str | None = None,
    workload: str | None = None,
    image: str | None = None,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Container:
    """Describe what to run; exactly one of `exec`, `replay`, `workload` and `image`.

    Args:
        exec: a shell command line, or a command as a list.
        replay: a file whose lines are printed; `args` may name the lines per second.
        workload: a name of the seeded generator; `args` are its options.
        image: an image of the cluster's registry (`registry.local/name:tag`), run as it says.
        args: further arguments.
        env: environment variables.

    Raises:
        ValueError: none or several are given.
    """
    if sum(choice is not None for choice in (exec, replay, workload, image)) != 1:
        raise ValueError("give exactly one of exec, replay, workload and image")
    if replay is not None:
        path = str(Path(replay).absolute())
        return Container(REPLAY_IMAGE, args=(path, *args), env=env, name="replay")
    if workload is not None:
        gpus = int(workload == TRAINING)
        return Container(WORKLOAD_IMAGE, args=(workload, *args), env=env, name=workload, gpus=gpus)
    if image is not None:
        return Container(image, args=tuple(args), env=env, name="image")
    command = (SHELL, "-c", exec) if isinstance(exec, str) else tuple(exec or ())
    return Container(COMMAND_IMAGE, command, tuple(args), env)
