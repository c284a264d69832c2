"""Ways out that end in a file system, by path or by something that was open before."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator

from seal_ways import Reach, way

Tries = Iterator[None]
EXISTING = "existing"  # there before, 64 bytes of it
FILLED = 64
MODULE = "module.py"


@way("tree")
def create_a_file(reach: Reach) -> Tries:
    yield
    reach.file().write_bytes(reach.data)


@way("tree")
def append_to_a_file(reach: Reach) -> Tries:
    yield
    with open(reach.file(EXISTING), "ab", buffering=0) as file:
        file.write(reach.data)


@way("tree")
def overwrite_a_file(reach: Reach) -> Tries:
    yield
    with open(reach.file(EXISTING), "r+b", buffering=0) as file:
        file.write(reach.data[:FILLED])


@way("tree")
def truncate_a_file(reach: Reach) -> Tries:
    yield
    os.truncate(reach.file(EXISTING), 3)


@way("tree")
def rename_a_file(reach: Reach) -> Tries:
    yield
    os.rename(reach.file(EXISTING), reach.file(reach.text))


@way("tree")
def link_a_file(reach: Reach) -> Tries:
    yield
    os.link(reach.file(EXISTING), reach.file(reach.text))


@way("tree")
def symlink_to_the_text(reach: Reach) -> Tries:
    yield
    os.symlink(reach.text, reach.file())


@way("tree")
def unlink_a_file(reach: Reach) -> Tries:
    yield
    os.unlink(reach.file(EXISTING))


@way("tree")
def make_a_directory(reach: Reach) -> Tries:
    yield
    os.mkdir(reach.file(reach.text))


@way("tree")
def remove_a_directory(reach: Reach) -> Tries:
    yield
    os.rmdir(reach.file("empty"))


@way("tree")
def make_a_fifo(reach: Reach) -> Tries:
    yield
    os.mkfifo(reach.file(reach.text))


@way("tree", optional=True)
def make_a_device(reach: Reach) -> Tries:
    yield
    os.mknod(reach.file(reach.text), stat.S_IFCHR | 0o600, os.makedev(1, 3))


@way("tree")
def make_a_socket_file(reach: Reach) -> Tries:
    yield
    os.mknod(reach.file(reach.text), stat.S_IFSOCK | 0o600)


@way("tree")
def change_a_mode(reach: Reach) -> Tries:
    yield
    os.chmod(reach.file(EXISTING), 0o640)


@way("tree")
def change_a_time(reach: Reach) -> Tries:
    yield
    os.utime(reach.file(EXISTING), (4711, 4711))


@way("tree", optional=True)
def set_an_attribute(reach: Reach) -> Tries:
    yield
    os.setxattr(reach.file(EXISTING), "user.text", reach.data)


@way("tree", optional=True)
def change_an_owner(reach: Reach) -> Tries:
    yield
    os.chown(reach.file(EXISTING), 4711, 4711)


@way("holds deleted", optional=True)
def file_without_a_name(reach: Reach) -> Tries:
    yield
    descriptor = os.open(reach.directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(descriptor, reach.data)


@way("holds deleted")
def temporary_file(reach: Reach) -> Tries:
    import tempfile

    yield
    file = tempfile.TemporaryFile(dir=reach.directory, buffering=0)  # noqa: SIM115 - stays open
    file.write(reach.data)
    os.dup(file.fileno())


@way("tree")
def named_temporary_file(reach: Reach) -> Tries:
    import tempfile

    yield
    descriptor, _ = tempfile.mkstemp(dir=reach.directory)
    os.write(descriptor, reach.data)


@way("tree")
def database(reach: Reach) -> Tries:
    import sqlite3

    yield
    try:
        connection = sqlite3.connect(reach.file("rows.db"))
        connection.execute("CREATE TABLE rows (text)")
        connection.execute("INSERT INTO rows VALUES (?)", (reach.text,))
        connection.commit()
    except sqlite3.OperationalError as error:
        raise OSError(str(error)) from None


@way("tree")
def log_file(reach: Reach) -> Tries:
    import logging

    yield
    logger = logging.getLogger("way")
    logger.addHandler(logging.FileHandler(reach.file("app.log")))
    logger.error(reach.text)


@way("tree")
def compressed_file(reach: Reach) -> Tries:
    import gzip

    yield
    with gzip.open(reach.file("text.gz"), "wb") as file:
        file.write(reach.data)


@way("tree")
def compiled_module(reach: Reach) -> Tries:
    import py_compile

    yield
    py_compile.compile(str(reach.file(MODULE)), doraise=True)


@way("shared memory")
def file_in_dev_shm(reach: Reach) -> Tries:
    yield
    with open(f"/dev/shm/{reach.name}", "wb") as file:
        file.write(reach.data)


@way("shared memory")
def named_shared_memory(reach: Reach) -> Tries:
    from multiprocessing import resource_tracker
    from multiprocessing.shared_memory import SharedMemory

    resource_tracker.register = lambda *_: None  # it would start a process, and remove the memory
    yield
    SharedMemory(reach.name, create=True, size=4096).buf[: len(reach.data)] = reach.data


@way("fifo")
def write_to_a_fifo(reach: Reach) -> Tries:
    yield
    descriptor = os.open(reach.fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, reach.data)


@way("mounted", optional=True)
def mount_a_file_system(reach: Reach) -> Tries:
    libc = ctypes.CDLL(None, use_errno=True)
    yield
    if libc.mount(b"none", str(reach.file("empty")).encode(), b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")


# What was open before: refused by the audit, and most of it by the layers behind it as well.


def _open_before(reach: Reach, flags: int = os.O_WRONLY | os.O_APPEND) -> int:
    return os.open(reach.file(EXISTING), flags)


@way("tree", before="refused")
def write_where_a_file_was_open(reach: Reach) -> Tries:
    descriptor = _open_before(reach, os.O_WRONLY)
    yield
    os.write(descriptor, reach.data[:FILLED])


@way("tree", before="refused")
def write_to_redirected_stderr(reach: Reach) -> Tries:
    os.dup2(_open_before(reach), 2)
    yield
    os.write(2, reach.data)


@way("tree", before="refused")
def write_to_a_shared_mapping(reach: Reach) -> Tries:
    import mmap

    descriptor = _open_before(reach, os.O_RDWR)
    mapped = mmap.mmap(descriptor, FILLED)
    os.close(descriptor)  # mmap keeps a copy of it
    yield
    mapped[:8] = reach.data[:8]
    mapped.flush()


@way("tree", before="overlooked")
def append_where_a_file_was_open(reach: Reach) -> Tries:
    descriptor = _open_before(reach)
    yield
    os.write(descriptor, reach.data)


@way("tree", before="overlooked")
def write_at_an_offset_where_a_file_was_open(reach: Reach) -> Tries:
    descriptor = _open_before(reach, os.O_WRONLY)
    yield
    os.pwrite(descriptor, reach.data[:FILLED], 0)


@way("tree", before="overlooked")
def resize_where_a_file_was_open(reach: Reach) -> Tries:
    descriptor = _open_before(reach, os.O_WRONLY)
    yield
    os.ftruncate(descriptor, 7)


@way("tree", before="overlooked")
def allocate_where_a_file_was_open(reach: Reach) -> Tries:
    descriptor = _open_before(reach, os.O_WRONLY)
    yield
    os.posix_fallocate(descriptor, 0, 100_000)


@way("tree", before="overlooked")
def sendfile_into_an_open_file(reach: Reach) -> Tries:
    source, target = os.open(__file__, os.O_RDONLY), _open_before(reach, os.O_WRONLY)
    yield
    os.sendfile(target, source, 0, 32)


@way("tree", before="overlooked")
def splice_into_an_open_file(reach: Reach) -> Tries:
    target = _open_before(reach, os.O_WRONLY)
    out, into = os.pipe()
    os.write(into, reach.data)
    yield
    os.splice(out, target, min(len(reach.data), FILLED))


@way("tree", before="overlooked")
def copy_into_an_open_file(reach: Reach) -> Tries:
    source, target = os.open(__file__, os.O_RDONLY), _open_before(reach, os.O_WRONLY)
    yield
    os.copy_file_range(source, target, 32)


@way("tree")
def change_a_mode_by_descriptor(reach: Reach) -> Tries:
    descriptor = _open_before(reach, os.O_RDONLY)
    yield
    os.fchmod(descriptor, 0o640)


@way("tree", optional=True)
def set_an_attribute_by_descriptor(reach: Reach) -> Tries:
    descriptor = _open_before(reach, os.O_RDONLY)
    yield
    os.setxattr(descriptor, "user.text", reach.data)


@way("tree")
def change_a_time_by_descriptor(reach: Reach) -> Tries:
    descriptor = _open_before(reach, os.O_RDONLY)
    yield
    os.utime(descriptor, (4711, 4711))


@way("tree")
def create_by_directory_descriptor(reach: Reach) -> Tries:
    descriptor = os.open(reach.directory, os.O_RDONLY | os.O_DIRECTORY)
    yield
    os.open(reach.text, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=descriptor)
