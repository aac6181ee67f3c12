"""Become COMMAND under a filter that answers EPERM to one system call, as profiles of containers do.

    python refuse_call.py NUMBER COMMAND ...

Seccomp with classic BPF (linux/seccomp.h): load the number of the system call; that one gives EPERM, all else goes on.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def main(number: int, command: list[str]) -> None:
    instructions = (
        (0x20, 0, 0, 0),  # load word 0: nr
        (0x15, 0, 1, number),  # equal: go on, else skip one
        (0x06, 0, 0, 0x0005_0001),  # return ERRNO | EPERM
        (0x06, 0, 0, 0x7FFF_0000),  # return ALLOW
    )
    program = b"".join(
        code.to_bytes(2, sys.byteorder) + bytes([jump_true, jump_false]) + value.to_bytes(4, sys.byteorder)
        for code, jump_true, jump_false, value in instructions
    )
    held = ctypes.create_string_buffer(program)
    count = len(instructions).to_bytes(8, sys.byteorder)  # unsigned short and padding: little-endian only
    filters = ctypes.create_string_buffer(count + ctypes.addressof(held).to_bytes(8, sys.byteorder))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters, 0, 0) == 0, os.strerror(ctypes.get_errno())
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
