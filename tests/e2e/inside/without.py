# SPDX-License-Identifier: Apache-2.0
"""Runs a program as on a kernel, or in a container, that lacks system calls:

  without.py ERRNO NAME[=ARGUMENT],... COMMAND...

Each call of those names (whose first argument is ARGUMENT) fails with ERRNO, by a seccomp filter of libseccomp's.
"""
import ctypes
import errno
import os
import sys

ALLOW, REFUSE, EQUAL = 0x7FFF0000, 0x00050000, 4


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def main():
    error, names, command = getattr(errno, sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    context = lib.seccomp_init(ALLOW)
    for name in names:
        name, _, argument = name.partition("=")
        compare = (Compare * 1)(Compare(0, EQUAL, int(argument or 0), 0))
        number = lib.seccomp_syscall_resolve_name(name.encode())
        assert lib.seccomp_rule_add_array(context, REFUSE | error, number, 1 if argument else 0, compare) == 0, name
    assert lib.seccomp_load(context) == 0
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
