"""The usual ways and TLS beside the relay, and subjects that lie: they are found out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from perf.plan import available
from perf.verdicts import cpu, ratio
from planesplit.measure import openssh
from planesplit.measure.catalogue import SUBJECTS
from planesplit.measure.lab import Helper, Lab, MeasureError
from planesplit.measure.peers import start_splice
from planesplit.measure.rig import Rig
from planesplit.measure.rounds import TLS_FLOOR, Throughput, measure_throughput
from planesplit.measure.subjects import Load, Subject, open_rig

pytestmark = pytest.mark.integration

ROUNDS, ROUND_BYTES = 2, 40_000_000
MOST_TIMES_TLS_FLOOR = 3.0  # measured: 1.05 to 1.33
MOST_TIMES_USUAL = 3.0  # measured: 0.6, of what people would write with `websockets`
WITHIN_S = 10.0


def quiet(text: str) -> None:
    """Say nothing."""


async def run(*subjects: Subject, floor: str = "floor") -> list[Throughput]:
    return await measure_throughput(
        subjects, 4, rounds=ROUNDS, round_bytes=ROUND_BYTES, progress=quiet, floor=floor
    )


async def test_tls_stays_near_what_it_must_cost() -> None:
    names = ("floor-tls", "relay-mtls", "relay-agent-tls")
    figures = await run(*(SUBJECTS[name] for name in names), floor=TLS_FLOOR)
    for name in names[1:]:
        assert 0 < ratio(figures, name, TLS_FLOOR, 4, cpu) < MOST_TIMES_TLS_FLOOR


async def test_the_usual_ways_carry_the_same_bytes() -> None:
    names = ("openssh", "websockets-trio", "websockets-asyncio", "relay")
    subjects, skipped = available(names)
    assert set(skipped) <= {"openssh"}
    before = _ssh_processes()
    figures = await run(*subjects)
    assert _ssh_processes() <= before, "OpenSSH has left something behind"
    assert [figure.subject for figure in figures] == [s.name for s in subjects]
    for library in ("trio", "asyncio"):
        assert ratio(figures, "relay", f"websockets-{library}", 4, cpu) < MOST_TIMES_USUAL


def _ssh_processes() -> set[int]:
    found = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            name, state = comm.read_text().strip(), (comm.parent / "stat").read_text()
        except OSError:
            continue
        if name in ("ssh", "sshd") and state.rsplit(")", 1)[1].split()[0] != "Z":
            found.add(int(comm.parent.name))
    return found


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh, "find_sshd", lambda: None)
    subjects, skipped = available(("floor", "openssh"))
    assert [subject.name for subject in subjects] == ["floor"]
    assert "openssh-server" in skipped["openssh"]


async def _faulty(lab: Lab, load: Load, *, fault: str) -> Rig:
    source = await lab.helper("source")
    port = (await source.ask("port"))["port"]
    relay = await lab.start("planted", "perf.planted", str(port), fault)
    return await open_rig(lab, load, fault, relay.pid, relay.ready["port"], "/", source)


@pytest.mark.parametrize("fault", ["lose", "add"])
async def test_a_relay_that_changes_what_it_relays_has_no_figures(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planesplit.measure.rig.SLACK_S", WITHIN_S / 5)
    start = partial(_faulty, fault=fault)
    with pytest.RaisesGroup(MeasureError, flatten_subgroups=True):
        await run(Subject(fault, "planted", start, frozenset({"bulk"})))


async def test_a_process_that_lets_another_one_work_has_no_figures() -> None:
    idle: list[Helper] = []

    async def start(lab: Lab, load: Load) -> Rig:
        rig = await start_splice(lab, load)
        idle.append(await lab.helper("sink"))
        rig.relay_pid = idle[-1].pid
        return rig

    with pytest.RaisesGroup(MeasureError, flatten_subgroups=True, allow_unwrapped=True) as caught:
        await run(Subject("liar", "planted", start, frozenset({"bulk"})))
    assert "not the one that relays" in str(caught.value)
