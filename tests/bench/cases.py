# SPDX-License-Identifier: Apache-2.0
"""The cases. Each measures all its subjects once a round, in turns (A B A B), and adds one value a metric to the samples."""
import contextlib
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import host
import load
import peers
from host import CORES, Failed, say
from rows import Samples

CONNECT_CLIENTS = 16
LATENCY_CONNECTIONS = 64
LATENCY_RATE = 2000
NUM_SWAPS = 20
IDLE_CONNECTIONS = 10000
# Two descriptors a connection in each sidecar, and some for itself: stunnel wants a fortieth, Tabard 256.
DESCRIPTORS_SPARE = 600
# A generator, or a backend, that uses this much of its one core is what was measured.
SATURATED = 0.9


@dataclass
class Bench:
    certificates: object
    folder: Path
    subjects: list  # classes
    rounds: int
    seconds: int
    short: bool = False
    samples: Samples = field(default_factory=Samples)
    notes: dict = field(default_factory=dict)  # key -> text, in order; one note a key
    num_folders: int = 0
    others_max: float = 0  # cores that other processes used, at worst

    def note(self, text, key=None):
        """A note for the end of the output; of several with the same key the first is told."""
        if (key or text) not in self.notes:
            self.notes[key or text] = text
            say(f"note: {text}")

    def new_folder(self, name):
        self.num_folders += 1
        folder = self.folder / f"{self.num_folders}-{name}"
        folder.mkdir(parents=True)
        return folder

    @contextlib.contextmanager
    def started(self, stack_of, backend, **options):
        """All of these subjects in front of the backend; one that can't start is left out, with a note."""
        with contextlib.ExitStack() as stack:
            running = []
            for kind in stack_of:
                subject = kind(self.certificates, self.new_folder(kind.name))
                stack.callback(subject.close)
                try:
                    subject.start(backend.port, **options)
                    if isinstance(backend, load.HttpBackend):
                        load.first_request(subject.entry)
                        subject.check()
                    running.append(subject)
                except (Failed, AssertionError) as error:
                    self.note(f"{kind.name} is left out: {error}")
            yield running

    def in_turns(self, case, subjects, measure):
        """`measure(subject)` for each, round by round, each round beginning with another."""
        for number in range(self.rounds):
            shift = number % max(1, len(subjects))
            for subject in subjects[shift:] + subjects[:shift]:
                try:
                    measure(subject)
                except Failed as error:
                    self.note(f"{case}: {subject.name}, round {number + 1}: {error}")
            say(f"{case}: round {number + 1} of {self.rounds}")

    def watch(self, case, subject, window):
        """Notes what else than the subject set the pace."""
        for name in ("generator", "backend"):
            if window.used[name] / window.seconds > SATURATED and subject.name != "direct":
                self.note(f"{case}: the {name} used {window.used[name] / window.seconds:.0%} of a core with {subject.name}: "
                          f"its throughput is a lower bound", f"{case} {name} {subject.name}")
        if window.others > 0.05 * CORES:
            self.note("other processes were using the machine: trust no figure further than its ratios", "others")
            self.others_max = max(self.others_max, window.others)


def keepalive(connections):
    def run(bench, case):
        with backend_of(bench) as backend, bench.started([*bench.subjects, peers.Direct], backend) as subjects:
            def measure(subject):
                num, window = load.requests(subject, backend, connections, bench.seconds)
                bench.watch(case, subject, window)
                if subject.name != "direct":
                    bench.samples.add(case, subject.name, cpu_us_per_request=window.used["subject"] / num * 1e6)
                bench.samples.add(case, subject.name, requests_per_second=num / window.seconds)
            bench.in_turns(case, subjects, measure)
            check_generator(bench, case)
    return run


def check_generator(bench, case):
    """The generator and the backend alone must be well ahead of the fastest subject."""
    by_subject = {subject: max(values) for (of, subject, metric), values in bench.samples.values.items()
                  if of == case and metric == "requests_per_second"}
    direct = by_subject.pop("direct", 0)
    fastest = max(by_subject, key=by_subject.get, default=None)
    if fastest and by_subject[fastest] > 0.7 * direct:
        bench.note(f"{case}: {fastest} comes to {by_subject[fastest] / direct:.0%} of what generator and backend do alone: "
                   f"throughput is theirs")


@contextlib.contextmanager
def backend_of(bench, kind=load.HttpBackend):
    backend = kind(bench.new_folder("backend"))
    try:
        yield backend
    finally:
        backend.close()


def connect(bench, case):
    """A new connection for each request; full handshakes, then with the peers' session reuse."""
    for label, reuse in ((case, False), (f"{case}-reuse", True)):
        kinds = [kind for kind in bench.subjects if not reuse or kind.resumes or kind.name == "tabard"]
        with backend_of(bench) as backend, bench.started(kinds, backend, reuse=reuse) as subjects:
            def measure(subject, label=label, backend=backend):
                num, window = load.requests(subject, backend, CONNECT_CLIENTS, bench.seconds, reconnect=True)
                bench.watch(label, subject, window)
                bench.samples.add(label, subject.name, cpu_us_per_connection=window.used["subject"] / num * 1e6,
                                  connections_per_second=num / window.seconds)
            bench.in_turns(label, subjects, measure)


def bulk(up):
    def run(bench, case):
        with backend_of(bench, load.BulkBackend) as backend, bench.started(bench.subjects, backend) as subjects:
            def measure(subject):
                num_bytes, window = load.bulk(subject, backend, bench.seconds, up=up)
                bench.watch(case, subject, window)
                bench.samples.add(case, subject.name, cpu_s_per_gb=window.used["subject"] / num_bytes * 1e9,
                                  gbit_per_second=num_bytes * 8 / bench.seconds / 1e9)
            bench.in_turns(case, subjects, measure)
    return run


def idle(bench, case):
    """Private memory per idle connection, each of which has carried one request. Fresh processes each round."""
    # Two descriptors a connection; and of Tabard's connections callers have seven eighths (settings.limits.connections).
    possible = (host.raise_descriptor_limit() - DESCRIPTORS_SPARE) // 2 * 7 // 8
    num = 500 if bench.short else min(IDLE_CONNECTIONS, possible)
    if num < IDLE_CONNECTIONS and not bench.short:
        bench.note(f"{case}: {num} connections, not {IDLE_CONNECTIONS}: a process may have no more descriptors here")
    with backend_of(bench) as backend:
        def measure(kind):
            with bench.started([kind], backend) as subjects:
                for subject in subjects:
                    hold(bench, case, subject, num)
        bench.in_turns(case, bench.subjects, measure)


def hold(bench, case, subject, num):
    before = [host.private_kb(subject.pids(side)) for side in ("client", "server")]
    held = load.IdleConnections(subject.entry, num)
    try:
        time.sleep(1)  # for what a subject gives back when it has nothing to do
        after = [host.private_kb(subject.pids(side)) for side in ("client", "server")]
        held.still_answer()
    except OSError as error:
        raise Failed(f"idle connections did not live: {error}") from error
    finally:
        held.close()
    client, server = ((now - then) / num for now, then in zip(after, before))
    bench.samples.add(case, subject.name, client_kb_per_connection=client, server_kb_per_connection=server)


def latency(bench, case):
    """What a subject adds to the latency of the direct way at the same rate, measured in the same round."""
    with backend_of(bench) as backend, bench.started(bench.subjects, backend) as subjects:
        direct = peers.Direct(bench.certificates, bench.folder)
        direct.start(backend.port)
        shares = ("p50_us", "p99_us", "p999_us")
        plain = {}

        def measure(subject):
            result = load.open_loop(subject, LATENCY_RATE, LATENCY_CONNECTIONS, bench.seconds)
            if result["late_p99_us"] > max(200, result["p99_us"] / 2):
                bench.note(f"{case}: openloop itself sent late (p99 {result['late_p99_us']:.0f} us with {subject.name}): "
                           f"the machine was not free enough for these tails", f"{case} late")
            if subject is direct:
                plain.update(result)
                bench.samples.add(case, "direct", **{share: result[share] for share in shares})
            elif plain:
                bench.samples.add(case, subject.name, **{f"added_{share}": result[share] - plain[share] for share in shares})

        # Direct first in every round: the others are told by their difference to it.
        for number in range(bench.rounds):
            shift = number % max(1, len(subjects))
            for subject in [direct, *subjects[shift:], *subjects[:shift]]:
                try:
                    measure(subject)
                except Failed as error:
                    bench.note(f"{case}: {subject.name}, round {number + 1}: {error}")
            say(f"{case}: round {number + 1} of {bench.rounds}")


def workers(bench, case):
    """One worker to two. Generator and backend share the cores with them, so on few cores little can be gained."""
    kinds = [kind for kind in bench.subjects if kind.name not in ("floor", "stunnel")]
    if CORES < 6:
        bench.note(f"{case}: {CORES} cores carry both sidecars, generator and backend: two workers can't do twice the work here")
    with backend_of(bench) as backend, contextlib.ExitStack() as stack:
        sets = [(num, stack.enter_context(bench.started(kinds, backend, workers=num))) for num in (1, 2)]
        for subject in (subject for _, subjects in sets for subject in subjects):
            subject.num_workers = next(num for num, subjects in sets if subject in subjects)

        def measure(subject):
            num, window = load.requests(subject, backend, 32, bench.seconds)
            label = f"{case}-{subject.num_workers}"
            bench.watch(label, subject, window)
            bench.samples.add(label, subject.name, requests_per_second=num / window.seconds,
                              cpu_us_per_request=window.used["subject"] / num * 1e6)
        bench.in_turns(case, [subject for pair in zip(*(subjects for _, subjects in sets)) for subject in pair], measure)


def swap(bench, case):
    """Latency while the serving sidecar takes 20 new snapshots; without; and while a process that has nothing to do with it
    burns as much CPU time as the swaps took, in the same rhythm: what of the difference is the machine's."""
    seconds = max(bench.seconds, 4)
    with backend_of(bench) as backend, bench.started([peers.Tabard], backend) as subjects:
        for subject in subjects:
            for number in range(bench.rounds):
                swaps = Swaps(subject.agents["server"], seconds)
                bystander = Bystander(swaps)
                sides = {"without swaps": None, "tabard": swaps, "bystander": bystander}
                # Which comes first changes, as the machine's mood does; the bystander copies the swaps.
                for name in ("tabard", "bystander", "without swaps") if number % 2 else sides:
                    result = load.open_loop(subject, LATENCY_RATE, LATENCY_CONNECTIONS, seconds, meanwhile=sides[name])
                    bench.samples.add(case, name, p50_us=result["p50_us"], p99_us=result["p99_us"], p999_us=result["p999_us"])
                swaps.check()
                bench.samples.add(case, "tabard", cpu_ms_per_swap=swaps.used * 1000 / NUM_SWAPS)
                say(f"{case}: round {number + 1} of {bench.rounds}")


class Swaps:
    """New configurations for an agent, written before the measurement: in it, each costs the bench one rename."""

    def __init__(self, agent, seconds):
        self.agent = agent
        self.pause = seconds * 0.9 / NUM_SWAPS
        self.files = []
        for number in range(NUM_SWAPS):
            agent.config["policies"] = [*agent.config["policies"][:1], peers.pair.allow(f"swap-{time.monotonic_ns()}", peers.mesh.WEB)]
            self.files.append(agent.folder.parent / f"{agent.folder.name}-swap-{number}.yaml")
            self.files[-1].write_text(json.dumps(agent.config, indent=2) + "\n")
        self.mark = agent.mark()
        self.used = 0  # seconds of CPU time of the agent and of the proxy's main thread, which do nothing else meanwhile

    def look(self):
        pid = self.agent.proxy_pid()
        main_thread = int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9
        return host.cpu_seconds([self.agent.process.pid]) + main_thread

    def __call__(self, seconds):
        before = self.look()
        for path in self.files:
            path.rename(self.agent.folder / "mesh.yaml")
            time.sleep(self.pause)
        self.used = self.look() - before

    def check(self):
        """All of them came into force, or it was less than what the case says."""
        num = len(self.agent.lines(self.mark, msg="snapshot in force"))
        if num != NUM_SWAPS:
            raise Failed(f"of {NUM_SWAPS} snapshots {num} came into force")


class Bystander:
    """Burns what swaps have used, as they did."""

    PROGRAM = """
import sys, time
seconds, num, pause = map(float, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(num)):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    time.sleep(pause)
"""

    def __init__(self, swaps):
        self.swaps = swaps

    def __call__(self, seconds):
        arguments = [self.swaps.used / NUM_SWAPS, NUM_SWAPS, self.swaps.pause]
        with subprocess.Popen(["/usr/bin/python3", "-c", self.PROGRAM, *map(str, arguments)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.close()
            if process.wait(timeout=seconds + 20) != 0:
                raise Failed(f"the bystander exited {process.returncode}")


def policy(bench, case):
    """The decision and the look-up by themselves, in one process (tests/bench/decide.c)."""
    for number in range(bench.rounds):
        done = subprocess.run([peers.own("decide")], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise Failed(f"decide: {done.stderr}")
        for line in done.stdout.splitlines():
            metrics = json.loads(line)
            bench.samples.add(metrics.pop("case"), "tabard", **metrics)
        say(f"{case}: round {number + 1} of {bench.rounds}")


CASES = {
    "keepalive-1": keepalive(1), "keepalive-32": keepalive(32), "keepalive-256": keepalive(256), "connect": connect,
    "bulk-down": bulk(False), "bulk-up": bulk(True), "idle": idle, "latency": latency, "workers": workers, "swap": swap,
    "policy": policy,
}
