"""What the executor leaves beside a run's data: where its inputs and its code came from.

The agent keeps nothing itself, and pods go away; links to inputs and code bundles must not.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass

from compute_agent.attempts import Attempt
from compute_agent.objects.keys import BadPlace, Layout, Place, Workspace
from compute_agent.objects.signer import Identity
from compute_agent.objects.store import ObjectStore, StoreError

RECORD = "assignment.json"
MAX_RECORD_BYTES = 8_192  # two URIs of at most 1,024 bytes and their JSON
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Record:
    """Where an attempt's inputs and code are; empty for none."""

    inputs: str = ""
    bundle: str = ""


class Records:
    """Keeps records in the metadata bucket: written as executor, read as proxy-system."""

    def __init__(self, store: ObjectStore, layout: Layout) -> None:
        self._store, self._layout = store, layout

    async def write(self, attempt: Attempt, record: Record, task: str, version: str) -> None:
        """Keep an attempt's record, and that of its task's version if that has a bundle.

        Raises:
            StoreError
        """
        body = json.dumps(asdict(record)).encode()
        place = self._layout.of(attempt, RECORD)
        await self._store.put(Identity.EXECUTOR, place, body, JSON)
        if record.bundle and task:
            place = self._layout.task(Workspace.of(attempt), task, version)
            await self._store.put(Identity.EXECUTOR, place, body, JSON)

    async def of(self, attempt: Attempt) -> Record | None:
        """Return an attempt's record; None if it never was assigned here.

        Raises:
            StoreError
        """
        return await self._read(self._layout.of(attempt, RECORD))

    async def of_task(self, workspace: Workspace, task: str, version: str) -> Record | None:
        """Return the record of a task's version; None if it never ran here with a bundle.

        Raises:
            StoreError
        """
        return await self._read(self._layout.task(workspace, task, version))

    async def _read(self, place: Place) -> Record | None:
        body = await self._store.get(Identity.PROXY_SYSTEM, place, MAX_RECORD_BYTES)
        if body is None:
            return None
        try:
            value = json.loads(body)
            return Record(str(value["inputs"]), str(value["bundle"]))
        except (ValueError, KeyError, TypeError):
            raise StoreError("an assignment's record cannot be read") from None


def bundle_of(words: tuple[str, ...]) -> str:
    """Return the code bundle that a command of flyte's runtime names, empty if none."""
    for option, value in itertools.pairwise(words):
        if option in ("--tgz", "--pkl"):
            return value
    return ""


def place_in(layout: Layout, workspace: Workspace, uri: str) -> Place | None:
    """Return an object of the workspace; None if the URI is none, or another's."""
    try:
        place = Place.parse(uri)
    except BadPlace:
        return None
    return place if layout.owns(workspace, place) else None
