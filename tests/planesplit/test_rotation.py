"""Certificates and keys are rotated under a tail, in one process and simulated time."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from control_stub.directory import SigningKey
from control_stub.keys import phase
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions
from tunnel.verifier import MAX_KEYS

ROTATIONS = 20
LINES = 2_000
S = 1_000_000_000


def options(**control: Any) -> SplitOptions:
    return SplitOptions(mode="inprocess", settings={"control_stub": {"limits": control}})


async def rotate(split: Split, times: int) -> None:
    for _ in range(times):
        await trio.sleep(0.3)
        await split.rotate_certs()


async def test_no_line_is_lost_over_twenty_rotations(autojump_clock: Any) -> None:
    async with Split(options()) as split:
        since = split.journal("compute_agent").count
        run = await split.run(workload="plain", args=["--lines", str(LINES), "--rate", "50"])
        lines = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rotate, split, ROTATIONS)
            async with split.tail(run, retry_for_s=0) as tail:
                lines = [line async for line in tail]
        assert len(lines) == LINES
        split.assert_delivered(run, lines)
        journal = split.journal("compute_agent")
        events = [line for line in journal.lines if "certificate_rotated" in line]
        assert len(events) == ROTATIONS or journal.count - since > len(journal.lines)
        metrics = await split.metrics()
        assert metrics['relay_tunnels_total{state="opened"}'] == ROTATIONS + 1
        assert metrics["relay_tunnels"] == 1
        assert metrics["relay_resumes_total"] >= 1
        assert metrics['relay_rejected_total{reason="token_not_bound"}'] == 0
        assert metrics['relay_rejected_total{reason="identity"}'] == 0


async def test_no_more_keys_are_made_than_relay_and_agents_take(autojump_clock: Any) -> None:
    async with Split(options()) as split:
        for _ in range(MAX_KEYS - 1):
            await split.rotate_keys()
        with pytest.raises(ValueError, match="16 keys are published"):
            await split.rotate_keys()
        assert len(await published(split)) == MAX_KEYS


async def test_keys_are_rotated_under_a_tail_and_old_tokens_count_on(autojump_clock: Any) -> None:
    limits = {"key_publish_s": 5, "key_overlap_s": 40, "token_s": 20}
    async with Split(options(**limits)) as split:
        run = await split.run(workload="plain", args=["--lines", "1000", "--rate", "10"])
        async with split.tail(run, retry_for_s=0) as tail:
            for _ in range(3):
                before = await published(split)
                await split.rotate_keys()
                assert len(await published(split) - before) == 1
                await trio.sleep(20)
                split.cut()  # what resumes shows an identity that an older key has signed
            lines = [line async for line in tail]
        split.assert_delivered(run, lines)
        await trio.sleep(100)
        assert len(await published(split)) == 1
        again = await split.run(exec="echo late")
        await split.wait(again)


async def published(split: Split) -> set[str]:
    answer = await split._planes._operator.get(f"{split.ready.urls.control}/.well-known/jwks.json")
    return {key["kid"] for key in answer.json()["keys"]}


def key(kid: str, made_s: int) -> SigningKey:
    return SigningKey(kid, "{}", made_s * S)


@pytest.mark.parametrize(
    ("now_s", "published", "signing", "changes_s"),
    [
        (0, "a", 0, 0),
        (99, "a", 0, 0),
        (100, "ab", 0, 110),
        (109, "ab", 0, 110),
        (110, "ab", 1, 160),
        (159, "ab", 1, 160),
        (160, "b", 0, 0),
    ],
)
def test_a_keys_life(now_s: int, published: str, signing: int, changes_s: int) -> None:
    keys = [key("a", -1000), *([key("b", 100)] if now_s >= 100 else [])]
    now = phase(keys, now_s * S, 10 * S, 50 * S)
    assert ("".join(k.kid for k in now.published), now.signing) == (published, signing)
    assert now.changes_ns == changes_s * S


def test_keys_made_in_a_row_sign_in_a_row() -> None:
    keys = [key("a", 0), key("b", 100), key("c", 105)]
    assert [phase(keys, t * S, 10 * S, 50 * S).signing for t in (100, 110, 115)] == [0, 1, 2]
    assert repr(keys[0]) == "<SigningKey>"
