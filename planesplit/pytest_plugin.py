"""The pytest plugin of planesplit. Nothing heavy is imported until a fixture is used.

`planesplit` is one test's view of a split that a whole session (each xdist worker) shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from planesplit.harness import Harness
    from planesplit.portal import Portal
    from planesplit.split.core import Split

FIXTURE = "planesplit"
MODES = ("processes", "inprocess")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options `--planesplit-*`."""
    group = parser.getgroup("planesplit", "a split control and compute plane")
    group.addoption(
        "--planesplit-mode",
        choices=MODES,
        default="processes",
        help="run the planes as processes (default) or in one process",
    )
    group.addoption(
        "--planesplit-insecure",
        action="store_true",
        help="plain HTTP on loopback and one demo identity instead of TLS and tokens",
    )
    group.addoption(
        "--planesplit-clusters",
        type=int,
        default=1,
        metavar="N",
        help="clusters of the org: c1, c2, ... (default 1)",
    )
    group.addoption(
        "--planesplit-no-clickhouse",
        action="store_true",
        help="no metrics and no historical logs, but a start that is two seconds faster",
    )
    group.addoption(
        "--planesplit-no-seal",
        action="store_true",
        help="a relay that the kernel does not stop from writing and dialling",
    )
    group.addoption(
        "--planesplit-doctor",
        action="store_true",
        help="show what this machine offers, and exit",
    )


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Answer `--planesplit-doctor`."""
    if not config.getoption("--planesplit-doctor"):
        return None
    from planesplit.commands.doctor import doctor

    return doctor(json=False)


@pytest.fixture(scope="session")
def planesplit_session(pytestconfig: pytest.Config) -> Iterator[tuple[Portal[Split], Split]]:
    """The session's split and the portal to it; tests use `planesplit`."""
    from planesplit.harness import open_portal
    from planesplit.split.options import SplitOptions

    count = pytestconfig.getoption("--planesplit-clusters")
    options = SplitOptions(
        mode=pytestconfig.getoption("--planesplit-mode"),
        insecure=pytestconfig.getoption("--planesplit-insecure"),
        clusters=tuple(f"c{number}" for number in range(2, count + 1)),
        clickhouse=not pytestconfig.getoption("--planesplit-no-clickhouse"),
        seal=not pytestconfig.getoption("--planesplit-no-seal"),
    )
    portal, split = open_portal(options)
    yield portal, split
    portal.stop()


@pytest.fixture
def planesplit(
    planesplit_session: tuple[Portal[Split], Split], request: pytest.FixtureRequest
) -> Iterator[Harness]:
    """A running split: run, tail, kill, freeze, cut, assert_delivered. Faults end with the test."""
    from planesplit.harness import Harness

    harness = Harness(*planesplit_session, tenant=request.node.nodeid)
    yield harness
    harness.heal()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add the planes' journals to the report of a test that failed."""
    report = yield
    harness = getattr(item, "funcargs", {}).get(FIXTURE)
    if harness is not None and report.when == "call" and report.failed:
        report.sections.append(("planesplit journals", harness.journals()))
    return report
