"""Tables for people: as wide as their values, folded where the terminal is narrower."""

from hypothesis import given
from hypothesis import strategies as st

from planesplit.commands.tables import as_table

ROWS = [
    {"time": "2026-11-23T06:53:15Z", "source": "default-scheduler", "message": "put demo/r1 there"},
    {"time": "", "source": "kubelet", "message": "it was started"},
]
COLUMNS = ("time", "source", "message")


def test_without_a_limit_nothing_is_folded() -> None:
    assert as_table(ROWS, COLUMNS, width=0) == (
        "TIME                   SOURCE              MESSAGE\n"
        "2026-11-23T06:53:15Z   default-scheduler   put demo/r1 there\n"
        "-                      kubelet             it was started\n"
    )


def test_the_widest_column_is_folded_at_spaces_first() -> None:
    assert as_table(ROWS, COLUMNS, width=54) == (
        "TIME                   SOURCE              MESSAGE\n"
        "2026-11-23T06:53:15Z   default-scheduler   put demo/r1\n"
        "                                           there\n"
        "-                      kubelet             it was\n"
        "                                           started\n"
    )


def test_names_are_folded_at_their_joints_and_times_are_not() -> None:
    assert as_table(ROWS, COLUMNS, width=40, headed=False) == (
        "2026-11-23T06:53:15Z  default-   put\n"
        "                      scheduler  demo/r1\n"
        "                                 there\n"
        "-                     kubelet    it was\n"
        "                                 started\n"
    )


def test_what_cannot_be_folded_is_a_paragraph() -> None:
    assert as_table(ROWS[1:], COLUMNS, width=10) == (
        "TIME      -\nSOURCE    kubelet\nMESSAGE   it was started\n\n"
    )


@given(
    rows=st.lists(
        st.fixed_dictionaries({"a": st.text("ab-/ 1", max_size=30), "b": st.text("xy ")}),
        max_size=4,
    ),
    width=st.integers(5, 60),
)
def test_folding_loses_nothing_and_keeps_to_the_width(
    rows: list[dict[str, str]], width: int
) -> None:
    text = as_table(rows, ("a", "b"), width=width)
    shown = sorted(text.replace(" ", "").replace("\n", "").replace("A", "").replace("B", ""))
    assert shown == sorted("".join((r[c] or "-") for r in rows for c in "ab").replace(" ", ""))
    table = text.startswith("A  ") or not rows
    assert all(len(line) <= width for line in text.splitlines()) or not table or "A   " in text
