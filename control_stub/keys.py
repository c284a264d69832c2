"""The issuer's signing keys over time: published, then signing, then verifying alone, then gone.

A new key is published for a while before it signs, so that nobody meets a signature by a key that
he could not know; an old one is published as long as anything may come that it has signed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from control_stub import directory
from control_stub.directory import SigningKey
from control_stub.issuer import Issuer
from control_stub.policy import Policy
from control_stub.settings import Limits
from control_stub.store import Store
from tunnel.journal import Journal
from tunnel.verifier import MAX_KEYS


class Phase(NamedTuple):
    """What holds now, and until when.

    Args:
        published: keys that verify, oldest first.
        signing: index of the one that signs.
        changes_ns: when something else will hold, since the epoch; 0 for never.
    """

    published: tuple[SigningKey, ...]
    signing: int
    changes_ns: int


def phase(keys: Sequence[SigningKey], now_ns: int, publish_ns: int, overlap_ns: int) -> Phase:
    """Return what holds at a moment.

    Args:
        keys: oldest first, at least one.
        publish_ns: from a key's making until it signs; the first one signs at once.
        overlap_ns: how long a key is published when it signs no more.
    """
    signing, gone, changes = 0, 0, list[int]()
    for index, key in enumerate(keys[1:], start=1):
        signs_ns = key.created_ns + publish_ns
        if signs_ns > now_ns:
            changes.append(signs_ns)
            continue
        signing = index
        if signs_ns + overlap_ns <= now_ns:
            gone = index
        else:
            changes.append(signs_ns + overlap_ns)
    return Phase(tuple(keys[gone:]), signing - gone, min(changes, default=0))


class KeyRing:
    """Keeps the issuer's keys in the store, and the issuer in step with it.

    Args:
        store: where they are.
        issuer: signs with them.
        policy: tells relay and agents of every change.
        limits: `key_publish_s`, `key_overlap_s`.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        issuer: Issuer,
        policy: Policy,
        limits: Limits,
        journal: Journal,
        clock: Callable[[], float],
    ) -> None:
        self._store, self._issuer, self._policy = store, issuer, policy
        self._limits, self._journal, self._clock = limits, journal, clock
        self._made = trio.Event()

    async def rotate(self) -> None:
        """Make a key and publish it; it signs after `key_publish_s`.

        Raises:
            ValueError: as many keys are published as relay and agents take.
        """
        if len(await self._store.call(directory.signing_keys)) >= MAX_KEYS:
            self._journal.event("keys_full", most=MAX_KEYS)
            raise ValueError(f"{MAX_KEYS} keys are published; one goes after key_overlap_s")
        await self._store.call(directory.put_signing_key, *Issuer.new_key(), self._now_ns())
        await self._refresh()
        self._made.set()

    async def run(self) -> None:
        """Let keys age, until cancelled."""
        while True:
            self._made = trio.Event()
            changes_ns = await self._refresh()
            wait_s = (changes_ns - self._now_ns()) / 1e9 if changes_ns else float("inf")
            with trio.move_on_after(max(wait_s, 0.001)):
                await self._made.wait()

    async def _refresh(self) -> int:
        """Bring the issuer to what holds now; return when that changes."""
        keys = await self._store.call(directory.signing_keys)
        publish_ns = int(self._limits.key_publish_s * 1e9)
        overlap_ns = int(self._limits.key_overlap_s * 1e9)
        now = phase(keys, self._now_ns(), publish_ns, overlap_ns)
        for key in keys[: len(keys) - len(now.published)]:
            await self._store.call(directory.drop_signing_key, key.kid)
        if self._issuer.use([key.jwk for key in now.published], now.signing):
            await self._policy.reload()
            self._journal.event("keys_changed", published=len(now.published), signing=now.signing)
        return now.changes_ns

    def _now_ns(self) -> int:
        return int(self._clock() * 1e9)
