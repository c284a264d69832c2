"""Every way out is open unsealed and shut sealed, judged by what landed."""

from __future__ import annotations

import os

import pytest
import seal_ways_files
import seal_ways_network
import seal_ways_processes
from seal_scene import Outcome, scene
from seal_ways import WAYS

pytestmark = pytest.mark.integration
DECLARING = (seal_ways_files, seal_ways_network, seal_ways_processes)
TRIED_BEFORE_US = 38  # ways out that the three layers together were first tried against
LOOKS_INTO_THE_CHILD = ("holds", "maps", "namespace")


def test_there_are_enough_that_every_machine_has() -> None:
    assert len([way for way in WAYS.values() if not way.optional]) >= TRIED_BEFORE_US


@pytest.mark.parametrize("name", sorted(WAYS))
def test_it_is_open_unsealed_and_shut_sealed(name: str, tmp_path) -> None:
    way = WAYS[name]
    if os.geteuid() and way.judge.startswith(LOOKS_INTO_THE_CHILD):
        pytest.skip("only root can look into a process that is not dumpable")
    with scene(tmp_path / "unsealed") as open_scene:
        control = open_scene.attempt(way, sealed=False)
    if way.optional and not control.landed:
        pytest.skip(f"not to be had on this machine (error {control.error or 'unknown'})")
    assert control == Outcome(landed=True, seal=control.seal, error="")
    assert control.seal.startswith("none ")
    with scene(tmp_path / "sealed") as shut_scene:
        outcome = shut_scene.attempt(way, sealed=True)
    assert not outcome.landed
    expected = "refused" if way.before == "refused" else "full "
    assert outcome.seal.startswith(expected)
