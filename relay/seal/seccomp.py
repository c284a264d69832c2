"""A seccomp filter made of the table in `calls`: what is not in it fails with EPERM.

EPERM and not the process's end: a library that tries something in vain goes on without, and a
test can tell what was tried. Calls of a foreign architecture (int 0x80, x32) have other numbers:
the first end the process, the second are refused. See seccomp(2); the filter is classic BPF.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from relay.seal.calls import ALLOWED, SELF, WHOLE, Call, Check
from relay.seal.kernel import system_call

SET_MODE_FILTER = 1
FLAG_TSYNC = 1  # every thread of the process
RET_ALLOW, RET_KILL_PROCESS = 0x7FFF_0000, 0x8000_0000
RET_REFUSE = 0x0005_0000 | errno.EPERM
X32_BIT = 0x4000_0000

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _AT_LEAST = 0x15, 0x35
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """What differs between architectures.

    Args:
        audit: AUDIT_ARCH_ of linux/audit.h.
        seccomp: number of seccomp(2).
        column: of the table of calls.
    """

    audit: int
    seccomp: int
    column: str


MACHINES = {
    "x86_64": Machine(0xC000_003E, 317, "x86_64"),
    "aarch64": Machine(0xC000_00B7, 277, "aarch64"),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def apply_seccomp() -> None:
    """Filter the system calls of every thread from now on. Needs no_new_privs.

    Raises:
        OSError: ENOSYS or EINVAL where the kernel cannot; ENOTSUP for an unknown machine.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(errno.ENOTSUP, f"its system calls on {platform.machine()} are not known here")
    install(machine, program(machine, ALLOWED, os.getpid()))


def install(machine: Machine, instructions: Iterable[Instruction]) -> None:
    """Give the kernel a filter.

    Raises:
        OSError: it does not take it, or a thread has another one (ESRCH).
    """
    code = b"".join(struct.pack("<HBBI", *one) for one in instructions)
    filled = _Program(len(code) // 8, code)
    stuck = system_call(machine.seccomp, SET_MODE_FILTER, FLAG_TSYNC, ctypes.byref(filled))
    if stuck:
        raise OSError(errno.ESRCH, f"thread {stuck} cannot be sealed")


def program(machine: Machine, calls: Iterable[Call], pid: int) -> list[Instruction]:
    """Translate a table of calls.

    Args:
        machine: for which.
        calls: what is allowed, the most frequent first.
        pid: this process, for checks against SELF.
    """
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, X32_BIT),
        (_RETURN, 0, 0, RET_REFUSE),
    ]
    for call in calls:
        number = getattr(call, machine.column)
        if number is not None:
            body = [step for check in call.checks for step in _checked(check, pid)]
            body.append((_RETURN, 0, 0, RET_ALLOW))
            code += [(_EQUAL, 0, len(body), number), *body]
    return [*code, (_RETURN, 0, 0, RET_REFUSE)]


def _checked(check: Check, pid: int) -> Iterable[Instruction]:
    """Refuse unless the check holds; both machines are little-endian."""
    at = _ARGUMENTS_AT + 8 * check.argument
    if check.wide:
        yield from _one_of(at + 4, WHOLE, (0,))
    values = tuple(pid if value == SELF else value for value in check.values)
    yield from _one_of(at, check.mask, values)


def _one_of(at: int, mask: int, values: tuple[int, ...]) -> Iterable[Instruction]:
    yield (_LOAD, 0, 0, at)
    if mask != WHOLE:
        yield (_AND, 0, 0, mask)
    for index, value in enumerate(values):
        yield (_EQUAL, len(values) - index, 0, value)
    yield (_RETURN, 0, 0, RET_REFUSE)


def why_not(error: OSError) -> str:
    """Say what a refusal means."""
    known = {
        errno.ENOSYS: "this kernel was built without seccomp(2), or a sandbox around hides it",
        errno.EINVAL: "this kernel was built without filters (CONFIG_SECCOMP_FILTER)",
    }
    return known.get(error.errno or 0, str(error.strerror))
