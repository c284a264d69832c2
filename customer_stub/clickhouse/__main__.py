"""`python -m customer_stub.clickhouse --config FILE`: the customer's ClickHouse as a process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from customer_stub.clickhouse import schema, synthetic
from customer_stub.clickhouse.app import ClickHouseApp
from customer_stub.clickhouse.engine import ChdbEngine
from customer_stub.clickhouse.policy import Policy
from customer_stub.clickhouse.private import data_directory
from customer_stub.clickhouse.queries import Queries
from customer_stub.clickhouse.settings import ClickHouseSettings
from customer_stub.clickhouse.users import Users
from customer_stub.server import Endpoint, bind
from tunnel.journal import Journal, tame_loggers
from tunnel.process import announce, main, until_signalled
from tunnel.settings import load

PURPOSE = "The customer's ClickHouse: chdb behind ClickHouse's HTTP protocol."
ZONE = "UTC"  # of the server, as clients are told


def start(config: dict[str, Any]) -> int:
    """Run the process to its end and return the exit code.

    Raises:
        SettingError: the configuration can't be used.
    """
    tame_loggers()
    settings = load(ClickHouseSettings, config).check()
    users = Users(settings.users)
    endpoint = bind(settings)
    journal = Journal("clickhouse")
    os.environ["TZ"] = ZONE
    time.tzset()
    with data_directory(settings.data_dir) as directory:
        engine = ChdbEngine(directory, memory_bytes=settings.memory_bytes)
        try:
            for statement in schema.STATEMENTS:
                engine.execute(statement)
            if settings.generate_rows:
                made = synthetic.Series(rows=settings.generate_rows, seed=settings.generate_seed)
                engine.execute(synthetic.statement(made, time.time_ns()))
            ready = partial(announce, port=endpoint.port)
            trio.run(_run, settings, users, engine, endpoint, journal, ready)
        finally:
            engine.close()
    return 0


async def _run(
    settings: ClickHouseSettings,
    users: Users,
    engine: ChdbEngine,
    endpoint: Endpoint,
    journal: Journal,
    ready: Callable[[], None],
) -> None:
    queries = Queries(engine, settings, journal)
    rules = Policy(engine.table_functions)
    app = ClickHouseApp(queries, users, rules, settings=settings, journal=journal)
    async with trio.open_nursery() as service:
        await service.start(queries.run)
        async with trio.open_nursery() as nursery:
            await nursery.start(endpoint.serve, app, journal)
            ready()
            journal.event("stopping", signal=await until_signalled())
            nursery.cancel_scope.cancel()
        service.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(main("customer_stub.clickhouse", PURPOSE, start))
