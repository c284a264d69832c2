"""The registry in this process, for every test that asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from registry_stage import Stage


@pytest.fixture
def registry(tmp_path: Path, nursery: trio.Nursery) -> Stage:
    return Stage(tmp_path, nursery)
