"""Reports: every output has the figures, and the HTML asks nobody for anything."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from rich.console import Console

from planesplit.bench import charts, files, markdown, page, report
from planesplit.bench.svg import decades, linear, logarithmic, nice
from planesplit.bench.terminal import show
from tests.bench.bench_cast import document, finished

VOID = {"meta"}


class Strict(HTMLParser):
    """Fails on tags that do not match, and collects what would be fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "link", "img", "iframe", "object"):
            self.fetched.append(tag)
        self.fetched += [f"{k}={v}" for k, v in attrs if k in ("src", "href", "onload", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(text: str) -> Strict:
    parser = Strict()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_the_page_is_whole_and_fetches_nothing() -> None:
    text = page.bench(document())
    assert checked(text).fetched == []
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text
    assert text.count("<svg") == 4
    assert "[VALID]" not in text
    assert ">VALID<" in text


def test_the_page_check_can_fail() -> None:
    assert checked('<p><img src="https://example.org/x.png"></img></p>').fetched


def test_what_was_typed_is_no_markup() -> None:
    found = document(command=["planesplit", "<script>alert(1)</script>"])
    assert checked(page.bench(found)).fetched == []
    assert "\\|" in markdown.bench(document(command=["a|b"]))


@pytest.mark.parametrize("path", ["split", "bare"])
def test_a_run_with_one_path_or_none_still_has_a_report(path: str) -> None:
    found = document()
    for turns in ([t for t in found["turns"] if t["path"] == path], []):
        less = finished({**found, "turns": turns, "hops": {}, "partial": True})
        assert "PARTIAL" in page.bench(less)
        assert "PARTIAL" in markdown.bench(less)
        checked(page.bench(less))


def test_invalid_and_its_reason_are_in_every_report() -> None:
    found = document()
    found["turns"][0]["misplaced"] = 1
    finished(found)
    out = io.StringIO()
    show(found, Console(file=out, width=130))
    for text in (out.getvalue(), page.bench(found), markdown.bench(found)):
        assert "INVALID" in text
        assert "out of order" in text


def test_the_terminal_says_what_the_tunnel_adds() -> None:
    out = io.StringIO()
    show(document(2.0, bare_ms=1.0), Console(file=out, width=130))
    text = out.getvalue()
    assert text.startswith("[VALID] the tunnel adds 1.0")
    for words in ("through the split", "bare link", "viewer", "relay CPU", "time to first line"):
        assert words in text
    assert "mean" in text, "the hops sum to it"


def test_nothing_is_cut_off_in_a_narrow_terminal() -> None:
    out = io.StringIO()
    found = document(198.76, bare_ms=101.23)
    show(found, Console(file=out, width=80, force_terminal=True, color_system=None))
    assert "…" not in out.getvalue()


def test_the_gap_after_a_cut_is_told_and_so_is_what_it_lost() -> None:
    resume = {"gap_ms": 312.0, "usual_ms": 2.0, "missing": 0, "misplaced": 0, "cuts": 1}
    assert "312 ms without a line" in str(report.facts(document(resume=resume)))
    lost = {**resume, "missing": 3}
    assert "3 lines missing" in str(report.facts(document(resume=lost)))


def test_csv_has_a_row_a_turn() -> None:
    rows = list(csv.DictReader(io.StringIO(files.as_csv(document()))))
    assert [row["path"] for row in rows] == ["split", "bare"] * 3
    assert float(rows[0]["p50"]) == pytest.approx(2.0, abs=0.4)
    assert files.as_csv({**document(), "turns": []}) == ""


def test_the_hlog_is_read_by_its_own_reader(tmp_path: Path) -> None:
    found = document()
    log = tmp_path / "run.hlog"
    log.write_text(files.as_hlog(found))
    reader = HistogramLogReader(str(log), HdrHistogram(1, 3_600_000_000_000, 3))
    read = []
    while (each := reader.get_next_interval_histogram()) is not None:
        read.append(each)
    assert len(read) == len(found["turns"])
    assert read[0].get_value_at_percentile(50) / 1e6 == pytest.approx(found["turns"][0]["p50"])
    assert read[0].get_tag() == "split"


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = document()
    (tmp_path / "run.json").write_text(files.as_json(found))
    again = files.load(tmp_path)
    assert again["summary"] == found["summary"]
    assert again["schema"] == "planesplit.bench/1"


def test_the_curve_ends_where_the_samples_do() -> None:
    text = charts.percentiles(document())
    assert text.count("<polyline") == 2
    assert ">99.99<" not in text  # 3,000 lines say nothing of one in ten thousand


def test_scales_and_ticks() -> None:
    assert linear(10, 20)(15) == 0.5
    assert linear(5, 5)(5) == 0.0
    assert logarithmic(1, 100)(10) == pytest.approx(0.5)
    assert decades(1, 10) == pytest.approx([1, 2, 5, 10])
    assert nice(10) == pytest.approx([0, 2, 4, 6, 8, 10])
    assert nice(0)[0] == 0
