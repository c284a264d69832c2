"""Random programs: rules write the steps down, the end of the example runs them once.

Nothing runs while rules are drawn, so that a program is data: it shrinks well, prints, and replays.
"""

from __future__ import annotations

from checker import violations
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from program import Program, Step
from world import play

tenants = st.integers(0, 1)
viewers = st.integers(0, 7)
waits = st.sampled_from([0, 1, 20, 100, 300, 1_000, 4_000, 12_000])
# lines, width, lines of a unit, its pieces, pause after it in ms
sources = st.tuples(
    st.integers(1, 60),
    st.sampled_from([40, 200, 2_000]),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sampled_from([0, 20, 100, 400]),
)


class Violated(AssertionError):
    """An invariant does not hold; the message has a script that replays the program."""

    def __init__(self, program: Program, found: list[tuple[str, str]]) -> None:
        self.invariants = {name for name, _ in found}
        lines = "\n".join(f"{name}: {what}" for name, what in found[:10])
        super().__init__(f"{lines}\nreplay it with:\n{program.script()}")


def check(program: Program) -> None:
    """Run a program and judge it.

    Raises:
        Violated: an invariant does not hold.
    """
    if found := violations(play(program)):
        raise Violated(program, found)


class Programs(RuleBasedStateMachine):
    """Any steps in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.program = Program()

    def _add(self, *step: int | str) -> None:
        self.program.steps.append(list(step))

    @initialize(seed=st.integers(0, 2**16))
    def schedule(self, seed: int) -> None:
        self.program.seed = seed

    @rule(tenant=tenants, source=sources)
    def tail(self, tenant: int, source: tuple[int, ...]) -> None:
        self._add("tail", tenant, *source)

    @rule(tenant=tenants, source=sources)
    def watch(self, tenant: int, source: tuple[int, ...]) -> None:
        self._add("watch", tenant, *source)

    @rule(first=st.integers(0, 30), count=st.integers(1, 10), tenant=tenants, source=sources)
    def holey(self, first: int, count: int, tenant: int, source: tuple[int, ...]) -> None:
        self._add("holey", first, count, tenant, *source)

    @rule(tenant=tenants, rows=st.integers(0, 300))
    def query(self, tenant: int, rows: int) -> None:
        self._add("query", tenant, rows)

    @rule(tenant=tenants)
    def secret(self, tenant: int) -> None:
        self._add("secret", tenant)

    @rule(kind=st.sampled_from(["stale", "trespass"]), tenant=tenants)
    def intrude(self, kind: str, tenant: int) -> None:
        self._add(kind, tenant)

    @rule(ms=waits)
    def wait(self, ms: int) -> None:
        self._add("wait", ms)

    @rule(kind=st.sampled_from(["cut", "freeze", "thaw", "second"]), tenant=tenants)
    def fault(self, kind: str, tenant: int) -> None:
        self._add(kind, tenant)

    @rule(tenant=tenants, seconds=st.integers(1, 6))
    def expire(self, tenant: int, seconds: int) -> None:
        self._add("expire", tenant, seconds)

    @rule(tenant=tenants, how=st.sampled_from(["double", "swap"]))
    def tamper(self, tenant: int, how: str) -> None:
        self._add("tamper", tenant, how)

    @rule(kind=st.sampled_from(["stall", "go", "leave"]), which=viewers)
    def viewer(self, kind: str, which: int) -> None:
        self._add(kind, which)

    @rule(gone_ms=st.sampled_from([0, 100, 3_000]))
    def restart(self, gone_ms: int) -> None:
        self._add("restart", gone_ms)

    # Directed: what random steps come to late.

    @rule(tenant=tenants, after_ms=st.sampled_from([350, 450, 700]))
    def cut_amid_a_unit(self, tenant: int, after_ms: int) -> None:
        """A long unit in many pieces, and a cut while it is under way."""
        self.program.steps += _amid_a_unit(tenant, after_ms)

    @rule(tenant=tenants)
    def flood_a_stalled_viewer(self, tenant: int) -> None:
        """More than windows and sockets hold, for a viewer who does not read."""
        self.program.steps += [
            ["wait", 300],
            ["tail", tenant, 400, 2_000, 12, 2, 0],
            ["stall", -1],
            ["wait", 1_000],
        ]

    @rule(tenant=tenants)
    def cut_before_the_answer(self, tenant: int) -> None:
        """A secret that the agent has, and the tunnel lost before it says so."""
        self.program.steps += [["wait", 300], ["secret", tenant], ["wait", 20], ["cut", tenant]]

    def teardown(self) -> None:
        if self.program.steps:
            check(self.program)


def _amid_a_unit(tenant: int, after_ms: int) -> list[Step]:
    source = [20, 2_000, 12, 4, 100]
    return [["wait", 300], ["tail", tenant, *source], ["wait", after_ms - 300], ["cut", tenant]]
