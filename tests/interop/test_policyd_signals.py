# SPDX-License-Identifier: Apache-2.0
"""Signals that managers and log rotation send to tabard-policyd."""
import contextlib
import os
import signal
import socket

from policyd_process import Policyd, workload


def test_signals_that_are_meant_for_others_end_nothing():
    with contextlib.closing(Policyd({"workloads": [workload("api")]})) as policyd:
        for kind in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            os.kill(policyd.process.pid, kind)
        policyd.apply({"workloads": [workload("api"), workload("web")]})
        assert policyd.process.poll() is None


def test_a_service_manager_learns_of_policyd_s_life(tmp_path):
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)

        def take(wanted):
            while not (text := manager.recv(4096).decode()).startswith(wanted):
                pass
            return text
        prefix = ["env", f"NOTIFY_SOCKET={tmp_path / 'notify'}", "WATCHDOG_USEC=400000"]
        with contextlib.closing(Policyd({"workloads": [workload("api")]}, prefix=prefix)) as policyd:
            take("READY=1")
            assert take("STATUS=") == "STATUS=Ready"
            take("WATCHDOG=1")
            os.kill(policyd.process.pid, signal.SIGHUP)
            take("RELOADING=1")
            take("READY=1")
            assert policyd.stop() == 0
            take("STOPPING=1")
            assert "it is stopping" in take("STATUS=Not ready: ")
