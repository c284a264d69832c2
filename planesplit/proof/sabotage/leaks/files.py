"""Leaks into files: the relay writes down what it forwards."""

from __future__ import annotations

import mmap
import os
import sqlite3
from pathlib import Path
from typing import BinaryIO

from planesplit.proof.sabotage.catalogue import leak
from planesplit.proof.sabotage.leaks.place import new_file
from planesplit.proof.sabotage.taps import Longest, relayed_answers
from planesplit.proof.sabotage.tries import Tries

STOPPED = "prevented"
MAX_NAME = 160  # a name has at most 255 bytes, ours in front
MAX_ATTRIBUTE_BYTES = 1_024  # file systems hold 4 KiB of all attributes together


@leak("temp-file", "writes log lines to a temporary file", sealed=STOPPED, unsealed="files")
def temp_file(tries: Tries) -> None:
    """Append to a file under the temporary directory."""

    def sink(payload: bytes) -> None:
        with new_file("spool.txt").open("ab") as file:
            file.write(payload)

    relayed_answers(tries.guard(sink), "A8")


@leak("unlinked-file", "keeps a file open that has no name", sealed=STOPPED, unsealed="files")
def unlinked_file(tries: Tries) -> None:
    """Write to a file that is unlinked at once and stays open."""
    kept: list[BinaryIO] = []

    def sink(payload: bytes) -> None:
        if not kept:
            path = new_file("gone")
            kept.append(path.open("wb", buffering=0))
            path.unlink()
        kept[0].write(payload)

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "inherited-descriptor",
    "appends to a file that was open before the relay sealed itself",
    sealed="prevented: not started",
    unsealed="files",
)
def inherited_descriptor(tries: Tries) -> None:
    """Open a log file at the start, as a shell's `>>` does, and append to it."""
    descriptor = os.open(new_file("inherited.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def sink(payload: bytes) -> None:
        os.write(descriptor, payload)

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "mapped-file", "stores into a mapped file, no write() at all", sealed=STOPPED, unsealed="files"
)
def mapped_file(tries: Tries) -> None:
    """Copy payload into a shared mapping of a file."""
    maps: list[mmap.mmap] = []

    def sink(payload: bytes) -> None:
        if not maps:
            with new_file("mapped").open("w+b") as file:
                file.truncate(mmap.PAGESIZE * 16)
                maps.append(mmap.mmap(file.fileno(), mmap.PAGESIZE * 16))
        maps[0][: len(payload[: len(maps[0])])] = payload[: len(maps[0])]

    relayed_answers(tries.guard(sink), "A8")


@leak("sqlite-column", "keeps log lines in an SQLite table", sealed=STOPPED, unsealed="files")
def sqlite_column(tries: Tries) -> None:
    """Insert into a database of the relay's own."""

    def sink(payload: bytes) -> None:
        database = sqlite3.connect(new_file("cache.db"), isolation_level=None)
        try:
            database.execute("create table if not exists lines (line text)")
            database.execute("insert into lines values (?)", (payload.decode(errors="replace"),))
        finally:
            database.close()

    relayed_answers(tries.guard(sink), "A8")


def _words(payload: bytes) -> str:
    """Return what of the last lines can be a file's name."""
    return "".join(filter(_named, payload.decode("ascii", "ignore")))[-MAX_NAME:]


def _named(character: str) -> bool:
    return character.isalnum() or character in "-_="


@leak("file-name", "names an empty file for a log line", sealed=STOPPED, unsealed="files")
def file_name(tries: Tries) -> None:
    """Create a file whose name is payload and which has no content."""
    relayed_answers(tries.guard(lambda payload: new_file(_words(payload)).touch()), "A8")


@leak("directory-name", "names a directory for a log line", sealed=STOPPED, unsealed="files")
def directory_name(tries: Tries) -> None:
    """Make a directory whose name is payload."""
    relayed_answers(
        tries.guard(lambda payload: new_file(_words(payload)).mkdir(exist_ok=True)), "A8"
    )


@leak("symlink-target", "points a symbolic link at a log line", sealed=STOPPED, unsealed="files")
def symlink_target(tries: Tries) -> None:
    """Create a symbolic link whose target is payload."""

    def sink(payload: bytes) -> None:
        path = new_file(f"link-{tries.tries}")
        path.unlink(missing_ok=True)
        path.symlink_to(_words(payload))

    relayed_answers(tries.guard(sink), "A8")


@leak("xattr", "hides log lines in an extended attribute", sealed=STOPPED, unsealed="files")
def xattr(tries: Tries) -> None:
    """Set an attribute of a file that is there already: nothing is opened for writing."""
    carrier = new_file("carrier")
    carrier.touch()
    shown = Longest(MAX_ATTRIBUTE_BYTES)  # the last answer may be an empty one

    def sink(payload: bytes) -> None:
        shown.add(payload)
        os.setxattr(carrier, "user.comment", shown.piece)

    relayed_answers(tries.guard(sink), "A8")


@leak("shared-memory-file", "writes log lines to /dev/shm", sealed=STOPPED, unsealed="files")
def shared_memory_file(tries: Tries) -> None:
    """Write a file that never touches a disk."""
    directory = Path("/dev/shm")  # noqa: S108 - that is the leak

    def sink(payload: bytes) -> None:
        with new_file("ring", directory).open("ab") as file:
            file.write(payload)

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "vanishing-file",
    "writes log lines to a file in /dev/shm and removes it at once",
    sealed=STOPPED,
    unsealed="fanotify (as root)",
    blind="nobody but root hears of a file that is gone before anybody looks",
)
def vanishing_file(tries: Tries) -> None:
    """Write, and remove what was written, in less than a millisecond."""
    directory = Path("/dev/shm")  # noqa: S108 - that is the leak

    def sink(payload: bytes) -> None:
        path = new_file("flash", directory)
        path.write_bytes(payload)
        path.unlink()

    relayed_answers(tries.guard(sink), "A8")
