"""Charts: every point is there, nothing is outside, numbers are short."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.plot import BLANK, chart, short

RISING = [(float(x), float(x)) for x in range(100)]
FINITE = st.floats(-1e12, 1e12)


def cells(text: str) -> list[str]:
    """The rows of dots."""
    return [line.partition("┤")[2] for line in text.splitlines()[1:]]


def dots(row: str) -> list[int]:
    return [at for at, character in enumerate(row) if ord(character) != BLANK]


def test_a_rising_line_rises() -> None:
    rows = cells(chart({"x": RISING}, width=40, height=4))
    starts = [dots(row)[0] for row in rows]
    assert starts == sorted(starts, reverse=True)
    assert dots(rows[-1])[0] == 0
    assert dots(rows[0])[-1] == len(rows[0]) - 1


def test_the_order_of_points_does_not_matter() -> None:
    assert chart({"x": RISING[::-1]}) == chart({"x": RISING})


def test_labels_say_the_range_the_names_and_the_unit() -> None:
    text = chart({"used": RISING, "asked": [(0.0, 50.0)]}, unit="cores")
    head, *rows = text.splitlines()
    assert head.strip() == "used, asked [cores]"
    assert rows[0].split("┤")[0].strip() == "99"
    assert rows[-1].split("┤")[0].strip() == "0"


def test_without_points_there_is_no_chart() -> None:
    assert chart({}) == ""
    assert chart({"x": []}) == ""


def test_colours_are_only_added() -> None:
    plain, coloured = chart({"x": RISING}), chart({"x": RISING}, colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9]*m", "", coloured) == plain


@given(
    st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=30),
    st.integers(1, 200),
    st.integers(1, 20),
)
def test_any_points_fit(points: list[tuple[float, float]], width: int, height: int) -> None:
    rows = cells(chart({"x": points}, width=width, height=height))
    assert len(rows) == height
    assert len({len(row) for row in rows}) == 1
    assert any(dots(row) for row in rows)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.5, "1.5"), (1e9, "1G"), (123456, "123.5k"), (0.25, "250m"), (-2e6, "-2M")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


@given(st.floats(1e-9, 1e15))
def test_short_numbers_keep_three_digits(value: float) -> None:
    prefixes = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "m": 1e-3}
    text = short(value)
    factor = prefixes.get(text[-1], 1.0)
    assert math.isclose(float(text.rstrip("TGMkm")) * factor, value, rel_tol=0.05)
