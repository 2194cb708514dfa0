# SPDX-License-Identifier: Apache-2.0
"""Streams of sidecars to policyd, one for each token that a line of its input gives; runs on the node. Each address that a caller is
told of, or that is taken from it, is a line of JSON: which caller, when (seconds since 1970), which."""
import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "interop")]

from policyd import Sidecar, csr  # noqa: E402


def say(lock, **fields):
    with lock:
        print(json.dumps(fields), flush=True)


def listen(policyd, token, number, request, lock):
    with Sidecar(policyd, f"caller-{number}", account=token, request=request, tcp=True) as sidecar:
        while True:
            response = sidecar.take(seconds=3600)
            at = time.time()
            told = response.state.destinations if response.HasField("state") else response.destinations.set
            say(lock, caller=number, at=at, told=[address for one in told for address in one.addresses],
                gone=[name.rpartition("@")[2] for name in response.destinations.removed])


def main():
    host, port, folder = sys.argv[1:]
    policyd, lock, (request, _) = SimpleNamespace(tcp=(host, int(port)), folder=Path(folder)), threading.Lock(), csr()
    for number, token in enumerate(sys.stdin):
        threading.Thread(target=listen, args=(policyd, token.strip(), number, request, lock), daemon=True).start()
    threading.Event().wait()


main()
