"""What an operator may set of observability."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.settings import setting


@dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """How the cluster's metrics are scraped."""

    every_s: float = setting(
        15.0, low=0.1, high=3600.0, why="what Prometheus' own first example configures"
    )
    answer_s: float = setting(
        10.0, low=0.1, high=300.0, why="Prometheus' default scrape_timeout; then a target is down"
    )
