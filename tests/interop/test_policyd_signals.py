# SPDX-License-Identifier: Apache-2.0
"""Signals that managers and log rotation send to tabard-policyd."""
import os
import signal

from policyd_process import Policyd, workload


def test_signals_that_are_meant_for_others_end_nothing(keep):
    policyd = keep(Policyd({"workloads": [workload("api")]}))
    for kind in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        os.kill(policyd.process.pid, kind)
    mark = policyd.mark()
    policyd.process.send_signal(signal.SIGHUP)
    policyd.apply({"workloads": [workload("api"), workload("web")]})
    assert policyd.process.poll() is None, policyd.log(mark)
