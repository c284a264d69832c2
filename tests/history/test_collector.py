"""The collector: every record reaches the aggregator with its number, whatever files become."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
from crilog import CriLog, records
from fakes import ATTEMPT
from history_stage import FakeAggregator, NodeLog, pod_json
from hypothesis import given
from hypothesis import strategies as st

from compute_agent.logs.cri import Splitter
from compute_agent.logs.index import OffsetIndex
from customer_stub.cluster import Cluster
from customer_stub.collector.collector import Collector
from customer_stub.collector.follower import Follower, LogSource
from customer_stub.collector.records import Entry, Numberer
from customer_stub.collector.settings import CollectorSettings
from customer_stub.collector.sink import SinkFailed, otel_row
from customer_stub.settings import CustomerSettings
from tunnel.journal import Journal
from tunnel.settings import SettingError

SETTINGS = CollectorSettings(sink="clickhouse", flush_s=0.05, batch_rows=50)
BLOCK = 4096


def follower(log: CriLog, **settings: int) -> Follower:
    limits = CollectorSettings(**settings) if settings else SETTINGS
    source = LogSource({"k8s.pod.name": "pod"}, log.directory, log.restart)
    return Follower(source, limits)


def read(following: Follower) -> list[Entry]:
    found: list[Entry] = []
    while entries := following.read(BLOCK):
        found += entries
    return found


def contents(entries: list[Entry]) -> list[bytes]:
    assert [e.sequence for e in entries] == list(range(1, len(entries) + 1))
    return [e.content for e in entries if not e.end]


@pytest.fixture
def log(tmp_path: Path) -> NodeLog:
    made = NodeLog(tmp_path, kept=2)
    made.path.touch()
    return made


def test_rotation_in_a_burst_loses_nothing(log: NodeLog):
    following = follower(log)
    log.on_rotate = following.observe
    for n in range(20):
        log.write(b"%d" % n)
        log.rotate()
    following.ended = True
    found = read(following)
    assert contents(found) == [b"%d" % n for n in range(20)]
    assert all(e.file_start for e in found[:-1])
    assert found[-1].end


def test_a_directory_that_is_deleted_is_read_to_its_end(log: NodeLog):
    following = follower(log)
    log.on_rotate = following.observe
    log.write(b"one")
    log.rotate()
    log.write(b"two")
    log.raw(records(b"torn", log.ns, b"stderr")[:-1])
    following.observe()
    shutil.rmtree(log.directory)
    following.ended = True
    assert contents(read(following)) == [b"one", b"two", b"torn"]


def test_inodes_that_are_used_again_are_other_files(log: NodeLog):
    following = follower(log)
    log.on_rotate = following.observe
    written, found = [], []
    for n in range(200):
        log.write(b"%d" % n)
        written.append(b"%d" % n)
        if n % 3 == 0:
            found += read(following)
        log.rotate()
    following.ended = True
    assert contents(found + read(following)) == written


def test_a_file_that_is_emptied_goes_on_in_its_copy(log: NodeLog):
    following = follower(log)
    log.write(b"one")
    found = read(following)
    log.write(b"two")
    log.path.with_name("0.log.20250101-000001").write_bytes(log.path.read_bytes())
    log.path.write_bytes(b"")
    log.write(b"three")
    following.ended = True
    assert contents(found + read(following)) == [b"one", b"two", b"three"]


def test_a_file_that_is_emptied_without_a_copy_leaves_a_number_out(log: NodeLog):
    following = follower(log)
    log.write(b"one")
    found = read(following)
    log.write(b"two")
    log.path.write_bytes(b"")
    log.write(b"three, longer than before")
    found += read(following)
    assert [(e.sequence, e.content) for e in found] == [
        (1, b"one"),
        (3, b"three, longer than before"),
    ]


def test_what_is_given_up_keeps_its_numbers(log: NodeLog):
    following = follower(log)
    log.on_rotate = following.observe
    for n in range(5):
        log.write_all([b"%d-%d" % (n, i) for i in range(3)])
        log.rotate()
    log.write(b"last")
    following.observe()
    assert [following.shed(), following.shed()] == [3, 3]
    assert read(following)[0].sequence == 7


pieces = st.lists(
    st.one_of(
        st.binary(max_size=90).map(lambda b: b.replace(b"\n", b"?") + b"\n"),
        st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"?")),
        st.just(b"x" * 200),
    ),
    max_size=12,
)


@given(pieces, st.lists(st.integers(1, 97), min_size=1, max_size=9), st.integers(64, 99))
def test_all_three_count_alike(parts, cuts, limit):
    """Collector, tail and index number a file's records by the same rule."""
    data = b"".join(parts)
    numberer, at, entries = Numberer(1, limit), 0, []
    while at < len(data):
        size = cuts[at % len(cuts)]
        entries += numberer.feed(data[at : at + size])
        at += size
    entries += numberer.end_file()
    splitter = Splitter(0, limit)
    tailed = [*splitter.feed(data), *splitter.flush()]
    assert [(e.sequence, e.content) for e in entries] == [(r.sequence, r.content) for r in tailed]
    assert count(data, limit) == len(tailed) == splitter.sequence - 1


def count(data: bytes, limit: int) -> int:
    import tempfile

    from compute_agent.logs.index import LogFile, count_records

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return count_records(LogFile(Path(file.name), "0.log", 0, len(data), "", 0), limit)


def test_bytes_that_are_no_text_are_kept_as_they_are():
    source = LogSource({"k8s.pod.name": "pod"}, Path(), 2)
    row = otel_row(source, Entry(7, 1_500_000_000_000_000_001, "stderr", True, b"a\xff"))
    assert row["Body"] == "a\ufffd"
    assert row["Timestamp"] == "2017-07-14 02:40:00.000000001"
    assert row["LogAttributes"] == {
        "log.iostream": "stderr",
        "planesplit.restart": "2",
        "planesplit.sequence": "7",
        "planesplit.partial": "true",
        "planesplit.base64": "Yf8=",
    }


class Stage:
    """A collector, what it journals, and what it sent."""

    def __init__(self, root: Path, sink: FakeAggregator) -> None:
        self.root, self.sink, self.events = root, sink, []
        self.collector = self.start()

    def start(self) -> Collector:
        journal = Journal("customer", write=self.events.append, clock=lambda: 0.0)
        state = self.root / "positions.json"
        return Collector(SETTINGS, self.sink, journal=journal, state_file=state)

    def follow(self, log: NodeLog) -> None:
        log.on_rotate = self.collector.follow(pod_json(ATTEMPT), log.directory, 0)

    def sequences(self) -> list[int]:
        return [c.entry.sequence for c in self.sink.kept]


async def test_after_a_crash_it_goes_on_where_it_was(
    log: NodeLog, tmp_path: Path, nursery: trio.Nursery, autojump_clock
):
    stage = Stage(tmp_path, FakeAggregator())
    stage.follow(log)
    async with trio.open_nursery() as life:
        life.start_soon(stage.collector.run)
        log.write_all([b"%d" % n for n in range(30)])
        await trio.sleep(3)
        stage.sink.accept = lambda: None  # taken, but nobody hears of it
        log.write_all([b"%d" % n for n in range(30, 40)])
        await trio.sleep(0.3)
        life.cancel_scope.cancel()
    stage.sink.accept = lambda: True
    again = stage.start()
    log.write(b"40")
    nursery.start_soon(again.run)
    await trio.sleep(3)
    assert not again.active
    kept = {c.entry.sequence: c.entry.content for c in stage.sink.kept if not c.entry.end}
    assert kept == {n + 1: b"%d" % n for n in range(41)}
    assert len(stage.sequences()) > 42, "some were sent again"
    text = (tmp_path / "positions.json").read_text()
    assert "2023" not in text, "no log is left in the state"


async def test_rows_that_are_refused_for_good_are_told(
    log: NodeLog, tmp_path: Path, nursery: trio.Nursery, autojump_clock
):
    class Refuses(FakeAggregator):
        async def insert(self, rows) -> None:
            raise SinkFailed(retryable=False)

    stage = Stage(tmp_path, Refuses())
    stage.follow(log)
    log.write(b"one")
    stage.collector.ended(log.directory, 0)
    nursery.start_soon(stage.collector.run)
    await trio.sleep(1)
    assert stage.collector.lost_records == 2, "the record and the mark of the end"
    assert '"reason":"refused"' in stage.events[0]


async def test_drain_waits_for_what_was_written_last(
    log: NodeLog, tmp_path: Path, nursery: trio.Nursery, autojump_clock
):
    stage = Stage(tmp_path, FakeAggregator())
    stage.follow(log)
    nursery.start_soon(stage.collector.run)
    await trio.sleep(1)
    log.write(b"one")
    stage.collector.ended(log.directory, 0)
    await stage.collector.drain()
    assert stage.sequences() == [1, 2]


async def test_the_kubelet_deletes_no_line(tmp_path: Path, nursery, autojump_clock):
    """Tiny files, no directory kept: every rotation and the deletion race with the collector."""
    limits = {"rotate_bytes": 4096, "rotate_files": 2, "deleted_logs": 0}
    settings = CustomerSettings(log_root=str(tmp_path / "logs"), insecure=True, **limits)
    cluster = Cluster(settings, journal=Journal("customer", write=lambda _: None))
    sink = FakeAggregator()
    collector = Collector(SETTINGS, sink, journal=Journal("customer", write=lambda _: None))
    cluster.collector = cluster.kubelet.collector = collector
    await nursery.start(cluster.run)
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "pod", "namespace": "ns", "labels": ATTEMPT.labels()},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "main",
                    "image": "planesplit/workload",
                    "args": ["plain", "--lines", "500", "--rate", "0"],
                }
            ],
        },
    }
    made = cluster.pods.create("ns", pod)
    await trio.sleep(0.2)
    cluster.pods.delete("ns", made["metadata"]["name"])
    with trio.fail_after(60):
        while collector.active or list((tmp_path / "logs").iterdir()):
            await trio.sleep(0.1)
    found = [c.entry for c in sink.kept]
    assert found[-1].end
    assert [e.sequence for e in found] == list(range(1, len(found) + 1))
    numbers = [int(e.content[:7]) for e in found[:-1]]
    assert numbers == list(range(500))


def test_settings_that_cannot_work_are_refused(tmp_path: Path):
    CollectorSettings().check("")
    for bad in ("kafka", "clickhouse"):
        with pytest.raises(SettingError, match="collector"):
            CollectorSettings(sink=bad).check("")


def test_index_counts_records_of_compressed_files(log: NodeLog, tmp_path: Path):
    index = OffsetIndex(tmp_path, None, 5)
    log.kept = 5
    for n in range(4):
        log.write_all([b"x"] * (n + 1))
        list(index.scan())
        log.rotate()
    log.write(b"x")
    files = index.listing(log.directory, 0).files
    assert [f.first for f in files] == [0, 1, 3, 6, 10]
