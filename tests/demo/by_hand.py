# SPDX-License-Identifier: Apache-2.0
"""Two services on one host, each with its sidecar, to be tried by hand; no root is needed: ./dev pair [FOLDER]

It makes the folder (out/pair) anew: a CA, certificates that live an hour and are renewed every half hour, the configuration of
README's "By hand". Then it runs all of it, shows what each program logs, and ends it with Ctrl-C; the folder stays.
"""
import argparse
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PROGRAMS = [TREE / "bazel-bin" / path for path in ("certs/ca/tabard-ca", "control/agent/tabard-agent", "control/ctl/tabardctl",
                                                   "proxy/tabard-proxy")]
MARK = ".made-by-dev-pair"  # a folder with this file may be made anew
PORTS = {8080: "the service", 9443: "its sidecar", 7000: "the caller's sidecar"}
RENEWAL_SECONDS = 1800
IDS = {"web": "spiffe://demo.example/ns/shop/sa/web", "api": "spiffe://demo.example/ns/payments/sa/api"}


class Refused(Exception):
    """What stands in the way, and what would be right."""


def say(text):
    print(text, flush=True)


def make_folder(folder):
    """Empty but for the programs and the configuration. Somebody else's folder is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise Refused(f"{folder} is there and was not made by this; name a folder that is empty or not there yet")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / MARK).touch()
    for program in PROGRAMS:
        shutil.copy(program, folder / "bin")  # a build meanwhile leaves them alone
    for name in ("api.yaml", "web.yaml"):
        shutil.copy(TREE / "tests/demo/by_hand" / name, folder / name)
    (folder / "www").mkdir()
    (folder / "www/index.html").write_text("hello\n")


def check_ports():
    for port, whose in PORTS.items():
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError as error:
                raise Refused(f"127.0.0.1:{port}, which {whose} needs: {error.strerror}; end what listens there "
                              f"(ss -ltnp 'sport = {port}' says what)") from error


def run(folder, *command):
    say("+ " + shlex.join(command))
    done = subprocess.run([folder / "bin" / command[0], *command[1:]], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr.strip())


def issue(folder, *more):
    for name, spiffe_id in IDS.items():
        run(folder, "tabard-ca", "issue", "--dir", "ca", "--id", spiffe_id, "--out-cert", f"{name}.pem", "--out-key", f"{name}.key",
            *more)


def show(name, pipe):
    with contextlib.suppress(ValueError):  # closed, since all ends
        for line in pipe:
            say(f"{name:5}| {line.rstrip()}")


def start(stack, folder, name, *command):
    """A program whose lines are shown; it ends when `stack` does."""
    say("+ " + shlex.join(command) + " &")
    program = shutil.which(command[0], path=f"{folder}/bin{os.pathsep}{os.environ['PATH']}")
    # A session of its own: Ctrl-C is for us, who end it in order.
    process = subprocess.Popen([program, *command[1:]], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    threading.Thread(target=show, args=(name, process.stdout), daemon=True).start()
    return process


def main():
    parser = argparse.ArgumentParser(prog="./dev pair", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=TREE / "out/pair")
    folder = parser.parse_args().folder.resolve()
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    with contextlib.ExitStack() as stack:
        check_ports()
        try:
            make_folder(folder)
        except OSError as error:
            raise Refused(f"{error.filename}: {error.strerror}; name a folder that can be made and written") from error
        run(folder, "tabard-ca", "init", "--dir", "ca", "--trust-domain", "demo.example")
        issue(folder)
        programs = {"service": start(stack, folder, "http", "python3", "-m", "http.server", "-b", "127.0.0.1", "-d", "www", "8080")}
        for name in ("api", "web"):
            programs[name] = start(stack, folder, name, "tabard-agent", "--config", f"{name}.yaml", "--admin", f"{name}.sock",
                                   "--metrics", "127.0.0.1:0", "--health", "127.0.0.1:0")
        say(f"It runs until Ctrl-C. In another terminal: cd {os.path.relpath(folder)}; README says what to try (\"By hand\").")
        waited = 0
        while not over.wait(0.2):
            for name, process in programs.items():
                if process.poll() is not None:
                    raise Refused(f"{name} has ended, with status {process.returncode}; its last lines say why")
            waited += 0.2
            if waited >= RENEWAL_SECONDS:
                waited = 0
                issue(folder, "--force")
        say("ending")


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        sys.exit(f"./dev pair: {refused}")
