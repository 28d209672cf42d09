"""Run a program that cannot watch the machine's network: `python without_netlink.py PROGRAM ARGUMENTS`.

Chromium fails what it loads with ERR_NETWORK_CHANGED when the machine gets or loses an address, as for a container. It
learns of this from the kernel's netlink sockets, and works without them.
"""

import contextlib
import ctypes
import errno
import os
import struct
import sys

SET_NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
SOCKET = {"x86_64": 41, "aarch64": 198}  # numbers of the system call
NETLINK = 16  # family
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def refuse_netlink() -> None:
    """Let `socket(AF_NETLINK, ...)` fail in this process and its children. Raise OSError if the kernel forbids it."""
    program = [
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 3, SOCKET[os.uname().machine]),
        (LOAD, 0, 0, 16),
        (JUMP_IF_EQUAL, 0, 1, NETLINK),
        (RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    rules = struct.pack("HxxxxxxP", len(program), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SET_SECCOMP, FILTER, rules, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    with contextlib.suppress(OSError):  # some containers forbid it, and the program works without
        refuse_netlink()
    os.execv(sys.argv[1], sys.argv[1:])
