"""What an operator may set of sending logs, and of reading them from the log aggregator."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.settings import SettingError, setting

BACKENDS = ("", "clickhouse", "cloudwatch")


@dataclass(frozen=True, slots=True)
class Batching:
    """How long lines wait for others.

    Args:
        poll_min_s, poll_max_s: between two looks at a file that can't wake its tails, while it is
            busy and when it is quiet.
        hold_off_s: between two small batches.
        batch_bytes: a batch so large does not wait.
    """

    poll_min_s: float
    poll_max_s: float
    hold_off_s: float
    batch_bytes: int


POLICIES = {
    "latency": Batching(0.0005, 0.01, 0.00025, 16_384),
    "balanced": Batching(0.002, 0.025, 0.001, 8_192),
    "bulk": Batching(0.02, 0.05, 0.02, 60_000),
}


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """Bounds of reading from the aggregator."""

    request_s: float = setting(
        10.0, low=0.1, high=20.0, why="one query; a viewer hears of the tail every 10 s"
    )
    wait_s: float = setting(
        10.0, low=0.0, high=300.0, why="how far the collector may lag behind; then a gap is told"
    )
    poll_s: float = setting(
        0.25, low=0.01, high=10.0, why="pause before asking again for what was not there yet"
    )
    page_rows: int = setting(
        5_000, low=10, high=100_000, why="records of one query: some MB and 20 to 50 ms"
    )
    page_bytes: int = setting(
        8_388_608,
        low=65_536,
        high=67_108_864,
        why="of one answer; with 16 KiB a record a page ends",
    )
    max_queries: int = setting(
        8, low=1, high=64, why="queries at once, each in a thread; the other tails wait"
    )


@dataclass(frozen=True, slots=True)
class CloudWatchSettings:
    """CloudWatch Logs as the aggregator.

    Args:
        region: AWS region.
        endpoint_url: of another endpoint than AWS' own; empty for AWS.
        ca_file: PEM of the CA of that endpoint; empty for the system's.
        access_key, secret_file: static credentials; empty for the environment's.
        log_group: of application logs; empty: `/aws/containerinsights/{cluster}/application`.
    """

    region: str = "us-east-1"
    endpoint_url: str = ""
    ca_file: str = ""
    access_key: str = ""
    secret_file: str = ""
    log_group: str = ""


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """Where logs are when their files are gone.

    Args:
        backend: `clickhouse` (the agent's `[clickhouse]`), `cloudwatch`, or empty for none.
        limits, cloudwatch: see there.
    """

    backend: str = ""
    limits: HistoryLimits = field(default_factory=HistoryLimits)
    cloudwatch: CloudWatchSettings = field(default_factory=CloudWatchSettings)

    def check(self, clickhouse_url: str) -> None:
        """Refuse what cannot work.

        Raises:
            SettingError: an unknown backend, or one that isn't configured.
        """
        if self.backend not in BACKENDS:
            raise SettingError(
                f"setting 'history.backend' is '{self.backend}'; allowed: clickhouse, cloudwatch"
            )
        if self.backend == "clickhouse" and not clickhouse_url:
            raise SettingError("setting 'history.backend' is 'clickhouse'; give clickhouse.url too")
