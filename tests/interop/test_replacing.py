# SPDX-License-Identifier: Apache-2.0
"""docs/replacing.md as it stands: its blocks are run, each program's client end with each program's server end. Only the ports
are others, so that nothing else on the machine is in the way."""
import contextlib
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from mesh import PROGRAMS, ROOT, Service, connect, exchange, free_port, wait_until  # noqa: E402

PAGE = (ROOT / "docs/replacing.md").read_text()
EXECUTABLES = {"Tabard": str(PROGRAMS["tabard-agent"]), "nginx": "/usr/sbin/nginx", "haproxy": "haproxy", "stunnel": "stunnel4",
               "Ghostunnel": "ghostunnel"}
STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"


def why_not(program):
    if program != "Tabard" and shutil.which(EXECUTABLES[program]) is None:
        return f"{EXECUTABLES[program]} is not installed"
    return f"{STREAM} is not installed (libnginx-mod-stream)" if program == "nginx" and not os.path.exists(STREAM) else None


HERE = [program for program in EXECUTABLES if why_not(program) is None]


def block(heading, side):
    """The block of a program for the server's end (0) or the client's (1); the only one of "Certificates"."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    return re.findall(r"^```\w+\n(.*?)^```$", section, re.M | re.S)[side]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the certificates that the page makes."""
    made = tmp_path_factory.mktemp("replacing")
    search = os.pathsep.join([str(PROGRAMS["tabard-ca"].parent), os.environ["PATH"]])
    subprocess.run(["sh", "-ec", block("Certificates", 0)], cwd=made, env={**os.environ, "PATH": search}, check=True, timeout=60,
                   stdout=subprocess.DEVNULL)
    return made


def command(program, side, folder, text):
    """Writes what the program reads, around the page's block where that is a part of a file."""
    path = folder / f"{program}-{side}.conf"
    if program == "Tabard":
        path.write_text(text)
        return [EXECUTABLES[program], "--config", path, "--proxy", PROGRAMS["tabard-proxy"], "--admin", folder / f"{side}.sock",
                "--metrics", "127.0.0.1:0", "--health", "127.0.0.1:0"]
    if program == "nginx":
        path.write_text(f"load_module {STREAM};\ndaemon off; master_process off; pid {path}.pid;\nevents {{ }}\nstream {{\n{text}}}\n")
        return [EXECUTABLES[program], "-p", folder, "-c", path, "-e", f"{path}.error"]
    if program == "haproxy":
        path.write_text(f"defaults\n    timeout connect 10s\n    timeout client 1m\n    timeout server 1m\n{text}")
        return [EXECUTABLES[program], "-db", "-f", path]
    if program == "stunnel":
        path.write_text(f"foreground = yes\npid =\n{text}")
        return [EXECUTABLES[program], path]
    return shlex.split(text.replace("\\\n", " "))


@contextlib.contextmanager
def running(program, side, folder, ports):
    """One end, which listens when this yields."""
    text = block(program, side)
    for written, port in ports.items():
        text = re.sub(rf"\b{written}\b", str(port), text)
    with open(folder / f"{program}-{side}.log", "w") as log:
        process = subprocess.Popen(list(map(str, command(program, side, folder, text))), cwd=folder, stdout=log, stderr=log)
    try:
        def listens():
            assert process.poll() is None, (folder / f"{program}-{side}.log").read_text()
            with contextlib.suppress(OSError):
                connect(("127.0.0.1", ports[7000 if side else 9443])).close()
                return True
        wait_until(f"{program} listens", listens)
        yield
    finally:
        process.terminate()
        process.wait(timeout=40)


@pytest.mark.parametrize("program", EXECUTABLES)
def test_each_program_of_the_page_is_here(program):
    if why_not(program):
        pytest.skip(why_not(program))


@pytest.mark.parametrize("client", HERE)
@pytest.mark.parametrize("server", HERE)
def test_each_end_of_the_page_speaks_with_each_other(folder, server, client):
    with contextlib.closing(Service()) as service, contextlib.ExitStack() as stack:
        ports = {8080: service.address[1], 9443: free_port(), 7000: free_port()}
        stack.enter_context(running(server, 0, folder, ports))
        stack.enter_context(running(client, 1, folder, ports))
        with connect(("127.0.0.1", ports[7000])) as sock:
            assert exchange(sock, b"through both") == b"through both"


@pytest.mark.parametrize("server", HERE)
def test_whoever_has_no_certificate_gets_nowhere(folder, server):
    with contextlib.closing(Service()) as service:
        ports = {8080: service.address[1], 9443: free_port()}
        with running(server, 0, folder, ports):
            stranger = ssl.create_default_context(cafile=folder / "ca/ca.pem")
            stranger.check_hostname = False
            with connect(("127.0.0.1", ports[9443])) as sock, contextlib.suppress(ssl.SSLError, ConnectionError):
                with stranger.wrap_socket(sock) as secure:
                    assert exchange(secure, b"hello") == b""
            assert service.num_connections == 0 or server != "Tabard"
