"""The store in this process, for every test that asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from object_stage import Stage


@pytest.fixture
def stage(tmp_path: Path, nursery: trio.Nursery) -> Stage:
    return Stage(tmp_path / "objects", nursery)
