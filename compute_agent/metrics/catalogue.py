"""The named queries: what callers may ask for, with which parameters, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass

from compute_agent.metrics import sql
from compute_agent.metrics.parameters import TIME, Parameter
from tunnel.messages.planesplit_v1_pb2 import NamedQuery as Description
from tunnel.messages.planesplit_v1_pb2 import QueryColumn

SCOPE = ("org", "project", "domain", "run")
MAX_STEP_S = 86_400
MAX_ROWS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result.

    Args:
        name: as in the result.
        type: ClickHouse's.
        unit: UCUM-like: `cores`, `By`, `1` (a ratio), `USD`, `USD/h`; empty for none.
    """

    name: str
    type: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """One query that may be asked for.

    Args:
        name: in requests.
        description: one line for people.
        sql: the statement, without a FORMAT; values come as `{name:Type}` only.
        parameters: the caller's.
        columns: of the result, in order.
    """

    name: str
    description: str
    sql: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]

    def describe(self) -> Description:
        """Return what ListQueries says of it."""
        return Description(
            name=self.name,
            description=self.description,
            parameters=[parameter.describe() for parameter in self.parameters],
            columns=[QueryColumn(name=c.name, type=c.type, unit=c.unit) for c in self.columns],
        )


_WHICH = (
    Parameter("action", "String", "only this action; all if empty", ""),
    Parameter("attempt", "UInt32", "only this attempt; all if 0", "0"),
    Parameter("since", TIME, "nothing older", "1970-01-01T00:00:00Z"),
    Parameter("until", TIME, "only what is older than this", "2261-01-01T00:00:00Z"),
)
_STEP = Parameter("step_s", "UInt32", "seconds that one row stands for", "10", 1, MAX_STEP_S)
_LIMIT = Parameter(
    "limit", "UInt64", "at most so many rows, any of them", str(MAX_ROWS), 1, MAX_ROWS
)
_SERIES = (*_WHICH, _STEP)

_TIME = Column("time", "DateTime('UTC')")
_COMPARED = ("time", "used", "allocated", "share")


def _compared(unit: str) -> tuple[Column, ...]:
    """Return the columns of used beside allocated."""
    numbers = ((name, unit if name != "share" else "1") for name in _COMPARED[1:])
    return (_TIME, *(Column(name, "Float64", unit) for name, unit in numbers))


CATALOGUE: dict[str, NamedQuery] = {
    query.name: query
    for query in (
        NamedQuery(
            "gpu_utilization",
            "how busy each GPU was: mean and peak of each step",
            sql.GPU_UTILIZATION,
            _SERIES,
            (
                _TIME,
                Column("gpu", "String"),
                Column("utilization", "Float64", "1"),
                Column("peak", "Float64", "1"),
            ),
        ),
        NamedQuery(
            "cpu_usage",
            "cores in use, all containers together",
            sql.CPU_USAGE,
            _SERIES,
            (_TIME, Column("cores", "Float64", "cores")),
        ),
        NamedQuery(
            "memory_usage",
            "bytes in use, all containers together",
            sql.MEMORY_USAGE,
            _SERIES,
            (_TIME, Column("bytes", "Float64", "By")),
        ),
        NamedQuery(
            "cpu_used_vs_allocated",
            "cores in use beside cores asked for",
            sql.CPU_USED_VS_ALLOCATED,
            _SERIES,
            _compared("cores"),
        ),
        NamedQuery(
            "memory_used_vs_allocated",
            "bytes in use beside bytes asked for",
            sql.MEMORY_USED_VS_ALLOCATED,
            _SERIES,
            _compared("By"),
        ),
        NamedQuery(
            "cost",
            "what the run costs an hour, and has cost since its first row",
            sql.COST,
            _SERIES,
            (_TIME, Column("rate", "Float64", "USD/h"), Column("total", "Float64", "USD")),
        ),
        NamedQuery(
            "summary",
            "one row for each attempt of each action",
            sql.SUMMARY,
            _WHICH,
            (
                Column("action", "String"),
                Column("attempt", "UInt32"),
                Column("first", "DateTime64(9)"),
                Column("last", "DateTime64(9)"),
                Column("samples", "UInt64"),
                *(Column(f"cpu_{what}", "Float64", "cores") for what in ("mean", "peak")),
                Column("cpu_allocated", "Float64", "cores"),
                *(Column(f"memory_{what}", "Float64", "By") for what in ("mean", "peak")),
                Column("memory_allocated", "Float64", "By"),
                Column("gpu_mean", "Float64", "1"),
                Column("cost_rate", "Float64", "USD/h"),
                Column("cost", "Float64", "USD"),
            ),
        ),
        NamedQuery(
            "samples",
            "the raw samples, in no particular order",
            sql.SAMPLES,
            (*_WHICH, Parameter("metric", "String", "only this metric; all if empty", ""), _LIMIT),
            (
                Column("time", "DateTime64(9)"),
                Column("metric", "LowCardinality(String)"),
                Column("value", "Float64"),
                *(
                    Column(name, "String")
                    for name in ("action", "attempt", "pod", "container", "node", "gpu")
                ),
            ),
        ),
    )
}
