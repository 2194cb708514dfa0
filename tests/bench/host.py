# SPDX-License-Identifier: Apache-2.0
"""The machine under the bench: processes and their ends, CPU time, memory, ports.

CPU time is the kernel's own account of user plus system time of a process with all its threads, those that have ended
too, in nanoseconds (the process's CPU clock; /proc/PID/stat has the same sum in hundredths of a second).
"""
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))


class Failed(Exception):
    """Something did not start or did not work; the text says what, and what it logged."""


def raise_descriptor_limit():
    """Ours, and so that of all that we start. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def output(*command, cwd=None):
    """What a command prints; Failed with the last that it complains of, if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command[:3])}: {(done.stderr.strip().splitlines() or ['exit ' + str(done.returncode)])[-1]}")
    return done.stdout


def is_listening(port):
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        field = line.split()
        if field[3] == "0A" and field[1].endswith(wanted):
            return True
    return False


class Process:
    """A program that runs until it is closed. It dies with us, and its children with it."""

    def __init__(self, name, command, log):
        self.name = name
        self.log = log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdin=subprocess.DEVNULL,
                                          stdout=out, stderr=out, start_new_session=True)
        self.pid = self.popen.pid

    def said(self):
        return Path(self.log).read_text(errors="replace")[-1500:]

    def wait_listening(self, port, seconds=20):
        deadline = time.monotonic() + seconds
        while not is_listening(port):
            if self.popen.poll() is not None:
                raise Failed(f"{self.name} exited {self.popen.returncode}: {self.said()}")
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} does not listen on {port}: {self.said()}")
            time.sleep(0.02)

    def close(self):
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout=1)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()


def tree(pid):
    """The process and all its descendants."""
    found, queue = [], [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    queue += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def cpu_seconds(pids):
    # The clock of process P is the number ~P << 3 | 2 (clock_getcpuclockid(3), as Linux makes it).
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime_ns((~pid << 3) | 2)
    return total / 1e9


def private_kb(pids):
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1])
    return total


def machine_busy_seconds():
    """What all processes of the machine together have used."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / TICKS


class Window:
    """CPU time of named groups of processes between two moments, and how busy everybody else was."""

    def __init__(self, **groups):
        self.groups = groups
        self.start = self._look()

    def _look(self):
        return time.monotonic(), machine_busy_seconds(), {name: cpu_seconds(pids) for name, pids in self.groups.items()}

    def end(self, **known):
        """`known`: CPU seconds of groups that have ended and told."""
        then, busy_then, used_then = self.start
        now, busy_now, used_now = self._look()
        self.seconds = now - then
        self.used = {**{name: used_now[name] - used_then[name] for name in used_now}, **known}
        ours = sum(self.used.values())
        # Cores' worth of work that is not of this bench.
        self.others = max(0.0, (busy_now - busy_then - ours) / self.seconds)
        return self


def interruptible():
    """SIGTERM ends the bench as Ctrl-C does: through every `finally`."""
    def on_term(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, on_term)


def say(text):
    print(text, file=sys.stderr, flush=True)
