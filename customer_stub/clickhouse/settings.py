"""Settings of the customer's ClickHouse, and the checks that need more than one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from customer_stub.settings import TlsFiles, check_listener
from tunnel.settings import SettingError, setting

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class UserSettings:
    """Who may connect, what with, and how much one of the user's queries may take."""

    name: str
    password_file: str
    readonly: bool = setting(True, why="the agent only reads; a writer may also insert")
    admin: bool = setting(False, why="may say anything that the engine takes, files included")
    max_execution_s: float = setting(
        60.0, low=0.1, high=3600.0, why="max_execution_time: raw rows of a month take a minute"
    )
    max_result_rows: int = setting(
        20_000_000, low=1, high=1_000_000_000, why="max_result_rows: an export, not a runaway join"
    )
    max_result_bytes: int = setting(
        4_294_967_296, low=1024, high=1_099_511_627_776, why="max_result_bytes of a streamed answer"
    )
    max_memory_bytes: int = setting(
        536_870_912, low=1_048_576, high=68_719_476_736, why="max_memory_usage of one query"
    )
    max_threads: int = setting(2, low=1, high=64, why="max_threads: the cores of a small machine")
    max_queries: int = setting(
        12, low=1, high=64, why="at once; the agent's 8 of metrics and those of log history"
    )


@dataclass(frozen=True, slots=True)
class ClickHouseSettings:
    """Where it listens, where data lie, who may connect, and the bound of everything."""

    users: list[UserSettings]
    host: str = setting("127.0.0.1", why="a simulator is reached from its own machine")
    port: int = setting(0, low=0, high=65_535, why="0 lets the system choose: no fixed ports")
    insecure: bool = setting(False, why="plain HTTP; passwords are asked for all the same")
    tls: TlsFiles | None = None  # required unless insecure
    data_dir: str = setting("", why="empty: a private directory that is removed at the end")
    display_name: str = setting("planesplit", why="X-ClickHouse-Server-Display-Name")
    memory_bytes: int = setting(
        1_073_741_824,
        low=268_435_456,
        high=1_099_511_627_776,
        why="max_server_memory_usage: all queries together; the engine itself takes 200 MB",
    )
    max_queries: int = setting(
        16, low=1, high=64, why="queries at once; each holds a handle of the engine and a thread"
    )
    queue_s: float = setting(
        2.0, low=0.0, high=60.0, why="wait for a place before code 202 tells to come again"
    )
    max_requests: int = setting(
        64, low=1, high=1024, why="requests at once, waiting ones included; more get code 202"
    )
    max_query_bytes: int = setting(
        262_144, low=1024, high=4_194_304, why="ClickHouse's max_query_size default"
    )
    max_insert_bytes: int = setting(
        268_435_456, low=65_536, high=17_179_869_184, why="data of one INSERT, kept on disk"
    )
    max_parameters: int = setting(
        256, low=8, high=4096, why="fields of one request, settings and param_ ones included"
    )
    body_s: float = setting(30.0, low=0.1, high=600.0, why="time for a request's body to arrive")
    whole_bytes: int = setting(
        33_554_432,
        low=65_536,
        high=1_073_741_824,
        why="max_result_bytes of formats that the engine makes only as a whole (JSON, Parquet)",
    )
    wait_bytes: int = setting(
        4_194_304, low=0, high=268_435_456, why="answer held back for wait_end_of_query"
    )
    generate_rows: int = setting(
        0, low=0, high=50_000_000, why="synthetic metrics made at start; 1 M takes seconds"
    )
    generate_seed: int = setting(
        1, low=0, high=9_223_372_036_854_775_807, why="the same seed gives the same rows"
    )
    stalled_reader_s: float = setting(
        10.0, low=1.0, high=600.0, why="a client that takes nothing for so long is cut off"
    )

    def check(self) -> ClickHouseSettings:
        """Return self if the settings agree with each other.

        Raises:
            SettingError: TLS or users are missing, or `insecure` is asked of a public address.
        """
        check_listener(self.host, self.tls, insecure=self.insecure)
        if not self.users:
            raise SettingError("setting 'users' is empty; give at least one [[users]] table")
        names = [user.name for user in self.users]
        for name in names:
            if not _NAME.fullmatch(name) or names.count(name) > 1:
                raise SettingError(f"setting 'users': '{name}' is no name, or given twice")
        return self
