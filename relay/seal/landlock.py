"""Landlock without a single exception: no file can be written, made, moved or removed, no TCP port
bound or dialled, no abstract socket reached, no other process signalled. See landlock(7)."""

from __future__ import annotations

import ctypes
import errno
import os

from relay.seal.kernel import system_call

# The same numbers on every architecture.
CREATE_RULESET, RESTRICT_SELF = 444, 446
ASK_VERSION = 1

# Rights by the ABI version that brought them, as bits of linux/landlock.h. Reading files and
# directories (bits 2 and 3) is not taken away: certificates are read, modules are looked for.
FILES = {
    1: (
        1 << 0  # execute
        | 1 << 1  # write to a file
        | 1 << 4  # remove a directory
        | 1 << 5  # remove a file
        | 1 << 6  # make a character device
        | 1 << 7  # a directory
        | 1 << 8  # a regular file
        | 1 << 9  # a socket
        | 1 << 10  # a FIFO
        | 1 << 11  # a block device
        | 1 << 12  # a symbolic link
    ),
    2: 1 << 13,  # link or rename into another directory
    3: 1 << 14,  # truncate
    5: 1 << 15,  # ioctl of a device
}
NETWORK = {4: 1 << 0 | 1 << 1}  # bind and connect TCP
SCOPES = {6: 1 << 0 | 1 << 1}  # abstract Unix sockets, signals


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


def landlock_abi() -> int:
    """Return the version that the kernel offers.

    Raises:
        OSError: ENOSYS where it was not built, EOPNOTSUPP where it was not started.
    """
    return system_call(CREATE_RULESET, None, 0, ASK_VERSION)


def apply_landlock() -> int:
    """Take every right away that the kernel can take; returns the ABI version.

    Only the calling thread and those that it starts are bound. Needs no_new_privs.

    Raises:
        OSError: see `landlock_abi`.
    """
    abi = landlock_abi()
    rules = _Ruleset(_up_to(FILES, abi), _up_to(NETWORK, abi), _up_to(SCOPES, abi))
    size = ctypes.sizeof(rules) if abi >= min(SCOPES) else 16 if abi >= min(NETWORK) else 8
    descriptor = system_call(CREATE_RULESET, ctypes.byref(rules), size, 0)
    try:
        system_call(RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)
    return abi


def why_not(error: OSError) -> str:
    """Say what a refusal means."""
    known = {
        errno.ENOSYS: "this kernel was built without it, or a sandbox around hides it",
        errno.EOPNOTSUPP: "this kernel was started without it (boot with lsm=landlock,...)",
    }
    return known.get(error.errno or 0, str(error.strerror))


def _up_to(rights: dict[int, int], abi: int) -> int:
    return sum(bits for version, bits in rights.items() if version <= abi)
