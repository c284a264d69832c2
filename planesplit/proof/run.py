"""One run of the proof: arm the detectors, drive payload, look everywhere, judge."""

from __future__ import annotations

import dataclasses
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from planesplit.proof import claims, environment, verdict
from planesplit.proof.attached import Attached
from planesplit.proof.canaries import Canaries
from planesplit.proof.detectors import DETECTORS, Detector
from planesplit.proof.drive.drive import drive
from planesplit.proof.drive.recorder import STRANGER, STRANGERS_ORG
from planesplit.proof.find import Find
from planesplit.proof.options import DetectorProof, Proof, ProofOptions
from planesplit.proof.stage import Stage
from planesplit.proof.subject import Subject
from planesplit.ready import Ready
from planesplit.split.core import Split
from planesplit.split.directory import merge
from planesplit.split.options import CUSTOMER, Client, SplitOptions

UNDRIVEN = frozenset({claims.LAYER.row})  # on a split that runs already: nobody may push images
Tell = Callable[[str], None]


async def prove(options: ProofOptions, tell: Tell = lambda text: None) -> Proof:
    """Start a split, prove, stop it.

    Args:
        tell: shows progress.

    Raises:
        BadCanary: the reviewer's value or nonce cannot be used.
        PlaneFailed: a plane did not come up, or ended unasked.
    """
    Canaries(options.canary, options.challenge)  # a wrong value is told before anything starts
    with tempfile.TemporaryDirectory(prefix="planesplit-proof-") as workshop:
        split_options = prepared(options.split, Path(workshop))
        tell(f"starting {', '.join(split_options.planes)}")
        async with Split(split_options) as split:
            return await examine(split, options, tell)


def prepared(options: SplitOptions, workshop: Path) -> SplitOptions:
    """Return options for a split that can be examined whole.

    Args:
        workshop: a directory of the caller's, which outlives the split.
    """
    push = workshop / "push-secret"
    push.write_text(secrets.token_urlsafe(), encoding="utf-8")
    own: Mapping[str, Any] = {CUSTOMER: {"registry": {"push_secret_file": str(push)}}}
    return dataclasses.replace(
        options,
        clients=(*options.clients, Client(STRANGER, STRANGERS_ORG, "Admin")),
        settings=merge(own, options.settings),
        provable=True,
    )


async def attach(ready: Ready, options: ProofOptions, tell: Tell = lambda text: None) -> Proof:
    """Prove on a split that runs already; what is pushed stays in the stores where it belongs.

    Args:
        ready: its ready file.
        tell: shows progress.

    Raises:
        BadCanary: the reviewer's value or nonce cannot be used.
    """
    attached = Attached(ready)
    options = dataclasses.replace(options, split=attached.options, rows=options.rows - UNDRIVEN)
    for text in attached.unseen.values():
        tell(f"not seen: {text}")
    try:
        return await examine(attached, options, tell, unseen=attached.unseen)
    finally:
        attached.close()


async def examine(
    split: Subject,
    options: ProofOptions,
    tell: Tell = lambda text: None,
    alarm: Tell | None = None,
    unseen: Mapping[str, str] | None = None,
) -> Proof:
    """Prove on a running split; may be called again and again, with new canaries each time.

    Args:
        split: its tunnels are open; an own one was opened with `prepared` options.
        tell: shows progress.
        alarm: shows what a part waited for that was not done in time; as `tell` if not given.
        unseen: what cannot be looked at or driven, by its part of the proof.
    """
    began, started = trio.current_time(), datetime.now(UTC)
    canaries = Canaries(options.canary, options.challenge, claims.METADATA)
    detectors = [made() for made in DETECTORS]
    with tempfile.TemporaryDirectory(prefix="planesplit-proof-") as workshop, ExitStack() as exits:
        async with trio.open_nursery() as nursery:
            stage = Stage(split, canaries, options.rows, Path(workshop), nursery, exits, tell)
            stage.alarm, stage.unseen = alarm or tell, unseen or {}
            for detector in detectors:
                await detector.arm(stage)
            await drive(stage, with_faults=options.faults)
            finds = await _look(stage, detectors)
            nursery.cancel_scope.cancel()
    looked = tuple(
        DetectorProof(d.name, d.looked, tuple(finds[d.name]), d.blind_to) for d in detectors
    )
    proof = await _judged(stage, options, looked)
    seconds = round(trio.current_time() - began, 1)
    shown = started.isoformat(timespec="seconds").replace("+00:00", "Z")
    return dataclasses.replace(proof, started=shown, seconds=seconds)


async def _judged(stage: Stage, options: ProofOptions, looked: tuple[DetectorProof, ...]) -> Proof:
    """Return the proof that follows from what was found; its times are the caller's."""
    finds = [find for detector in looked for find in detector.finds]
    found = verdict.deviations(stage, finds)
    return Proof(
        rows=verdict.table(stage, finds, found),
        detectors=looked,
        seal=await environment.seal(stage.split),
        environment=environment.describe(stage.split, options),
        started="",
        seconds=0.0,
        deviations=tuple(found),
        canaries=_named(stage.canaries),
        blind_spots=environment.BLIND_SPOTS,
        not_shown=environment.NOT_SHOWN,
        unseen=tuple(stage.unseen.values()),
    )


async def _look(stage: Stage, detectors: list[Detector]) -> dict[str, list[Find]]:
    finds: dict[str, list[Find]] = {}
    for detector in detectors:
        began = time.monotonic()
        found = await detector.look(stage)
        found += [find for find in stage.finds if find.detector == detector.name]
        finds[detector.name] = list(dict.fromkeys(found))
        stage.tell(f"{detector.name}: {detector.looked} ({time.monotonic() - began:.1f} s)")
    return finds


def _named(canaries: Canaries) -> dict[str, str]:
    return {
        "sha256": canaries.digest(),
        "salt": canaries.salt.hex(),
        "challenge": canaries.challenge,
        "chosen_by_reviewer": "yes" if canaries.text else "no",
    }
