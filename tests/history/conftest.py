"""These tests stand on the casts of the agent and of the customer."""

from __future__ import annotations

import sys
from pathlib import Path

for plane in ("compute_agent", "customer_stub", "clickhouse"):
    sys.path.append(str(Path(__file__).parents[1] / plane))
