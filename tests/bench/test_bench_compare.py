"""Comparing two runs: worse, better, no difference seen; and that each of them can come out."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.bench import files
from planesplit.bench.compare import (
    NO_DIFFERENCE,
    Row,
    compare,
    exceeded,
    interval,
    remarks,
    unfit,
)
from planesplit.bench.compare_command import compare as command
from planesplit.bench.compare_command import table
from planesplit.bench.metrics import METRICS
from planesplit.bench.units import change
from planesplit.commands.outcome import UsageError
from tests.bench.bench_cast import document


def row(rows: list[Row], metric: str) -> Row:
    return next(row for row in rows if row.metric == metric)


def test_the_same_split_twice_shows_no_difference() -> None:
    found = row(compare(document(seed=1, repeats=5), document(seed=2, repeats=5)), "p50")
    assert (found.verdict, found.says) == ("none", NO_DIFFERENCE)
    assert found.interval
    assert found.interval[0] < 0 < found.interval[1]


def test_a_slower_split_is_worse_and_a_faster_one_better() -> None:
    quick, slow = document(2.0), document(3.0, seed=2)
    assert row(compare(quick, slow), "p99").verdict == "worse"
    assert row(compare(slow, quick), "p99").verdict == "better"
    assert row(compare(quick, slow), "p99").change == pytest.approx(0.5, abs=0.1)
    assert row(compare(quick, slow), "added_p50").change == pytest.approx(1.0, abs=0.3)


def test_a_rate_is_better_when_it_is_higher() -> None:
    less, more = document(), document(seed=2)
    for number, turn in enumerate(less["turns"]):
        turn["achieved_per_s"] = 500.0 + number
    assert row(compare(less, more), "achieved").verdict == "better"
    assert row(compare(more, less), "achieved").verdict == "worse"


def test_only_what_is_worse_beyond_the_limit_and_sure_fails() -> None:
    rows = compare(document(2.0), document(3.0, seed=2))
    assert exceeded(rows, [change("p99>+10%", METRICS)]) == [
        f"p99>+10%: p99 changed by {row(rows, 'p99').change:+.1%}"
    ]
    assert exceeded(rows, [change("p99>+90%", METRICS)]) == []
    unsure = compare(document(seed=1, repeats=5), document(seed=2, repeats=5))
    assert exceeded(unsure, [change("p50>+0%", METRICS)]) == []


def test_what_a_run_lacks_has_not_passed() -> None:
    rows = compare(document(), document())
    assert exceeded(rows, [change("resume_gap>+10%", METRICS)])


@given(st.lists(st.floats(1, 100), min_size=2, max_size=6), st.floats(0.5, 2))
def test_an_interval_encloses_the_change_of_values_that_are_all_scaled(
    before: list[float], factor: float
) -> None:
    found = interval(before, [value * factor for value in before])
    assert found
    assert found[0] - 1e-6 <= factor - 1 <= found[1] + 1e-6


@pytest.mark.parametrize("repeats", [2, 3, 5, 10])
def test_an_interval_covers_the_truth_as_often_as_it_says(repeats: int) -> None:
    """The same thing twice is called a difference in 5 % of comparisons, few repeats or many."""
    chance = Random(1)
    missed = 0
    for _ in range(500):
        a, b = ([chance.gauss(100, 5) for _ in range(repeats)] for _ in range(2))
        low, high = interval(a, b) or (1.0, 1.0)
        missed += not low <= 0 <= high
    assert missed <= 40, "8 %"


def test_an_interval_still_sees_what_there_is() -> None:
    chance = Random(1)
    seen = 0
    for _ in range(100):
        a, b = ([chance.gauss(mean, 5) for _ in range(3)] for mean in (100, 140))
        low, _ = interval(a, b) or (0.0, 0.0)
        seen += low > 0
    assert seen > 90


def test_an_invalid_run_is_within_no_limit(tmp_path: Path) -> None:
    a, b = document(), document()
    assert unfit(a, b) == []
    b["verdict"] = {**b["verdict"], "valid": False}
    b["overloaded"] = "split"
    assert any("B is OVERLOADED" in line for line in remarks(a, b))
    for name, run in (("a", a), ("b", b)):
        (tmp_path / name).write_text(files.as_json(run))
    paths = tmp_path / "a", tmp_path / "b"
    assert command(*paths, fail_on=["p99>+10%"], format="json", html=None) == 1
    assert command(*paths, fail_on=[], format="json", html=None) == 0


WITHOUT = ("kind", "started", "plan", "environment", "verdict", "turns", "partial", "overloaded")
BROKEN: list[tuple[str, object]] = [(name, None) for name in WITHOUT[1:]]
BROKEN += [("turns", [5]), ("turns", [{}]), ("turns", {}), ("verdict", {}), ("environment", {})]
BROKEN += [("resume", 5), ("first_line_ms", {"median": "x"}), ("turns", [{"path": "split"}])]


@pytest.mark.parametrize(("field", "value"), BROKEN, ids=str)
def test_a_run_that_is_not_whole_is_a_usage_error(
    tmp_path: Path, field: str, value: object
) -> None:
    good, bad = saved(tmp_path, "a", 2.0), tmp_path / "bad.json"
    bad.write_text(json.dumps({**document(), field: value}))
    with pytest.raises(UsageError, match=r"bad\.json"):
        command(good, bad, fail_on=["p99>+10%"], format="table", html=None)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema": NaN}'], ids=["deep", "nan"])
def test_hostile_json_is_a_usage_error(tmp_path: Path, text: str) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    with pytest.raises(UsageError, match="no JSON"):
        command(bad, bad, fail_on=[], format="table", html=None)


def test_a_single_repeat_has_no_interval_and_says_so() -> None:
    one, other = document(2.0, repeats=1), document(3.0, repeats=1)
    assert row(compare(one, other), "p99").interval is None
    assert row(compare(one, other), "p99").verdict == "worse"
    assert any("single repeat" in line for line in remarks(one, other))


def test_what_makes_a_comparison_doubtful_is_told() -> None:
    a, b = document(), document(partial=True)
    b["plan"] = {**b["plan"], "rate_per_s": 5.0}
    b["environment"] = {**b["environment"], "cpu": "another"}
    b["verdict"] = {**b["verdict"], "valid": False}
    told = "\n".join(remarks(a, b))
    for words in ("rate_per_s differ", "same machine", "B is INVALID", "B is PARTIAL", "3 repeats"):
        assert words in told


def saved(directory: Path, name: str, ms: float) -> Path:
    where = directory / name
    where.mkdir()
    (where / "run.json").write_text(files.as_json(document(ms)))
    return where


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
def test_the_command_prints_each_format_and_fails_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    a, b = saved(tmp_path, "a", 2.0), saved(tmp_path, "b", 3.0)
    page = tmp_path / "c.html"
    assert command(a, b, fail_on=["p99>+10%"], format=form, html=page) == 1
    out = capsys.readouterr().out
    assert "p99>+10%" in out
    if form == "json":
        assert json.loads(out)["failed"]
    assert "WORSE" in page.read_text()
    assert command(a, b, fail_on=["p99>+90%"], format=form, html=None) == 0


def test_what_is_no_run_is_a_usage_error_that_names_it(tmp_path: Path) -> None:
    good = saved(tmp_path, "a", 2.0)
    bad = tmp_path / "bad.json"
    for text, told in (("{", "no JSON"), ("{}", "schema"), (None, "No such file")):
        if text is not None:
            bad.write_text(text)
        else:
            bad.unlink()
        with pytest.raises(UsageError, match=rf"bad\.json.*{told}"):
            command(good, bad, fail_on=[], format="table", html=None)
    with pytest.raises(UsageError, match="--fail-on 'p99'"):
        command(good, good, fail_on=["p99"], format="table", html=None)


def test_a_table_has_a_row_for_each_metric() -> None:
    rows = compare(document(), document())
    assert len(table(rows)) == len(rows) + 1


def test_what_was_set_up_otherwise_is_said() -> None:
    a, b = document(), document(seed=2)
    assert not any("policy" in line or "seal" in line for line in remarks(a, b))
    b["plan"] = {**b["plan"], "policy": "bulk", "stalled": 3}
    b["environment"] = {**b["environment"], "seal": "full landlock=7"}
    told = "\n".join(remarks(a, b))
    assert "not the same load: stalled differ" in told
    assert "A has the batching policy 'balanced', B 'bulk'" in told
    assert "A has the relay's seal 'none', B 'full'" in told
