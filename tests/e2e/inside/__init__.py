# SPDX-License-Identifier: Apache-2.0
"""System calls made from inside a program that runs: by ptrace(2), which root may do to it from outside.

A thread of it that waits in epoll_wait is stopped, made to make one other system call with the instruction it waits in, and
goes on as if nothing had been. So what is tried is what somebody could try who has taken the program over.
"""
import contextlib
import ctypes
import errno
import os
import platform
import signal
import struct

ATTACH, DETACH, GETREGS, SETREGS, SYSCALL = 16, 17, 12, 13, 24
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs "
             "gs").split()
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def why_not():
    if os.geteuid() != 0:
        return "needs root, for ptrace of another user's process"
    return platform.machine() != "x86_64" and "knows the registers of x86_64 alone"


def number(name):
    """The number of a system call."""
    found = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name(name.encode())
    assert found >= 0, name
    return found


class Killed(Exception):
    """The program ended for the system call."""


def _ptrace(request, tid, data=None):
    if libc.ptrace(request, tid, None, data) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def _wait(tid):
    _, status = os.waitpid(tid, 0x40000000)  # __WALL
    if not os.WIFSTOPPED(status):
        raise Killed
    return os.WSTOPSIG(status)


def thread(pid, name):
    """The id of a thread by its name, as "worker-0"; the main thread has the program's."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm") as file:
            if file.read().strip() == name:
                return int(tid)
    raise AssertionError(f"{pid} has no thread {name}")


@contextlib.contextmanager
def _stopped(tid):
    _ptrace(ATTACH, tid)
    _wait(tid)
    buffer = ctypes.create_string_buffer(8 * len(REGISTERS))
    _ptrace(GETREGS, tid, buffer)
    before = buffer.raw
    try:
        yield dict(zip(REGISTERS, struct.unpack(f"{len(REGISTERS)}Q", before)))
    finally:
        with contextlib.suppress(OSError):  # it may be gone
            _ptrace(SETREGS, tid, ctypes.create_string_buffer(before, len(before)))
            _ptrace(DETACH, tid)


def _set(tid, registers):
    packed = struct.pack(f"{len(REGISTERS)}Q", *(registers[name] & (1 << 64) - 1 for name in REGISTERS))
    _ptrace(SETREGS, tid, ctypes.create_string_buffer(packed, len(packed)))


def _is_pending(tid, number):
    with open(f"/proc/{tid}/status") as file:
        pending = next(line for line in file if line.startswith("SigPnd:"))
    return int(pending.split()[1], 16) >> number - 1 & 1


def call(pid, name, *arguments, tid=None):
    """Returns the result, a negative errno value for a failure. Bytes among the arguments lie below the thread's stack.
    Raises Killed if the program ends for it."""
    tid = tid or pid
    with _stopped(tid) as registers:
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(registers["rip"] - 2)
            assert memory.read(2) == b"\x0f\x05", "it waits in a system call"
            numbers, at = [], registers["rsp"] - 65536
            for argument in arguments:
                if isinstance(argument, bytes):
                    memory.seek(at)
                    memory.write(argument)
                    numbers.append(at)
                    at += 4096
                else:
                    numbers.append(argument)
        changed = dict(registers, rip=registers["rip"] - 2, rax=number(name), orig_rax=(1 << 64) - 1)
        changed.update(zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), numbers))
        _set(tid, changed)
        for _ in ("its entry", "its exit"):
            _ptrace(SYSCALL, tid)
            _wait(tid)
        if _is_pending(tid, signal.SIGSYS):
            _ptrace(DETACH, tid)  # and on it goes, with the signal
            raise Killed
        after = ctypes.create_string_buffer(8 * len(REGISTERS))
        _ptrace(GETREGS, tid, after)
        return struct.unpack(f"{len(REGISTERS)}q", after.raw)[REGISTERS.index("rax")]


def error(result):
    """The name of what a call failed with, as "EACCES"; "" for a success."""
    return errno.errorcode[-result] if result < 0 else ""
