"""Tails wake when their files change; where that can't be, they look, and it is said once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio
from crilog import CriLog
from fakes import ATTEMPT, World, pod_of

from compute_agent.logs import watcher as watcher_module
from compute_agent.logs.watcher import Watch, Watcher

NEVER_S = 1e9


@pytest.fixture
async def watcher(nursery: trio.Nursery) -> Watcher:
    watcher = Watcher(2, told.append)
    told.clear()
    nursery.start_soon(watcher.run)
    await trio.testing.wait_all_tasks_blocked()
    return watcher


told: list[str] = []


async def woken(watch: Watch) -> bool:
    """Whether it wakes before all there is to do is done."""
    with trio.move_on_after(1) as scope:
        await watch.changed(NEVER_S)
    return not scope.cancelled_caught


CHANGES = {
    "append": lambda path: path.open("ab").write(b"x") and None,
    "create": lambda path: path.with_name("1.log").touch(),
    "rename": lambda path: path.rename(path.with_name("0.log.1")),
    "delete": lambda path: path.unlink(),
    "truncate": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
async def test_a_change_wakes_every_watch_of_the_directory(
    change: str, tmp_path: Path, watcher: Watcher, autojump_clock
):
    path = tmp_path / "0.log"
    path.write_bytes(b"first")
    watches = [Watch(watcher, tmp_path) for _ in range(2)]
    assert [watch.arm() for watch in watches] == [True, True]
    for watch in watches:
        watch.clear()
        assert not await woken(watch), "nothing has changed yet"
    CHANGES[change](path)
    assert [await woken(watch) for watch in watches] == [True, True]


async def test_who_still_waits_is_woken_after_others_were(
    tmp_path: Path, watcher: Watcher, nursery: trio.Nursery, autojump_clock
):
    """Events are only awaited while somebody waits; one that was woken must not end that."""
    watches = []
    for name in "ab":
        (tmp_path / name).mkdir()
        watches.append(Watch(watcher, tmp_path / name))
        assert watches[-1].arm()
    late = trio.Event()

    async def wait() -> None:
        await watches[1].changed(NEVER_S)
        late.set()

    nursery.start_soon(wait)
    (tmp_path / "a" / "0.log").touch()
    assert await woken(watches[0])
    assert not late.is_set()
    (tmp_path / "b" / "0.log").touch()
    with trio.fail_after(0.01):
        await late.wait()


async def test_a_directory_that_goes_ends_its_watch_and_may_be_watched_again(
    tmp_path: Path, watcher: Watcher, autojump_clock
):
    directory = tmp_path / "main"
    directory.mkdir()
    watch = Watch(watcher, directory)
    assert watch.arm()
    directory.rmdir()
    assert await woken(watch)
    await trio.sleep(0)
    assert not watch.live
    assert not watch.arm(), "it is not there"
    directory.mkdir()
    assert watch.arm()
    assert not watch.arm(), "it is watched already"


async def test_watches_are_bounded_and_let_go(tmp_path: Path, watcher: Watcher, autojump_clock):
    watches = []
    for name in "abc":
        (tmp_path / name).mkdir()
        watches.append(Watch(watcher, tmp_path / name))
    assert [watch.arm() for watch in watches] == [True, True, False]
    assert not watches[2].arm()
    assert told == ["log_watch_limited"], "once"
    watches[0].close()
    assert watches[2].arm()


async def test_a_log_that_is_a_link_is_not_watched(
    tmp_path: Path, watcher: Watcher, autojump_clock
):
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "0.log").symlink_to(tmp_path / "elsewhere")
    assert not Watch(watcher, tmp_path / "main").arm()
    assert told == []


class NoInotify:
    def __init__(self) -> None:
        raise OSError(errno.EMFILE, "too many")


async def test_without_inotify_tails_look(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, autojump_clock
):
    monkeypatch.setattr(watcher_module, "Inotify", NoInotify)
    world = World(tmp_path, nursery)
    await follows(world, within_s=0.1)
    assert len([line for line in world.journal if "log_watch_unavailable" in line]) == 1


async def follows(world: World, within_s: float) -> None:
    log = CriLog(world.root / "logs", pod=f"{ATTEMPT.namespace}_{ATTEMPT.pod}_uid-{ATTEMPT.pod}")
    log.path.touch()
    world.cluster.change(pod_of(phase="Running"))
    call = await world.relay.tail()
    await call.step()
    await trio.sleep(3)
    began = trio.current_time()
    log.write(b"one")
    await call.until_text("one\n")
    assert trio.current_time() - began <= within_s


async def test_a_line_wakes_its_tail_at_once(tmp_path: Path, nursery: trio.Nursery, autojump_clock):
    await follows(World(tmp_path, nursery), within_s=0.0)


async def test_the_end_of_an_attempt_wakes_its_tail(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock
):
    world = World(tmp_path, nursery)
    await follows(world, within_s=0.0)
    call = await world.relay.tail()
    await call.until_text("one\n")
    await trio.sleep(3.3)
    began = trio.current_time()
    world.cluster.change(pod_of(phase="Succeeded", exit_code=0))
    await call.finish()
    assert trio.current_time() - began <= 0.01
