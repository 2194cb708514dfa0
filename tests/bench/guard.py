#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Instruction counts of the relay and of a connection, held against a committed budget.

tabard-proxy runs under callgrind, both sides of a pair with their real agents. What one request costs is the difference
between a run of many requests and one of few; what one connection costs (accept, full handshake, policy, one request, log
line, end), the difference between a run of many connections and one of few. So start and stop cancel out.

Counted are the instructions of our own code and of libssl, and the calls of malloc and of system calls. Not libcrypto and
libc: they pick their code by what the processor can do, so their counts differ from machine to machine. What libcrypto
allocates by (certs/memory.c, base/secret) counts as libcrypto's, in calls of malloc. All three are linked into the program; the symbols of
BoringSSL's objects tell them apart. And not libuv, which
spins while a thread wakes another: what it does for us shows in its system calls. Time plays no other part, so a busy machine
counts the same.

  guard.py            prints what was counted, beside the budget; exit 1 if something is over it
  guard.py --write    writes the counts into guard_budget.json as the new budget
"""
import collections
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
from host import ROOT

BUDGET = Path(__file__).with_name("guard_budget.json")
# Our code and libssl's repeat within one percent; a connection's system calls depend on how its last events fall together.
MARGIN = 0.1
FEW_REQUESTS, MANY_REQUESTS = 100, 1100
FEW_CONNECTIONS, MANY_CONNECTIONS = 10, 110
REQUEST, REPLY = b"q" * 100, b"r" * 300
PARTS = ("tabard", "libssl")
OBJECTS = "bazel-out/*/bin/external/boringssl/_objs/{}/**/*.o"
TARGETS = {"libssl": ["libssl"], "libcrypto": ["libcrypto", "bcm"]}
# glibc's functions that enter the kernel, by what callgrind calls them without their underscores.
SYSTEM_CALLS = ("read", "readv", "write", "writev", "recv", "recvmsg", "recvfrom", "send", "sendmsg", "sendto", "accept4", "accept",
                "socket", "connect", "bind", "close", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername",
                "epoll_ctl", "epoll_wait", "epoll_pwait", "ioctl", "fcntl", "eventfd_write", "eventfd_read")
ALLOCATIONS = ("malloc", "calloc", "realloc")
LIBCRYPTOS_OWN = ("OPENSSL_memory_", "secret_")


def why_not():
    """Why the guard can't count here, or None."""
    if not shutil.which("valgrind"):
        return "valgrind is missing (apt-get install valgrind)"
    if peers.mesh.is_sanitized():
        return "the programs are built with a sanitizer, which has its own instructions"
    if not symbols("libssl"):
        return "BoringSSL comes from BORINGSSL_ROOT; the budget is for the one that is built here"
    return None


def symbols(library):
    """The functions that a library of BoringSSL defines, by their symbols."""
    objects = sorted(path for target in TARGETS[library] for path in ROOT.glob(OBJECTS.format(target)))
    listed = subprocess.run(["nm", "--defined-only", *objects], capture_output=True, text=True, check=True).stdout if objects else ""
    return {words[2] for words in map(str.split, listed.splitlines()) if len(words) == 3 and words[1] in "TtWw"}


def serve(sock):
    """Answers every whole request, until the other side has ended."""
    pending = 0
    while part := sock.recv(65536):
        pending += len(part)
        while pending >= len(REQUEST):
            pending -= len(REQUEST)
            sock.sendall(REPLY)


def ask(sock):
    sock.sendall(REQUEST)
    got = 0
    while got < len(REPLY):
        part = sock.recv(65536)
        if not part:
            raise peers.Failed("a connection ended instead of answering")
        got += len(part)


def wrapper(folder):
    """Stands for tabard-proxy: the same under callgrind, and as the user who starts it, who may write the counts."""
    script = folder / "proxy-under-callgrind"
    script.write_text(f"""#!/bin/bash
arguments=()
while [ $# -gt 0 ]; do
    if [ "$1" = --uid ]; then shift; else arguments+=("$1"); fi
    shift
done
exec valgrind --quiet --vgdb=no --tool=callgrind --demangle=no --dump-line=no --callgrind-out-file={folder}/counts.%p \\
    {peers.mesh.PROGRAMS["tabard-proxy"]} "${{arguments[@]}}"
""")
    script.chmod(0o755)
    return script


def drive(certificates, folder, num_connections, num_requests):
    """Runs a pair under callgrind: one connection with all requests, and the other connections with one each, all one
    after the other. Returns the Counts of each side."""
    folder.mkdir()
    program = peers.mesh.PROGRAMS["tabard-proxy"]
    script = wrapper(folder)
    service = peers.mesh.Service(serve)
    subject = peers.Unsandboxed(certificates, folder)  # callgrind writes files
    peers.mesh.PROGRAMS["tabard-proxy"] = script
    try:
        subject.start(service.address[1])
        for number in range(num_connections):
            with socket.create_connection(("127.0.0.1", subject.entry), timeout=60) as sock:
                for _ in range(num_requests if number == 0 else 1):
                    ask(sock)
                sock.shutdown(socket.SHUT_WR)
                if sock.recv(1) != b"":
                    raise peers.Failed("bytes after the answer")
        sides = {}
        for side, agent in subject.agents.items():
            pid = agent.proxy_pid()
            if agent.stop(60) != 0:
                raise peers.Failed(f"{side}: {agent.log()[-1500:]}")
            sides[side] = read_counts(folder / f"counts.{pid}")
        return sides
    finally:
        peers.mesh.PROGRAMS["tabard-proxy"] = program
        subject.close()
        service.close()


def read_counts(path):
    """Sums a callgrind file: instructions by part (those of a callee stand in the callee), calls by function.

    The format is in Callgrind's manual: names are written once, as "(id) name", and are "(id)" from then on; a line of
    inclusive cost follows each "calls=".
    """
    counts = collections.Counter()
    libraries = {library: symbols(library) for library in TARGETS}
    names = {}
    at = {"ob": "", "cob": "", "fn": "", "cfn": ""}

    def name_of(kind, text):
        number, _, name = text.partition(" ")
        if name:
            names[kind, number] = name
        return names.get((kind, number), "")

    def part():
        if not at["ob"].endswith("/tabard-proxy"):
            return at["ob"]
        symbol = at["fn"].split("'")[0]
        return next((library for library in libraries if symbol in libraries[library]), "tabard")

    is_inclusive = False
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key == "ob":
            at["ob"] = at["cob"] = name_of("ob", value)
        elif key == "cob":
            at["cob"] = name_of("ob", value)
        elif key in ("fn", "cfn"):
            at[key] = name_of("fn", value)
        elif key == "calls":
            is_inclusive = True
            callee = re.sub(r"'\d+$", "", at["cfn"]).split("@")[0].lstrip("_").removeprefix("libc_").removeprefix("GI_")
            if "libc.so" in at["cob"]:
                counts[f"call {callee}"] += int(value.split()[0])
            at["cob"] = at["ob"]
        elif re.match(r"[\d+*-]", line):
            if not is_inclusive and not at["fn"].startswith(LIBCRYPTOS_OWN):
                counts[f"part {part()}"] += int(line.split()[1])
            is_inclusive = False
    return counts


def difference(many, few, num):
    """What each of `num` costs."""
    made = {}
    for name in PARTS:
        made[f"instructions_{name}"] = round((many[f"part {name}"] - few[f"part {name}"]) / num)
    made["allocations"] = round(sum(many[f"call {name}"] - few[f"call {name}"] for name in ALLOCATIONS) / num, 1)
    made["system_calls"] = round(sum(many[f"call {name}"] - few[f"call {name}"] for name in SYSTEM_CALLS) / num, 1)
    return made


def system_calls(many, few, num):
    """The same by name, for whoever looks for the one too many."""
    found = {name: round((many[f"call {name}"] - few[f"call {name}"]) / num, 1) for name in (*SYSTEM_CALLS, *ALLOCATIONS, "free")}
    return {name: value for name, value in found.items() if value >= 0.1}


def count():
    """{"client request": {...}, "client connection": {...}, "server ...": ...}, and the calls by name."""
    certificates = peers.Certificates()
    folder = Path(tempfile.mkdtemp(prefix="tabard-guard-"))
    try:
        few = drive(certificates, folder / "few", FEW_CONNECTIONS, FEW_REQUESTS)
        requests = drive(certificates, folder / "requests", FEW_CONNECTIONS, MANY_REQUESTS)
        connections = drive(certificates, folder / "connections", MANY_CONNECTIONS, FEW_REQUESTS)
    finally:
        certificates.close()
        shutil.rmtree(folder, ignore_errors=True)
    counted, calls = {}, {}
    for side in ("client", "server"):
        for what, many, num in (("request", requests, MANY_REQUESTS - FEW_REQUESTS),
                                ("connection", connections, MANY_CONNECTIONS - FEW_CONNECTIONS)):
            counted[f"{side} {what}"] = difference(many[side], few[side], num)
            calls[f"{side} {what}"] = system_calls(many[side], few[side], num)
    return counted, calls


def over_budget(counted):
    """One line for each figure that is more than the budget and its margin allow."""
    budget = json.loads(BUDGET.read_text())
    allowed = 1 + budget["margin"]
    return [f"{what}: {name} {value:g} is more than {budget['budget'][what][name]:g} and {budget['margin']:.0%}"
            for what, figures in counted.items() for name, value in figures.items()
            if value > budget["budget"][what][name] * allowed + 0.3]  # a call now and then is a timer's


def write_budget(counted):
    made = {"made_by": "./dev build, then tests/bench/guard.py --write",
            "why": "tests/bench/guard.py says what is counted; lower it when the code has become cheaper, raise it only "
                   "with the reason in the commit",
            "margin": MARGIN, "budget": counted}
    BUDGET.write_text(json.dumps(made, indent=2) + "\n")


def main():
    if len(sys.argv) > 1 and sys.argv[1:] != ["--write"]:
        print(f"guard.py: {sys.argv[1]} is not known; --write would be right", file=sys.stderr)
        return 2
    reason = why_not()
    if reason:
        print(f"guard.py: {reason}", file=sys.stderr)
        return 1
    counted, calls = count()
    for what, figures in counted.items():
        print(what + ": " + ", ".join(f"{name} {value:g}" for name, value in figures.items()))
        print("  calls: " + ", ".join(f"{name} {value:g}" for name, value in calls[what].items()))
    if len(sys.argv) > 1:
        write_budget(counted)
        print(f"written: {BUDGET.relative_to(ROOT)}")
        return 0
    over = over_budget(counted)
    print("\n".join(over) or "all within the budget")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
