"""Every detector finds what is planted where it looks, and nothing where nothing is."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from proof_cast import child, staged, waiting_child

from planesplit.proof import claims, processes
from planesplit.proof.canaries import Kind
from planesplit.proof.detectors import DETECTORS, fanotify, files
from planesplit.proof.detectors.answers import Answers
from planesplit.proof.detectors.database import Database
from planesplit.proof.detectors.fanotify import Writes
from planesplit.proof.detectors.files import Files, store_of
from planesplit.proof.detectors.memory import Memory
from planesplit.proof.detectors.output import Output
from planesplit.proof.detectors.process_io import ProcessIo
from planesplit.proof.detectors.rows import Rows
from planesplit.proof.detectors.sockets import Sockets
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.residency import Counted
from planesplit.split.options import RELAY
from tunnel.rows import APPENDIX_A

LINE = claims.LOG_LINE


def misplaced(finds: list[Find]) -> list[Find]:
    return [find for find in finds if not claims.allowed(find.row, find.kind, find.store)]


def test_every_detector_says_what_it_cannot_see() -> None:
    assert len({made.name for made in DETECTORS}) == len(DETECTORS)
    assert all(len(made.blind_to) > 20 for made in DETECTORS)


Plant = Callable[[Stage, str], None]


def in_split(path: str) -> Plant:
    def plant(stage: Stage, value: str) -> None:
        file = stage.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value)

    return plant


def named(stage: Stage, value: str) -> None:
    (stage.directory / f"leak-{value}").mkdir()


def linked(stage: Stage, value: str) -> None:
    (stage.directory / "link").symlink_to(f"/nowhere/{value}")


def attribute(stage: Stage, value: str) -> None:
    file = stage.directory / "plain"
    file.touch()
    try:
        os.setxattr(file, "user.note", value.encode())
    except OSError:
        pytest.skip("this file system has no extended attributes")


def shared(stage: Stage, value: str) -> None:
    deep = stage.workshop.parent / "shared" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "leak").write_text(value)


def large(stage: Stage, value: str) -> None:
    (stage.directory / "large").write_bytes(bytes(4 * 1024 * 1024 - 10) + value.encode())


FILES: dict[str, Plant] = {
    "vendor's directory": in_split("relay/cache"),
    "configuration": in_split("config/relay.toml"),
    "beside the database": in_split("control/extra.db"),
    "agent's secrets": in_split("clusters/c1/secrets/x"),
    "name of a directory": named,
    "target of a link": linked,
    "extended attribute": attribute,
    "temporary directory": shared,
    "over a block's edge": large,
}


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places that all programs share are many and full; those of tests are their own."""
    place = tmp_path / "shared"
    place.mkdir()
    monkeypatch.setattr(files, "shared_places", lambda stage: [place])


@pytest.mark.usefixtures("own_places")
@pytest.mark.parametrize("name", sorted(FILES))
async def test_files(name: str, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert misplaced(await Files().look(stage)) == []
        FILES[name](stage, stage.name(LINE))
        found = misplaced(await Files().look(stage))
        assert {(find.row, find.kind) for find in found} == {("A8", "log line")}


async def test_the_places_that_programs_share(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        places = [str(place) for place in files.shared_places(stage)]
        assert {tempfile.gettempdir(), "/dev/shm", str(Path.home())} <= set(places)


@pytest.mark.usefixtures("own_places")
async def test_files_where_payload_belongs(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        in_split("clusters/c1/logs/0.log")(stage, stage.make(LINE))
        finds = await Files().look(stage)
        assert [find.store for find in finds] == [claims.LOGS]
        assert misplaced(finds) == []
        in_split("clusters/c1/logs/secret")(stage, stage.make(claims.SECRET))
        assert [find.kind for find in misplaced(await Files().look(stage))] == ["secret"]


@pytest.mark.parametrize(
    ("path", "store"),
    [
        ("control/metadata.db-wal", claims.DATABASE),
        ("control/other", ""),
        ("clusters/c1/data/objects/x", claims.OBJECTS),
        ("clusters/c1/data/elsewhere", ""),
        ("clusters/c1/logs", claims.LOGS),
        ("clusters/c1/logs2/x", ""),
        ("config/logs", ""),
    ],
)
def test_stores_by_path(path: str, store: str) -> None:
    assert store_of(Path(path)) == store


@pytest.mark.usefixtures("own_places")
async def test_a_file_that_a_plane_has_open_and_nobody_can_name(tmp_path: Path) -> None:
    script = "import tempfile; f = tempfile.TemporaryFile(); f.write(input().encode()); f.flush()"
    async with staged(tmp_path) as stage:
        with child(script.replace("input()", repr(stage.make(LINE)))) as pid:
            stage.split.pids[RELAY] = pid
            assert misplaced(await Files().look(stage))


async def test_database(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        with sqlite3.connect(stage.directory / "control" / "metadata.db") as database:
            database.execute("create table runs (reason text, note blob)")
            database.execute("insert into runs values (?, 1)", (stage.make(claims.ABORT_REASON),))
        assert misplaced(await Database().look(stage)) == []
        with database:
            database.execute("update runs set note = ?", (stage.make(LINE).encode(),))
        database.close()
        found = misplaced(await Database().look(stage))
        assert [(find.place, find.kind) for find in found] == [
            ("metadata.db: runs.note", "log line")
        ]


async def test_output(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        detector = Output()
        await detector.arm(stage)
        (hear,) = stage.split.listeners  # type: ignore[attr-defined]
        hear(RELAY, '{"event": "ready"}')
        hear(RELAY, f"run {stage.name(claims.RUN_NAME)}")
        assert misplaced(await detector.look(stage)) == []
        hear(RELAY, f"Traceback: {stage.make(LINE)!r}")
        assert [find.place for find in misplaced(await detector.look(stage))] == ["output of relay"]


async def test_answers(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        body = stage.make(LINE).encode()
        stage.received("the owner", "TailLogs", body, LINE)
        assert await Answers().look(stage) == []
        stage.received("a stranger", "TailLogs", body)
        assert [find.place for find in await Answers().look(stage)] == [
            "answer to a stranger: TailLogs"
        ]


async def test_memory(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert [find.encoding for find in await Memory().look(stage)] == ["no access"]
        pieces = [("[heap]", memoryview(b"nothing"))]
        stage.split.memories[RELAY] = SimpleNamespace(regions=lambda: pieces)  # type: ignore[attr-defined]
        assert await Memory().look(stage) == []
        line = stage.canaries.line(LINE.row, LINE.name, repeats=5).encode()
        pieces.append(("anonymous", memoryview(line)))
        (find,) = misplaced(await Memory().look(stage))
        assert (find.place, find.store) == ("relay: anonymous, 5 times", claims.RELAY_MEMORY)


async def test_rows(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.split.counted = [Counted(APPENDIX_A["A8"], relay=5, control=0, direct=0)]  # type: ignore[attr-defined]
        assert await Rows().look(stage) == []
        stage.split.counted = [Counted(APPENDIX_A["A4"], relay=5, control=0, direct=9)]  # type: ignore[attr-defined]
        assert [find.row for find in await Rows().look(stage)] == ["A4"]


PROCESSES = {
    "writable file": "f = open('/dev/shm/' + str(__import__('os').getpid()) + '-l', 'w');"
    "__import__('os').unlink(f.name)",
    "memfd": "import os; f = os.memfd_create('x')",
    "child": "import socket, subprocess; s = socket.create_server(('127.0.0.1', 0));"
    "p = subprocess.Popen(['sleep', '60'])",
    "shared mapping": "import mmap; m = mmap.mmap(-1, 4096)",
    "process title": "open('/proc/self/comm', 'w').write('CANARY'[:15])",
}


@pytest.mark.parametrize("name", sorted(PROCESSES))
async def test_process_io(name: str, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        script = PROCESSES[name].replace("CANARY", stage.name(LINE)[:15])
        stage.canaries.watch(stage.name(LINE)[:14], "A8", "log line")
        with child("pass") as clean:
            stage.split.pids[RELAY] = clean
            detector = ProcessIo()
            await detector.arm(stage)
            assert await detector.look(stage) == []
        with child(script) as pid:
            stage.split.pids[RELAY] = pid
            found = await detector.look(stage)
            assert found, "found"
            assert "/" + str(pid) not in str([find.place for find in found]), "no names of files"


WROTE = "os.write(os.open(PATH, os.O_CREAT | os.O_WRONLY), bytes(40_000))"


@pytest.mark.parametrize(("when", "found"), [("before", False), ("after", True)])
async def test_bytes_count_from_when_a_process_serves(
    when: str, found: bool, tmp_path: Path
) -> None:
    """What a process notes while it starts, such as times of access, is its loader's."""
    path = f"PATH = {str(tmp_path / 'x')!r}; import os, socket, sys"
    serve = "s = socket.create_server(('127.0.0.1', 0))"
    async with staged(tmp_path) as stage:
        detector = ProcessIo()
        await detector.arm(stage)
        begin = f"{path}\n{WROTE if when == 'before' else ''}\n{serve}\nprint('up', flush=True)\n"
        script = f"{begin}sys.stdin.readline()\n{WROTE if when == 'after' else ''}"
        with waiting_child(script) as (pid, go_on):
            stage.split.pids[RELAY] = pid
            with trio.fail_after(5):
                while not processes.serves(pid):
                    await trio.sleep(0.01)
            detector._look_once(stage)
            go_on()
            finds = await detector.look(stage)
        assert ("written bytes" in {find.encoding for find in finds}) is found


WRITES = {
    "kept": "open(PATH, 'w').write(CANARY)",
    "removed at once": "open(PATH, 'w').write(CANARY); os.unlink(PATH)",
    "open still": "f = open(PATH, 'w'); f.write(CANARY); f.flush()",
    "a child's": "p = subprocess.Popen(['/bin/sh', '-c', COMMAND], stdin=-1, stdout=-1);"
    " p.stdout.readline()",
}


@pytest.mark.parametrize("name", sorted(WRITES))
async def test_writes_that_the_kernel_tells_of(name: str, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root may hear of others' writes (fanotify, CAP_SYS_ADMIN)")
    async with staged(tmp_path) as stage:
        leak, value = str(tmp_path / "leak"), stage.make(LINE)
        command = f"echo {value} > {leak}; echo done; read x"
        values = {"PATH": leak, "CANARY": value, "COMMAND": command}
        begin = "import os, subprocess, sys\nsys.stdin.readline()\n"
        script = begin + "".join(f"{key} = {value!r}\n" for key, value in values.items())
        with waiting_child(script + WRITES[name]) as (pid, go_on):
            stage.split.pids[RELAY] = pid
            detector = Writes()
            await detector.arm(stage)
            assert await detector.look(stage) == []
            go_on()
            found = await detector.look(stage)
        assert "written file" in {find.encoding for find in found}
        assert {find.kind for find in found if find.row} == {"log line"}


async def test_who_may_not_hear_of_writes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(places: object) -> None:
        raise PermissionError(errno.EPERM, "fanotify_init: Operation not permitted")

    monkeypatch.setattr(fanotify, "Fanotify", refused)
    async with staged(tmp_path) as stage:
        told: list[str] = []
        stage.tell = told.append
        detector = Writes()
        await detector.arm(stage)
        assert await detector.look(stage) == []
        assert "only root" in detector.looked
        assert "not armed" in told[0]


SOCKETS = {
    "datagrams": "s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9))",
    "unix": "s = socket.socket(socket.AF_UNIX); s.bind('\\0planesplit-test-%d' % os.getpid())",
    "dialled": "s = socket.create_connection(('127.0.0.1', PORT))",
    "further listener": "s = socket.create_server(('127.0.0.1', 0))",
}


@pytest.mark.parametrize("name", sorted(SOCKETS))
async def test_sockets(name: str, tmp_path: Path) -> None:
    listening = "import os, socket; first = socket.create_server(('127.0.0.1', 0))"
    async with staged(tmp_path) as stage:
        with child(listening) as clean:
            stage.split.pids[RELAY] = clean
            detector = Sockets()
            detector._look_once(stage)
            assert not detector._finds
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        script = f"{listening}\nimport time\n" + SOCKETS[name].replace("PORT", str(port))
        if name == "further listener":
            script = f"{listening}\nimport threading; threading.Timer(0.2, later).start()"
            script = f"def later():\n  global s\n  {SOCKETS[name]}\n{script}"
        with child(script) as pid:
            stage.split.pids[RELAY] = pid
            with trio.fail_after(5):
                while not detector._finds:
                    detector._look_once(stage)
                    await trio.sleep(0.02)
        await listener.aclose()


async def test_kinds_are_counted_when_they_arrive(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        value = stage.make(LINE)
        stage.delivered_to(LINE, b"something else")
        assert not stage.delivered
        stage.delivered_to(LINE, value.encode(), times=3)
        assert stage.delivered == {LINE: 3}
        assert Kind("A8", "log line") in stage.canaries.kinds
