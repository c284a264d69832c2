"""The pytest plugin: light, switchable, and serving any kind of test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from planesplit.portal import Portal

pytest_plugins = ["pytester"]

PATIENCE_S = 10
CASES = """
    import asyncio
    import pytest

    pytestmark = pytest.mark.skipif(False, reason="strict markers pass")

    def test_sync(planesplit):
        run = planesplit.run(exec="echo one; echo two")
        with planesplit.tail(run) as lines:
            assert lines.next(timeout=10) == "one"
            delivery = planesplit.assert_delivered(run, lines)
        assert delivery.produced == 2

    async def test_trio(planesplit):
        run = planesplit.run(exec="for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done")
        with planesplit.tail(run) as lines:
            assert lines.next(timeout=10) == "1"
            assert planesplit.cut() == 1
            planesplit.assert_delivered(run, lines)

    def test_asyncio(planesplit):
        async def main():
            run = planesplit.run(exec="exit 3")
            return planesplit.wait(run).exit_code
        assert asyncio.run(main()) == 3

    def test_nothing_comes(planesplit):
        run = planesplit.run(exec="sleep 2")
        with planesplit.tail(run) as lines, pytest.raises(TimeoutError):
            lines.next(timeout=0.1)

    def test_a_fault(planesplit):
        planesplit.kill()

    def test_does_not_outlive_its_test(planesplit):
        planesplit.assert_delivered(planesplit.run(exec="echo whole again"))
"""


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import planesplit.pytest_plugin;"
        "print(*sorted(name for name in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["planesplit", "planesplit.pytest_plugin"]


def test_options_and_fixtures_are_listed(pytester: pytest.Pytester) -> None:
    pytester.runpytest_subprocess("--help").stdout.fnmatch_lines(["*--planesplit-mode=*"])
    pytester.runpytest_subprocess("--fixtures").stdout.fnmatch_lines(["planesplit -- *"])


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(planesplit): pass")
    done = pytester.runpytest_subprocess("-p", "no:planesplit")
    done.stdout.fnmatch_lines(["*fixture 'planesplit' not found*"])


def test_doctor(pytester: pytest.Pytester) -> None:
    pytester.runpytest_subprocess("--planesplit-doctor").stdout.fnmatch_lines(["kernel *ok *"])


def test_without_its_fixture_nothing_is_started(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\ndef test_it(): assert 'planesplit.split.core' not in sys.modules"
    )
    pytester.runpytest_subprocess("-p", "no:trio").assert_outcomes(passed=1)


@pytest.mark.integration
@pytest.mark.parametrize(
    "options",
    [[], ["-n", "2"], ["--planesplit-mode=inprocess"]],
    ids=["alone", "xdist", "inprocess"],
)
def test_every_kind_of_test_is_served(pytester: pytest.Pytester, options: list[str]) -> None:
    pytester.makeini("[pytest]\ntrio_mode = true\naddopts = --strict-markers")
    pytester.makepyfile(CASES)
    pytester.runpytest_subprocess("--planesplit-insecure", *options).assert_outcomes(passed=6)


@pytest.mark.integration
def test_a_failure_shows_the_journals(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(planesplit): assert not planesplit.run(exec='true')")
    done = pytester.runpytest_subprocess("--planesplit-insecure")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*planesplit journals*", '*"event":"tunnel_open*'])


@asynccontextmanager
async def numbered() -> AsyncIterator[int]:
    yield 7


async def double(number: int) -> int:
    await trio.sleep(0)
    return 2 * number


@pytest.fixture
def portal() -> Portal[int]:
    return Portal(numbered)


def test_a_portal_calls_from_a_plain_thread(portal: Portal[int]) -> None:
    assert portal.start(PATIENCE_S) == 7
    assert portal.call(double, 21) == 42
    portal.stop()


async def test_a_portal_calls_from_within_trio(portal: Portal[int]) -> None:
    assert portal.start(PATIENCE_S) == 7
    assert portal.call(double, 21) == 42
    portal.stop()


def test_a_call_may_take_too_long_or_fail(portal: Portal[int]) -> None:
    portal.start(PATIENCE_S)
    with pytest.raises(TimeoutError, match=r"not within 0\.01 s"):
        portal.call(trio.sleep_forever, timeout_s=0.01)
    with pytest.raises(TypeError):
        portal.call(double, None)
    assert portal.call(double, 1) == 2, "it lives on"
    portal.stop()


def test_what_the_context_raises_is_told() -> None:
    @asynccontextmanager
    async def refuses() -> AsyncIterator[int]:
        raise OSError("no ports left")
        yield 0

    with pytest.raises(OSError, match="no ports left"):
        Portal(refuses).start(PATIENCE_S)


def test_a_context_that_ends_by_itself_is_told() -> None:
    fail = trio.Event()

    @asynccontextmanager
    async def breaks() -> AsyncIterator[int]:
        async with trio.open_nursery() as nursery:

            async def breaking() -> None:
                await fail.wait()
                raise OSError("a plane died")

            nursery.start_soon(breaking)
            yield 0

    portal = Portal(breaks)
    portal.start(PATIENCE_S)

    async def stay() -> None:
        fail.set()
        await trio.sleep_forever()

    with pytest.raises(RuntimeError, match="stopped meanwhile"):
        portal.call(stay)
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        portal.stop()
