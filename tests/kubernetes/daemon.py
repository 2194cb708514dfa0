# SPDX-License-Identifier: Apache-2.0
"""Programs that go on when the one that started them has ended: each has a log and a file that says which process it is."""
import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path


class Failed(Exception):
    """What did not come true; its text shows the end of the logs that say why."""


def wait_until(fact, what, *, seconds=60, every=0.1):
    """Waits until `fact()` is true, and returns it. `what` says what was waited for."""
    end = time.monotonic() + seconds
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{seconds} s went by, and not: {what}")
        time.sleep(every)


def started_at(pid):
    """When a process began, in clock ticks since boot, or None if there is none. A pid comes again, both together don't."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Daemon:
    """One program: `folder` gets NAME.pid and NAME.log. It is found again by another process that names the same folder."""

    def __init__(self, folder, name, command, environment=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.environment = environment
        self.pid_path = Path(folder) / f"{name}.pid"
        self.log_path = Path(folder) / f"{name}.log"

    @property
    def pid(self):
        """The process, or None where it does not run."""
        try:
            pid, start = map(int, self.pid_path.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return pid if started_at(pid) == start and not has_ended(pid) else None

    def start(self):
        if self.pid:
            return
        with open(self.log_path, "ab") as log:
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                       env=os.environ | (self.environment or {}))
        self.pid_path.write_text(f"{process.pid} {started_at(process.pid)}\n")

    def signal(self, number):
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, *, seconds=10):
        """Ends the program, by force if it takes longer than `seconds`."""
        self.signal(signal.SIGTERM)
        try:
            self._wait(seconds)
        except Failed:
            self.kill()
        self.pid_path.unlink(missing_ok=True)

    def kill(self):
        self.signal(signal.SIGKILL)
        self._wait(10)

    def _wait(self, seconds):
        wait_until(lambda: self.pid is None, f"{self.name} has ended", seconds=seconds, every=0.05)

    def log_end(self, lines=15):
        try:
            text = self.log_path.read_bytes()[-20000:].decode(errors="replace")
        except FileNotFoundError:
            text = ""
        return f"--- the end of {self.log_path}\n" + "\n".join(text.splitlines()[-lines:])
