"""These tests stand on the casts of three planes."""

from __future__ import annotations

import sys
from pathlib import Path

for plane in ("compute_agent", "control_stub", "relay"):
    sys.path.append(str(Path(__file__).parents[1] / plane))
