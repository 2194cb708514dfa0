# SPDX-License-Identifier: Apache-2.0
"""Signals that managers and log rotation send to tabard-policyd."""
import contextlib
import os
import signal

from policyd_process import Policyd, workload


def test_signals_that_are_meant_for_others_end_nothing():
    with contextlib.closing(Policyd({"workloads": [workload("api")]})) as policyd:
        for kind in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            os.kill(policyd.process.pid, kind)
        policyd.apply({"workloads": [workload("api"), workload("web")]})
        assert policyd.process.poll() is None
