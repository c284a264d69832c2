"""Ways out that need another process, a thread, or a store in the kernel."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Iterator

from seal_ways import LANDED, Reach, way

Tries = Iterator[None]
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_DUMPABLE, PTRACE_ATTACH, WALL = 4, 16, 0x40000000
IPC_CREAT, KEY_SPEC_USER_KEYRING = 0o1000, -4
MEMFD_CREATE = {"x86_64": 319, "aarch64": 279}
PROCESS_VM_WRITEV = {"x86_64": 311, "aarch64": 271}
BPF = {"x86_64": 321, "aarch64": 280}
ADD_KEY = {"x86_64": 248, "aarch64": 217}
IO_URING_SETUP, PIDFD_GETFD, PIDFD_OPEN = 425, 438, 434
CLONE_NEWUTS = 0x04000000
MACHINE = os.uname().machine


def call(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def say() -> None:
    os.write(1, f"{LANDED}\n".encode())


@way("said")
def fork(reach: Reach) -> Tries:
    yield
    child = os.fork()
    if child == 0:
        say()
        os._exit(0)
    os.waitpid(child, 0)


@way("said")
def execute_a_program(reach: Reach) -> Tries:
    yield
    os.execv("/bin/echo", ["echo", LANDED])


@way("said")
def spawn_a_program(reach: Reach) -> Tries:
    yield
    child = os.posix_spawn("/bin/echo", ["echo", LANDED], {})
    os.waitpid(child, 0)


@way("said")
def run_a_subprocess(reach: Reach) -> Tries:
    import subprocess

    yield
    subprocess.run(["/bin/echo", LANDED], check=False)


@way("said")
def run_a_shell(reach: Reach) -> Tries:
    yield
    os.system(f"echo {LANDED}")


@way("said")
def start_a_thread(reach: Reach) -> Tries:
    import threading

    yield
    try:
        thread = threading.Thread(target=say)
        thread.start()
    except RuntimeError as error:
        raise OSError(str(error)) from None
    thread.join()


@way("victim memory", optional=True)
def write_into_another_process(reach: Reach) -> Tries:
    class Range(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    data = ctypes.create_string_buffer(b"changed!", 8)
    here, there = Range(ctypes.addressof(data), 8), Range(reach.victim_address, 8)
    yield
    where = ctypes.byref(here), ctypes.c_long(1), ctypes.byref(there), ctypes.c_long(1)
    pid = ctypes.c_long(reach.victim_pid)
    call(libc.syscall(ctypes.c_long(PROCESS_VM_WRITEV[MACHINE]), pid, *where, ctypes.c_long(0)))


@way("victim memory", optional=True)
def write_into_the_memory_file_of_another_process(reach: Reach) -> Tries:
    yield
    descriptor = os.open(f"/proc/{reach.victim_pid}/mem", os.O_WRONLY)
    os.lseek(descriptor, reach.victim_address, os.SEEK_SET)
    os.write(descriptor, b"changed!")


@way("victim stopped", optional=True)
def trace_another_process(reach: Reach) -> Tries:
    yield
    call(libc.ptrace(PTRACE_ATTACH, reach.victim_pid, None, None))
    os.waitpid(reach.victim_pid, WALL)  # it stops a moment later


@way("victim ended")
def signal_another_process(reach: Reach) -> Tries:
    yield
    os.kill(reach.victim_pid, signal.SIGUSR1)


@way("tree", optional=True)
def take_a_descriptor_from_another_process(reach: Reach) -> Tries:
    yield
    pid, fd = ctypes.c_long(reach.victim_pid), ctypes.c_long(reach.victim_fd)
    there = call(libc.syscall(ctypes.c_long(PIDFD_OPEN), pid, ctypes.c_long(0)))
    taken = call(libc.syscall(ctypes.c_long(PIDFD_GETFD), ctypes.c_long(there), fd, 0))
    os.write(taken, reach.data)


@way("tree", optional=True)
def open_a_descriptor_of_another_process(reach: Reach) -> Tries:
    yield
    with open(f"/proc/{reach.victim_pid}/fd/{reach.victim_fd}", "ab", buffering=0) as file:
        file.write(reach.data)


@way("tree", optional=True)
def dump_core(reach: Reach) -> Tries:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    text = ctypes.create_string_buffer(reach.data)
    yield
    libc.prctl(PR_SET_DUMPABLE, 1)
    assert text.value
    os.abort()


@way("limit raised")
def raise_a_limit_again(reach: Reach) -> Tries:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield
    top = resource.RLIM_INFINITY
    for limits in ((top, top), (4096, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        except (OSError, ValueError):
            continue


@way("namespace", optional=True)
def enter_another_namespace(reach: Reach) -> Tries:
    yield
    call(libc.unshare(CLONE_NEWUTS))


@way("holds memfd:")
def memory_with_a_descriptor(reach: Reach) -> Tries:
    yield
    name = reach.name.encode()
    descriptor = call(libc.syscall(ctypes.c_long(MEMFD_CREATE[MACHINE]), name, ctypes.c_long(0)))
    os.write(descriptor, reach.data)


@way("maps /dev/zero")
def anonymous_shared_memory(reach: Reach) -> Tries:
    import mmap

    yield
    mmap.mmap(-1, 4096)[:8] = reach.data[:8]
    libc.mmap.restype = ctypes.c_void_p
    none = ctypes.c_long(-1), ctypes.c_long(0)
    shared = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
    libc.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ | mmap.PROT_WRITE, shared, *none)


@way("maps rwxp")
def executable_memory(reach: Reach) -> Tries:
    import mmap

    yield
    libc.mmap.restype = ctypes.c_void_p
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    none = ctypes.c_long(-1), ctypes.c_long(0)
    libc.mmap(None, ctypes.c_size_t(4096), 7, private, *none)


@way("holds io_uring", optional=True)
def ring_of_requests(reach: Reach) -> Tries:
    parameters = ctypes.create_string_buffer(256)
    yield
    call(libc.syscall(ctypes.c_long(IO_URING_SETUP), ctypes.c_long(4), parameters))


@way("holds bpf-map", optional=True)
def map_in_the_kernel(reach: Reach) -> Tries:
    array, create = (ctypes.c_uint32 * 32)(2, 4, 8, 1), 0
    yield
    size = ctypes.c_long(ctypes.sizeof(array))
    call(libc.syscall(ctypes.c_long(BPF[MACHINE]), ctypes.c_long(create), array, size))


@way("message queue", optional=True)
def posix_message_queue(reach: Reach) -> Tries:
    mode = ctypes.c_uint(0o600)
    yield
    queue = call(libc.mq_open(f"/{reach.name}".encode(), os.O_CREAT | os.O_RDWR, mode, None))
    call(libc.mq_send(queue, reach.data, len(reach.data), 0))


@way("system v queue", optional=True)
def system_v_message_queue(reach: Reach) -> Tries:
    yield
    call(libc.msgget(reach.key, IPC_CREAT | 0o600))


@way("system v memory", optional=True)
def system_v_shared_memory(reach: Reach) -> Tries:
    yield
    call(libc.shmget(reach.key, ctypes.c_size_t(4096), IPC_CREAT | 0o600))


@way("kernel key", optional=True)
def key_in_the_kernel(reach: Reach) -> Tries:
    yield
    name, data = reach.name.encode(), reach.data
    where = ctypes.c_long(KEY_SPEC_USER_KEYRING)
    number, size = ctypes.c_long(ADD_KEY[MACHINE]), ctypes.c_long(len(data))
    call(libc.syscall(number, b"user", name, data, size, where))


@way("said", optional=True)
def type_into_a_terminal(reach: Reach) -> Tries:
    import fcntl
    import termios

    _master, slave = os.openpty()
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    os.set_blocking(slave, False)
    yield
    for byte in (b"x", b"\n"):
        fcntl.ioctl(slave, termios.TIOCSTI, byte)
    if os.read(slave, 8) == b"x\n":
        say()
