"""Makes the pod that an assignment asks for, and puts into the store what the pod will look for."""

from __future__ import annotations

from compute_agent import templates
from compute_agent.attempts import Attempt
from compute_agent.objects.keys import Layout, Place, Workspace
from compute_agent.objects.objects import Objects
from compute_agent.objects.records import Record, bundle_of, place_in
from compute_agent.objects.signer import Identity
from compute_agent.pods import PodSpec, SecretWish
from tunnel.messages.planesplit_v1_pb2 import AssignRequest

NO_INPUTS = b""  # an empty flyteidl2.task.Inputs
PROTOBUF = "application/octet-stream"


class CannotStage(ValueError):
    """The assignment can never run here; the message says why."""


class Staging:
    """Prepares attempts.

    Args:
        objects: the store; None if none is configured.
        container: name of a pod's container.
        control_endpoint: see `TaskSettings`.
    """

    def __init__(self, objects: Objects | None, container: str, control_endpoint: str) -> None:
        self._objects, self._container = objects, container
        self._control_endpoint = control_endpoint

    async def prepare(self, attempt: Attempt, request: AssignRequest) -> PodSpec:
        """Return the pod of an attempt; its record and its inputs are in the store then.

        Raises:
            CannotStage: it needs a store where none is, or names another workspace's inputs.
            StoreError: the store cannot be asked.
        """
        wanted = request.container
        words = (*wanted.command, *wanted.args, *wanted.env.values())
        if self._objects is None and (request.inputs_uri or templates.needs_store(words)):
            raise CannotStage("the task needs the object store, which is not configured")
        values = await self._values(attempt, request, words)
        layout = self._objects.layout if self._objects else None
        env = {name: templates.substitute(text, values) for name, text in wanted.env.items()}
        return PodSpec(
            attempt,
            self._container,
            wanted.image,
            tuple(templates.substitute(word, values) for word in wanted.command),
            await self._staged(attempt, [templates.substitute(w, values) for w in wanted.args]),
            {
                **templates.DEFAULTS,
                **env,
                **templates.environment(attempt, layout, self._control_endpoint),
            },
            tuple(SecretWish(s.key, s.env_var, s.mount_path) for s in wanted.secrets),
            dict(wanted.requests),
        )

    async def _values(
        self, attempt: Attempt, request: AssignRequest, words: tuple[str, ...]
    ) -> dict[str, str]:
        created = request.created_at
        created_s = (
            created.seconds + created.nanos / 1e9 if request.HasField("created_at") else None
        )
        values = templates.identity(attempt, created_s)
        objects = self._objects
        if objects is None:
            return values
        inputs = self._inputs(objects.layout, attempt, request.inputs_uri)
        if templates.needs_inputs(words) and not request.inputs_uri:
            place = objects.layout.of(attempt, "inputs.pb")
            await objects.store.put(Identity.EXECUTOR, place, NO_INPUTS, PROTOBUF)
        bundle = _bundle(objects.layout, attempt, words)
        record = Record(request.inputs_uri, bundle.uri if bundle else "")
        if record != Record():
            task = request.task_name, request.task_version
            await objects.records.write(attempt, record, *task)
        return {**values, **templates.places(objects.layout, attempt, inputs)}

    async def _staged(self, attempt: Attempt, args: list[str]) -> tuple[str, ...]:
        """Return the arguments with a code bundle that pods may read.

        Task pods have no right on the bucket of fast registration (Appendix E); the executor has.
        """
        objects = self._objects
        bundle = _bundle(objects.layout, attempt, tuple(args)) if objects else None
        if objects is None or bundle is None or bundle.bucket == objects.layout.metadata:
            return tuple(args)
        staged = objects.layout.staged(bundle)
        if not await objects.copies.copied(bundle, staged):
            raise CannotStage("the task's code bundle is not, or no more, in the object store")
        return tuple(staged.uri if word == bundle.uri else word for word in args)

    def _inputs(self, layout: Layout, attempt: Attempt, uri: str) -> str:
        if not uri:
            return layout.of(attempt, "inputs.pb").uri
        if place_in(layout, Workspace.of(attempt), uri) is None:
            raise CannotStage("the inputs are not in the run's own project and domain")
        return uri


def _bundle(layout: Layout, attempt: Attempt, words: tuple[str, ...]) -> Place | None:
    return place_in(layout, Workspace.of(attempt), bundle_of(words))
