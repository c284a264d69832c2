"""Whether the object store answers: asked as proxy-system, and no refusal in its journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from signing_stage import METADATA, Stage

from compute_agent.clickhouse import ClickHouseSettings
from compute_agent.objects.keys import Place
from compute_agent.reachable import checks
from tunnel.health import OBJECT_STORE_UNREACHABLE


async def answers(stage: Stage) -> bool:
    """What the agent's check says."""
    made = checks(ClickHouseSettings(), stage.objects)
    assert set(made) == {OBJECT_STORE_UNREACHABLE}
    return await made[OBJECT_STORE_UNREACHABLE]()


async def test_a_store_that_answers_is_asked_within_the_rights_of_proxy_system(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    assert await answers(stage)
    assert stage.asked == ["HEAD"]
    assert stage.journal == []


@pytest.mark.parametrize("bucket", ["planesplit-fast-registration", "nobodys"])
async def test_a_store_that_refuses_is_there(tmp_path: Path, bucket: str) -> None:
    stage = Stage(tmp_path, metadata_bucket=bucket)
    assert await answers(stage)
    assert ["object_refused" in line for line in stage.journal] == [True]


async def test_to_look_for_what_is_not_there_is_no_refusal(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert await stage.read(Place(METADATA, "acme/demo/dev/run1/a0/1/error.pb")) is None
    assert stage.journal == []


async def test_a_store_that_is_away_is_not_reachable(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.down = True
    assert not await answers(stage)


async def test_a_secret_that_cannot_be_read_makes_it_unreachable(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    (tmp_path / "proxy-system").unlink()
    assert not await answers(stage)
