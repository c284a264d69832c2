"""What a task's specification must be to be run here."""

from __future__ import annotations

from flyteidl2.core import literals_pb2
from flyteidl2.task import run_pb2, task_definition_pb2

from control_stub.lists import invalid
from control_stub.settings import NAME


def checked(spec: task_definition_pb2.TaskSpec, limit_bytes: int) -> task_definition_pb2.TaskSpec:
    """Return a specification of a container that can be run.

    Raises:
        ConnectError: INVALID_ARGUMENT, saying what is missing or too much.
    """
    template = spec.task_template
    if template.WhichOneof("target") != "container":
        raise invalid("a task must have a container")
    if not template.container.image:
        raise invalid("a container must have an image")
    if spec.ByteSize() > limit_bytes:
        raise invalid(f"a task's specification is over {limit_bytes} bytes")
    return spec


def check_names(*names: str) -> None:
    """Check names that become identifiers.

    Raises:
        ConnectError: INVALID_ARGUMENT.
    """
    if not all(NAME.fullmatch(name) for name in names):
        raise invalid("names are 1 to 128 letters, digits and . _ @ : -")


def with_environment(
    spec: task_definition_pb2.TaskSpec, run_spec: run_pb2.RunSpec
) -> task_definition_pb2.TaskSpec:
    """Return a copy whose container also has the run's own environment, which wins."""
    made = task_definition_pb2.TaskSpec()
    made.CopyFrom(spec)
    container = made.task_template.container
    merged = {pair.key: pair.value for pair in (*container.env, *run_spec.envs.values)}
    del container.env[:]
    container.env.extend(
        literals_pb2.KeyValuePair(key=key, value=value) for key, value in merged.items()
    )
    return made
