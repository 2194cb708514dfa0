# SPDX-License-Identifier: Apache-2.0
"""What a fleet costs its policy agent: ./dev bench fleet [--streams N...] [--per-connection P] [--json FILE]

Every simulated sidecar is a real gRPC stream that answers each response at once, by default on a connection of its own, as
real ones are. Ten sidecars are one service; each service may be called by five others. So a sidecar sees 50 destinations and
a service has 50 callers, however large the fleet: what grows with the fleet beyond that is the policy agent's own doing.
Sidecars and policy agent share the machine; times are from before the file's rename to the ACK that the sidecar sends.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("e2e", "interop")]

from mesh import DOMAIN, PROGRAMS, ROOT  # noqa: E402
from policyd_process import Policyd, allow  # noqa: E402

PROGRAMS.setdefault("fleet_load", ROOT / "bazel-bin/tests/bench/fleet_load")
REPLICAS, CALLERS, NUM_JOINS, NUM_CHANGES = 10, 5, 20, 5
STREAMS = (100, 1000, 10000)


def service(number):
    return f"spiffe://{DOMAIN}/ns/bench/sa/s{number:05}"


def fleet_of(num_services):
    return {
        "workloads": [{"spiffe_id": service(number), "unix_uids": [0], "addresses": ["10.0.0.0/8"], "ports": [8080]}
                      for number in range(num_services)],
        "policies": [allow(f"s{number:05}", service(number), *(service((number + step) % num_services) for step in range(1, CALLERS + 1)))
                     for number in range(num_services)],
    }


class Load:
    def __init__(self, policyd, num_services, per_connection):
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", PROGRAMS["fleet_load"], policyd.unix, str(num_services),
                                         str(per_connection)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def tell(self, line):
        self.process.stdin.write(line + "\n")

    def hear(self, word):
        line = self.process.stdout.readline().split()
        if not line or line[0] != word:
            raise RuntimeError(f"fleet_load said {line}, not {word}")
        return [int(number) for number in line[1:]]

    def ask(self, line, word):
        self.tell(line)
        return self.hear(word)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def cpu_ns(pid):
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def rss_kb(pid):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0])


def settled(policyd):
    """CPU used so far, once the policy agent has come to rest."""
    before = -1
    while (now := cpu_ns(policyd.process.pid)) - before > 2_000_000 or before < 0:
        before = now
        time.sleep(0.1)
    return now


def change(policyd, load, num, write, idle=0.0):
    """One change that `num` streams are told of: (p50, p99, last ACK) in ms, CPU in ms beyond the idle share, bytes."""
    load.ask(f"expect {num}", "expecting")
    cpu, started = settled(policyd), time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    write()
    _, *times, size = load.hear("got")
    done = settled(policyd) - idle * (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - started)
    return [(at - started) / 1e6 for at in times] + [(done - cpu) / 1e6, size]


def median(rows):
    return [sorted(column)[len(column) // 2] for column in zip(*rows)]


def measure(num, per_connection):
    num_services = max(num // REPLICAS, CALLERS + 1)
    policyd = Policyd(fleet_of(num_services), listen=None)
    load = None
    try:
        load = Load(policyd, num_services, per_connection)
        rss, cpu, began = rss_kb(policyd.process.pid), cpu_ns(policyd.process.pid), time.monotonic()
        load.ask(f"start {num}", "started")
        seconds = time.monotonic() - began
        row = {"streams": num, "connections": -(-num // per_connection), "start_s": seconds,
               "start_cpu_us_per_stream": (settled(policyd) - cpu) / 1e3 / num,
               "kb_per_stream": (rss_kb(policyd.process.pid) - rss) / num}

        def everybody(number):
            policyd.write("wide", {"policies": [{"targets": [f"spiffe://{DOMAIN}"], "policy": {
                "name": f"wide-{number}", "action": "DENY", "mode": "ENFORCE",
                "rules": [{"principals": [f"spiffe://{DOMAIN}/ns/nobody/"]}]}}]})

        p50, p99, last, cpu_ms, size = median([change(policyd, load, num, lambda n=n: everybody(n)) for n in range(NUM_CHANGES)])
        row |= {"all_p50_ms": p50, "all_p99_ms": p99, "all_last_ms": last, "all_cpu_us_per_push": cpu_ms * 1e3 / num,
                "all_bytes_per_push": size / num}

        def one(number):
            policyd.write("one", {"policies": [{"targets": [service(0)], "policy": {
                "name": f"one-{number}", "action": "ALLOW", "mode": "AUDIT", "rules": [{"principals": [service(1)]}]}}]})

        replicas = len(range(0, num, num_services))
        p50, p99, last, cpu_ms, size = median([change(policyd, load, replicas, lambda n=n: one(n)) for n in range(NUM_CHANGES)])
        row |= {"one_pushes": replicas, "one_last_ms": last, "one_cpu_ms": cpu_ms}

        idle, began = cpu_ns(policyd.process.pid), time.monotonic()
        time.sleep(2)
        row["idle_cpu_permille"] = (cpu_ns(policyd.process.pid) - idle) / (time.monotonic() - began) / 1e6

        told = sum(len(range(number, num, num_services)) for number in ((0 + step) % num_services for step in range(1, CALLERS + 1)))
        joins = []
        for _ in range(NUM_JOINS):
            def join():
                load.tell("join")
                load.hear("joined")
            joins.append(change(policyd, load, told, join, row["idle_cpu_permille"] / 1000))
        p50, p99, last, cpu_ms, size = median(joins)
        row |= {"join_told": told, "join_last_ms": last, "join_cpu_us": cpu_ms * 1e3, "join_bytes": size,
                "join_bytes_per_push": size / told}
        return row
    finally:
        if load:
            load.process.kill()
            load.process.wait()
        policyd.close()


def certify(num, num_services, per_connection):
    """How long it takes until each of `num` sidecars that join at once, of so many identities, has its certificate."""
    policyd = Policyd({**fleet_of(num_services), "policies": []}, listen=None)
    load = None
    try:
        load = Load(policyd, num_services, per_connection)
        cpu, began = cpu_ns(policyd.process.pid), time.monotonic()
        _, num_waits = load.ask(f"certify {num}", "certified")
        return {"sidecars": num, "identities": num_services, "seconds": time.monotonic() - began, "told_to_wait": num_waits,
                "cpu_us_per_sidecar": (cpu_ns(policyd.process.pid) - cpu) / 1e3 / num}
    finally:
        if load:
            load.process.kill()
            load.process.wait()
        policyd.close()


COLUMNS = [
    ("streams", "streams", "d"), ("kb_per_stream", "KB/stream", ".1f"), ("start_cpu_us_per_stream", "start us/stream", ".0f"),
    ("all_p50_ms", "to all: p50 ms", ".1f"), ("all_p99_ms", "p99 ms", ".1f"), ("all_last_ms", "last ms", ".1f"),
    ("all_cpu_us_per_push", "us/push", ".1f"), ("all_bytes_per_push", "B/push", ".0f"), ("one_last_ms", "to 10: last ms", ".1f"),
    ("one_cpu_ms", "cpu ms", ".1f"), ("join_told", "join: told", "d"), ("join_last_ms", "last ms", ".1f"),
    ("join_cpu_us", "cpu us", ".0f"), ("join_bytes_per_push", "B/push", ".0f"),
]


def main():
    parser = argparse.ArgumentParser(prog="./dev bench fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--per-connection", type=int, default=1)
    parser.add_argument("--certify", type=int, nargs="+", metavar="N", help="instead: N sidecars join at once, of N and of six identities")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for num in options.certify or ():
        for num_services in (num, CALLERS + 1):
            print(certify(num, num_services, options.per_connection), flush=True)
    if options.certify:
        return
    rows = []
    titles = [title for _, title, _ in COLUMNS]
    print("  ".join(titles), flush=True)
    for num in options.streams:
        rows.append(measure(num, options.per_connection))
        print("  ".join(format(rows[-1][key], kind).rjust(len(title)) for key, title, kind in COLUMNS), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"replicas": REPLICAS, "callers": CALLERS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
