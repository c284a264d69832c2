"""Whom the vendor's processes talk to: only known listeners, and no other way out."""

from __future__ import annotations

from urllib.parse import urlsplit

import trio

from planesplit.proof import processes
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.split.options import CONTROL, KUBE, RELAY

LOOK_EVERY_S = 0.05


class Sockets(Detector):
    """Looks 20 times a second at the sockets of the vendor's planes."""

    name = "sockets"
    blind_to = "a connection or datagram that lasts shorter than 50 ms, and bytes on allowed ones"

    def __init__(self) -> None:
        self._finds: dict[Find, None] = {}
        self._listening: dict[int, frozenset[int]] = {}
        self._unix: dict[int, int] = {}  # how many, when it was first looked at
        self._relay_ports: frozenset[int] = frozenset()  # they outlive a restart
        self._kube_ports: frozenset[int] = frozenset()
        self._seen = 0

    async def arm(self, stage: Stage) -> None:
        """Begin to look."""
        self._finds.clear()
        self._seen = 0
        self._listening, self._unix = {}, {}
        stage.nursery.start_soon(self._watch, stage)

    async def _watch(self, stage: Stage) -> None:
        while True:
            self._look_once(stage)
            await trio.sleep(LOOK_EVERY_S)

    async def look(self, stage: Stage) -> list[Find]:
        """Look a last time; also who owns the listeners that clients were told of."""
        self._look_once(stage)
        urls = stage.split.ready.urls
        told = ((RELAY, urls.relay), (RELAY, urls.ops), (CONTROL, urls.control))
        for plane, url in told:
            if not processes.readable(stage.vendor_pids[plane]):
                continue  # `looked` says so
            if urlsplit(url).port not in self._listening.get(stage.vendor_pids[plane], ()):
                self._trace(f"clients of {plane} are sent to another process", "listener")
        self.looked = f"{self._seen} sockets of {processes.looked_at(stage.vendor_pids)}"
        return list(self._finds)

    def _look_once(self, stage: Stage) -> None:
        pids = stage.vendor_pids
        for plane in (RELAY, KUBE):
            if plane in pids:
                self._plane(plane, pids[plane], frozenset())
        if CONTROL in pids:
            known = self._relay_ports | self._kube_ports if self._relay_ports else None
            self._plane(CONTROL, pids[CONTROL], known)

    def _plane(self, plane: str, pid: int, may_dial: frozenset[int] | None) -> None:
        """Look at one plane: it may listen, accept, and dial nothing but `may_dial`.

        Args:
            may_dial: ports; None if nobody knows them, as the relay is closed to this user.
        """
        found = processes.sockets(pid)
        self._seen += len(found)
        listening = frozenset(s.local for s in found if s.state == "listen")
        if listening:
            known = self._listening.setdefault(pid, listening)
            if listening - known:
                self._trace(f"{plane} listens on a further port", "listener")
        if plane == RELAY:
            self._relay_ports |= listening
        elif plane == KUBE:
            self._kube_ports |= listening
        known = self._listening.get(pid, frozenset())
        if not known:
            return  # it is about to start: what it does then is its loader's
        for socket in found:
            if socket.protocol != "tcp":
                self._trace(f"{plane} has a {socket.protocol} socket", "socket")
            elif may_dial is None:
                continue
            elif socket.state == "open" and not {socket.local, socket.remote} & (known | may_dial):
                self._trace(f"{plane} dialled somebody", "connection")
        local = processes.unix_sockets(pid)
        if any(local):
            self._trace(f"{plane} has a named unix socket", "socket")
        if len(local) > self._unix.setdefault(pid, len(local)):
            self._trace(f"{plane} has a further unix socket", "socket")

    def _trace(self, place: str, what: str) -> None:
        self._finds[Find(self.name, place, what)] = None
