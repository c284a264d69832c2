"""The system calls that a sealed relay may make: everything else is refused. See syscalls(2).

What is not here is the point: no socket, connect, bind or listen; no process, thread or program;
no file that is made, changed, renamed or removed; no memory that has a name; no io_uring, which
would go round this list; no prctl, ptrace, mount, key or message queue.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

WHOLE = 0xFFFF_FFFF
O_TMPFILE_BIT = 0o20000000
WRITING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | O_TMPFILE_BIT
PROT_EXEC = 4
MAP_TYPE, MAP_PRIVATE = 0x0F, 0x02
F_GETFD, F_SETFD, F_GETFL, F_SETFL = 1, 2, 3, 4
TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX = 0x5401, 0x541B, 0x5421, 0x5450, 0x5451
SELF = -1  # stands for this process's id, which is known when the filter is made


@dataclass(frozen=True, slots=True)
class Check:
    """`argument & mask` must be one of `values`.

    Args:
        argument: its index, from 0.
        values: what is allowed.
        mask: bits that are looked at.
        wide: whether the upper half of the 64 bits must be 0 too; the kernel ignores it for `int`.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = WHOLE
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that may be made.

    Args:
        name: as in its manual page.
        x86_64, aarch64: its numbers; None where an architecture does not have it.
        checks: of its arguments; all must hold.
    """

    name: str
    x86_64: int | None
    aarch64: int | None
    checks: tuple[Check, ...] = ()


NOT_EXECUTABLE = Check(2, (0,), PROT_EXEC)
PRIVATE = Check(3, (MAP_PRIVATE,), MAP_TYPE)
NULL = (0,)

# The bulk of the relay's calls first, and without checks: the kernel answers those from a bitmap.
TRAFFIC = (
    Call("recvfrom", 45, 207),
    Call("sendmsg", 46, 211),
    Call("epoll_wait", 232, None),
    Call("epoll_pwait", 281, 22),
    Call("epoll_ctl", 233, 21),
    Call("recvmsg", 47, 212),
    Call("sendto", 44, 206, (Check(4, NULL, wide=True),)),  # send(2): no address to send to
    Call("read", 0, 63),
    Call("write", 1, 64),
    Call("readv", 19, 65),
    Call("writev", 20, 66),
    Call("accept4", 288, 242),
    Call("close", 3, 57),
    Call("shutdown", 48, 210),
    Call("getsockopt", 55, 209),
    Call("setsockopt", 54, 208),
    Call("getsockname", 51, 204),
    Call("getpeername", 52, 205),
    Call("poll", 7, None),
    Call("ppoll", 271, 73),
    Call("fcntl", 72, 25, (Check(1, (F_GETFD, F_SETFD, F_GETFL, F_SETFL)),)),
    Call("ioctl", 16, 29, (Check(1, (FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TCGETS)),)),
)
# Private and never executable: no memory that others see, no code that was not there at the start.
MEMORY = (
    Call("mmap", 9, 222, (NOT_EXECUTABLE, PRIVATE)),
    Call("mprotect", 10, 226, (NOT_EXECUTABLE,)),
    Call("munmap", 11, 215),
    Call("mremap", 25, 216),
    Call("madvise", 28, 233),
    Call("brk", 12, 214),
)
TIME_AND_SIGNALS = (
    Call("futex", 202, 98),
    Call("clock_gettime", 228, 113),
    Call("clock_getres", 229, 114),
    Call("clock_nanosleep", 230, 115),
    Call("gettimeofday", 96, 169),
    Call("time", 201, None),
    Call("getrandom", 318, 278),
    Call("rt_sigaction", 13, 134),
    Call("rt_sigprocmask", 14, 135),
    Call("rt_sigreturn", 15, 139),
    Call("sigaltstack", 131, 132),
    Call("restart_syscall", 219, 128),
    Call("tgkill", 234, 131, (Check(0, (SELF,)),)),  # raise(3), abort(3)
    Call("sched_yield", 24, 124),
)
READING = (
    Call("open", 2, None, (Check(1, (0,), WRITING),)),
    Call("openat", 257, 56, (Check(2, (0,), WRITING),)),
    Call("pread64", 17, 67),
    Call("lseek", 8, 62),
    Call("getdents64", 217, 61),
    Call("fstat", 5, 80),
    Call("stat", 4, None),
    Call("lstat", 6, None),
    Call("newfstatat", 262, 79),
    Call("statx", 332, 291),
    Call("access", 21, None),
    Call("faccessat", 269, 48),
    Call("faccessat2", 439, 439),
    Call("readlink", 89, None),
    Call("readlinkat", 267, 78),
    Call("getcwd", 79, 17),
)
ABOUT_ITSELF = (
    Call("getpid", 39, 172),
    Call("gettid", 186, 178),
    Call("getppid", 110, 173),
    Call("getuid", 102, 174),
    Call("geteuid", 107, 175),
    Call("getgid", 104, 176),
    Call("getegid", 108, 177),
    Call("getrusage", 98, 165),
    Call("prlimit64", 302, 261, (Check(2, NULL, wide=True),)),  # getrlimit(2): nothing is set
    Call("sched_getaffinity", 204, 123),
    Call("sysinfo", 99, 179),
    Call("uname", 63, 160),
    Call("exit", 60, 93),
    Call("exit_group", 231, 94),
)
ALLOWED = (*TRAFFIC, *MEMORY, *TIME_AND_SIGNALS, *READING, *ABOUT_ITSELF)
