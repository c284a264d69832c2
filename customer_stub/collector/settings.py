"""What an operator may set of the log collector."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.settings import SettingError, setting

SINKS = ("", "clickhouse", "cloudwatch")


@dataclass(frozen=True, slots=True)
class CloudWatchTarget:
    """CloudWatch Logs, or something that speaks its API.

    Args:
        region: AWS region.
        endpoint_url: of another endpoint than AWS' own; empty for AWS.
        ca_file: PEM of the CA of that endpoint; empty for the system's.
        access_key, secret_file: static credentials; empty for the environment's.
        log_group: empty: `/aws/containerinsights/{cluster}/application`.
    """

    region: str = "us-east-1"
    endpoint_url: str = ""
    ca_file: str = ""
    access_key: str = ""
    secret_file: str = ""
    log_group: str = ""


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Where logs are collected to, and the bound of everything.

    Args:
        sink: `clickhouse` (the table `[clickhouse]`), `cloudwatch`, or empty for no collector.
        cluster, node: name of the cluster and of this node in every row.
        cloudwatch: see there.
    """

    sink: str = ""
    cluster: str = "c1"
    node: str = "planesplit-node"
    flush_s: float = setting(
        0.2, low=0.01, high=60.0, why="Fluent Bit flushes every second; a viewer waits for it"
    )
    batch_rows: int = setting(
        10_000,
        low=1,
        high=10_000,
        why="an insert costs 0.1 s however small; CloudWatch's most",
    )
    batch_bytes: int = setting(
        4_000_000, low=65_536, high=16_777_216, why="content held in memory until it is taken"
    )
    record_max_bytes: int = setting(
        8_388_608,
        low=65_536,
        high=67_108_864,
        why="a longer record counts as several; must equal the agent's logs.line_max_bytes",
    )
    max_files: int = setting(
        256,
        low=8,
        high=10_000,
        why="open files, deleted ones too: what may wait for the sink",
    )
    drain_s: float = setting(
        2.0, low=0.0, high=60.0, why="for what is not sent yet when the process is asked to stop"
    )
    cloudwatch: CloudWatchTarget = field(default_factory=CloudWatchTarget)

    def check(self, clickhouse_url: str) -> None:
        """Refuse what cannot work.

        Raises:
            SettingError: an unknown sink, or one that isn't configured.
        """
        if self.sink not in SINKS:
            raise SettingError(
                f"setting 'collector.sink' is '{self.sink}'; allowed: clickhouse, cloudwatch"
            )
        if self.sink == "clickhouse" and not clickhouse_url:
            raise SettingError("setting 'collector.sink' is 'clickhouse'; give clickhouse.url too")
