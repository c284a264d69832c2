"""Runs a random program against real, sealed processes, and sees as much of it as can be seen.

What was seen is judged by the checker that judges the simulated runs.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, suppress
from pathlib import Path

import trio
from evidence import Evidence, Seen
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.secret import payload_pb2 as payload
from program import Program
from service import message

from planesplit.connect_client import ConnectError
from planesplit.proof import claims
from planesplit.proof.canaries import Canaries
from planesplit.proof.detectors.base import Detector
from planesplit.proof.detectors.database import Database
from planesplit.proof.detectors.files import Files
from planesplit.proof.detectors.pages import Pages
from planesplit.proof.drive.recorder import open_stranger
from planesplit.proof.drive.secret_values import project_way
from planesplit.proof.options import ALL_ROWS
from planesplit.proof.stage import Stage
from planesplit.split.core import Split
from tunnel.capabilities import TAIL_LOGS

# Those that do not mind that a process is killed, and another one takes its place.
DETECTORS: tuple[type[Detector], ...] = (Files, Database, Pages)
LINE = (claims.LOG_LINE.row, claims.LOG_LINE.name)
PATIENCE_S = 40.0
IDLE_S = 5.0


class Run:
    """One program on a split that runs.

    Args:
        stage: of the proof's detectors.
        evidence: where everything is told.
        nursery: for viewers.
    """

    def __init__(self, stage: Stage, evidence: Evidence, nursery: trio.Nursery) -> None:
        self._stage, self._evidence, self._nursery = stage, evidence, nursery
        self._split, self._viewer = stage.split, stage.split.viewer
        self._scopes: list[trio.CancelScope] = []

    async def play(self, program: Program) -> None:
        """Do all steps, then wait for every exchange."""
        for step in program.steps:
            await getattr(self, f"do_{step[0]}")(*step[1:])
        await self._split.heal()
        with trio.move_on_after(PATIENCE_S):
            while any(seen.ending == "open" for seen in self._evidence.seen):
                await trio.sleep(0.02)
        with trio.move_on_after(IDLE_S):
            while count := (await self._split.metrics()).get("relay_exchanges", 0.0):
                await trio.sleep(0.02)
            return
        self._evidence.left.append(f"{count:g} exchanges of the relay's")

    async def do_tail(self, lines: int, rate: int) -> None:
        """Have a pod print lines, and follow them."""
        seen = self._seen("tail")
        seen.lines = lines
        path = self._stage.workshop / f"lines-{seen.ident}-{secrets.token_hex(4)}.txt"
        mark = self._evidence.marks[0].decode()
        rest = self._stage.canaries.line(*LINE)
        path.write_text("".join(f"{mark}|{seen.ident}|{n}|{rest}\n" for n in range(lines)))
        run = await self._split.run(replay=path, args=[str(rate)])
        scope = trio.CancelScope()
        self._scopes.append(scope)
        self._nursery.start_soon(self._follow, run, seen, scope)

    async def do_secret(self) -> None:
        """Write a secret."""
        value = self._stage.make(claims.SECRET)
        with suppress(ConnectError):  # no agent there at the moment
            way = await project_way(self._stage, self._viewer)
            await way.create(f"key-{secrets.token_hex(4)}", value)

    async def do_trespass(self) -> None:
        """Ask for a log as somebody of another org."""
        seen = self._seen("trespass")
        async with open_stranger(self._stage) as stranger:
            assert stranger is not None
            try:
                url = await self._viewer.endpoint(SelectClusterRequest.OPERATION_TAIL_LOGS)
                request = payload.GetSecretRequest()
                answer = await stranger.client.unary(
                    url + TAIL_LOGS, request, payload.GetSecretResponse
                )
                seen.body += answer.SerializeToString() + self._evidence.marks[0]
            except ConnectError:
                pass
        seen.ending = "end"

    async def do_wait(self, ms: int) -> None:
        """Let time pass."""
        await trio.sleep(ms / 1e3)

    async def do_cut(self, after_bytes: int) -> None:
        """Cut the tunnel after so many more bytes."""
        self._split.link.cut_after(after_bytes)

    async def do_freeze(self, ms: int) -> None:
        """Stop the agent's process for a while."""
        self._split.freeze("compute_agent")
        await trio.sleep(ms / 1e3)
        self._split.thaw("compute_agent")

    async def do_kill(self, plane: str) -> None:
        """Kill a process and start it again."""
        await self._split.kill(plane)
        await self._split.heal()

    async def do_leave(self, which: int) -> None:
        """Have a viewer hang up."""
        if self._scopes:
            self._scopes[which % len(self._scopes)].cancel()

    def _seen(self, kind: str) -> Seen:
        seen = Seen(0, kind, len(self._evidence.seen))
        self._evidence.seen.append(seen)
        return seen

    async def _follow(self, run: str, seen: Seen, scope: trio.CancelScope) -> None:
        with scope:
            try:
                async with self._split.tail(run) as lines:
                    async for line in lines:
                        seen.body += message(line.text.encode())
                seen.ending = "end"
            except ConnectError as error:
                seen.body += message(f"{error.code}".encode())
                seen.ending = "torn"
        if scope.cancelled_caught:
            seen.ending = "left"
        seen.body += message(b"{}", 2) if seen.ending == "end" else b""


async def play(split: Split, program: Program, workshop: Path) -> Evidence:
    """Run a program with canaries of its own, and look everywhere.

    Args:
        split: prepared for a proof; healthy.
        workshop: directory of the customer's own files.
    """
    canaries = Canaries()
    mark = canaries.make(*LINE)
    evidence = Evidence((mark.encode(),), canaries.secret)
    detectors = [made() for made in DETECTORS]
    with ExitStack() as exits:
        exits.enter_context(split.hear(lambda plane, line: evidence.said.append((plane, line))))
        async with trio.open_nursery() as nursery:
            stage = Stage(split, canaries, ALL_ROWS, workshop, nursery, exits)
            for detector in detectors:
                await detector.arm(stage)
            async with trio.open_nursery() as viewers:
                await Run(stage, evidence, viewers).play(program)
                viewers.cancel_scope.cancel()
            for detector in detectors:
                for find in (*await detector.look(stage), *stage.finds):
                    if not claims.allowed(find.row, find.kind, find.store):
                        evidence.wrote.append(f"{find.detector}: {find.encoding} in {find.place}")
            nursery.cancel_scope.cancel()
    return evidence
