"""Random programs against real, sealed processes: judged by the same checker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from checker import violations
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from program import Program, Step
from program_in_processes import play

from planesplit.harness import open_portal
from planesplit.portal import Portal
from planesplit.proof.run import prepared
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

EXAMPLES = 25
ONE_S = 90.0
Session = tuple[Portal[Split], Split, Path]

steps = st.one_of(
    st.tuples(st.just("tail"), st.integers(1, 300), st.sampled_from([200, 2_000, 20_000])),
    st.tuples(st.just("tail"), st.integers(1, 300), st.sampled_from([200, 2_000, 20_000])),
    st.tuples(st.just("cut"), st.integers(1, 20_000)),
    st.tuples(st.just("freeze"), st.integers(1, 300)),
    st.tuples(st.just("kill"), st.sampled_from(["compute_agent", "relay"])),
    st.tuples(st.just("leave"), st.integers(0, 7)),
    st.tuples(st.just("wait"), st.sampled_from([1, 50, 200])),
    st.tuples(st.just("secret")),
    st.tuples(st.just("trespass")),
)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """A split of this module's own, without ClickHouse, which takes seconds to start."""
    with tempfile.TemporaryDirectory(prefix="planesplit-proof-") as directory:
        options = prepared(SplitOptions(clickhouse=False), Path(directory))
        portal, split = open_portal(options)
        yield portal, split, Path(directory)
        portal.stop()


def check(session: Session, found: list[Step]) -> list[tuple[str, str]]:
    """Run a program and judge it."""
    portal, split, workshop = session
    return violations(portal.call(play, split, Program(0, found), workshop, timeout_s=ONE_S))


def test_the_relay_is_sealed(session: Session) -> None:
    assert session[1].ready.seal.split()[0] in ("limits", "kernel", "full")


@given(found=st.lists(steps, min_size=1, max_size=7).map(lambda found: [list(s) for s in found]))
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate],  # real processes: shrinking would take minutes
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_random_programs_in_processes(session: Session, found: list[Step]) -> None:
    """Takes a minute: processes are killed, and come back."""
    assert check(session, found) == []


@pytest.fixture
def planted(session: Session, request: pytest.FixtureRequest) -> Iterator[str]:
    """The relay with a leak, sealed as ever; afterwards without."""
    portal, split, _ = session

    async def restart(leaks: dict[str, str]) -> None:
        split.plant(leaks)
        await split.restart("relay")
        await split.heal()

    portal.call(restart, {"relay": request.param}, timeout_s=ONE_S)
    yield request.param
    portal.call(restart, {}, timeout_s=ONE_S)


@pytest.mark.parametrize(
    ("planted", "invariant"),
    [("stdout-print", "nothing_logged"), ("metric-label", "nothing_persisted")],
    indirect=["planted"],
)
def test_a_planted_leak_is_seen(session: Session, planted: str, invariant: str) -> None:
    assert invariant in {name for name, _ in check(session, [["tail", 50, 2_000]])}


def test_a_viewer_who_gets_other_lines_is_seen(session: Session) -> None:
    """The same checker, given what it would see if lines were lost on the way."""
    portal, split, workshop = session
    program = Program(0, [["tail", 50, 2_000]])
    evidence = portal.call(play, split, program, workshop, timeout_s=ONE_S)
    assert violations(evidence) == []
    (seen,) = evidence.seen
    seen.body = seen.body.replace(b"|0|7|", b"|0|9|", 1)
    names = {name for name, _ in violations(evidence)}
    assert names == {"order", "no_silent_loss", "no_double"}
