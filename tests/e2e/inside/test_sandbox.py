# SPDX-License-Identifier: Apache-2.0
"""What the real programs gave up: as the kernel shows it, as the status says it, and as somebody inside finds it."""
import contextlib
import os
import socket
import struct

import pytest

import inside
from mesh import Agent, is_sanitized, run, wait_until
from pair import server_config

PROXY = ["user", "no_new_privileges", "capabilities", "not_dumpable", "limits", "landlock_files", "landlock_ports",
         "landlock_scopes", "seccomp"]
AGENT = ["no_new_privileges", "capabilities", "not_dumpable", "landlock_files", "landlock_scopes", "seccomp"]
PASSWD = b"/etc/passwd\0"
AT_FDCWD = -100


def kernel_lacks():
    """Layers that this kernel doesn't have, by its own words."""
    with open("/proc/self/status") as status:
        seccomp = "Seccomp:" in status.read()
    lsm = open("/sys/kernel/security/lsm").read() if os.path.exists("/sys/kernel/security/lsm") else "landlock"
    abi = inside.libc.syscall(444, None, 0, 1)
    missing = [] if seccomp else ["seccomp"]
    if abi < 1 or "landlock" not in lsm:
        missing += ["landlock_files"]
    return missing + ["landlock_ports"] * (abi < 4) + ["landlock_scopes"] * (abi < 6)


def status_of(pid, task=None):
    path = f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status"
    with open(path) as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def layers(status, program):
    return {layer["name"]: layer for layer in status[f"{program}_sandbox"]}


@pytest.fixture
def sidecar(keep, authority, service):
    return keep(Agent("payments", server_config(authority, service.address), workers=2))


def need_root_and_product():
    if os.geteuid() != 0:
        pytest.skip("needs root: an agent that isn't root can't give its proxy another uid")
    if is_sanitized():
        pytest.skip("a build with a sanitizer keeps what its reports take")


def need_inside():
    reason = inside.why_not()
    if reason:
        pytest.skip(reason)
    need_root_and_product()


def test_every_layer_that_the_kernel_has_is_in_force_and_shown(sidecar):
    need_root_and_product()
    status = sidecar.status()
    for program, names in [("proxy", PROXY), ("agent", AGENT)]:
        shown = layers(status, program)
        assert list(shown) == names
        for name, layer in shown.items():
            assert layer.get("in_force", False) == (name not in kernel_lacks()), layer
            assert sidecar.metric("tabard_sandbox_layer", program=program, layer=name) == layer.get("in_force", False)
    text = run("tabardctl", "status", "--admin", sidecar.folder / "admin.sock").stdout
    assert "sandbox:     proxy: user, no_new_privileges, capabilities, not_dumpable, limits" in text


def test_the_kernel_shows_the_same_of_every_thread(sidecar):
    need_root_and_product()
    pid = sidecar.proxy_pid()
    tasks = os.listdir(f"/proc/{pid}/task")
    assert len(tasks) == 3, "the main thread and two workers"
    for task in tasks:
        facts = status_of(pid, task)
        assert facts["Seccomp"] == "2" and facts["NoNewPrivs"] == "1" and facts["Uid"].split() == ["1337"] * 4
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == int(facts["CapInh"], 16) == 0
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0, "not dumpable: its memory is root's alone"
    with open(f"/proc/{pid}/limits") as file:
        limits = {line[:25].strip(): line[25:].split()[:2] for line in file}
    for name in ("Max core file size", "Max processes", "Max locked memory", "Max msgqueue size"):
        assert limits[name] == ["0", "0"], name
    agent = status_of(sidecar.process.pid)
    assert agent["Seccomp"] == "2" and agent["NoNewPrivs"] == "1"
    dropped = [21, 16, 19, 39, 13, 27, 18]  # SYS_ADMIN, SYS_MODULE, SYS_PTRACE, BPF, NET_RAW, MKNOD, SYS_CHROOT
    assert not [number for number in dropped if int(agent["CapBnd"], 16) >> number & 1]


def sockaddr(port):
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton("127.0.0.1"))


@pytest.mark.parametrize("name, arguments, thread", [
    ("openat", (AT_FDCWD, PASSWD, os.O_RDONLY, 0), None),
    ("openat", (AT_FDCWD, PASSWD, os.O_RDONLY, 0), "worker-1"),
    ("execve", (b"/bin/sh\0", 0, 0), "worker-0"),
    ("ptrace", (0, 0, 0, 0), "worker-0"),
    ("socket", (socket.AF_INET, socket.SOCK_DGRAM, 0), "worker-0"),
    ("socket", (socket.AF_UNIX, socket.SOCK_STREAM, 0), "worker-0"),
    ("io_uring_setup", (1, bytes(120)), None),
    ("kill", (1, 0), None),
])
def test_a_system_call_that_relaying_does_not_need_ends_the_proxy_and_the_agent_names_it(sidecar, name, arguments, thread):
    need_inside()
    pid = sidecar.proxy_pid()
    mark = sidecar.mark()
    with pytest.raises(inside.Killed):
        inside.call(pid, name, *arguments, tid=thread and inside.thread(pid, thread))
    line = sidecar.wait_line(mark, msg="the proxy broke its sandbox")
    assert line["system_call"] == name and line["level"] == "error"
    assert f"system call {name}" in sidecar.wait_line(mark, msg="the proxy ended")["how"]
    wait_until("another proxy serves", lambda: sidecar.proxy_pid() not in (0, pid) and sidecar.status().get("ready"))
    assert sidecar.metric("tabard_proxy_sandbox_violations_total") == 1


def test_of_the_ports_the_threads_have_what_they_need_each(sidecar, service):
    need_inside()
    if "landlock_ports" in kernel_lacks():
        pytest.skip("this kernel's Landlock knows no ports")
    pid = sidecar.proxy_pid()
    worker = inside.thread(pid, "worker-0")
    with socket.create_server(("127.0.0.1", 0)) as spare:
        free = spare.getsockname()[1]
    fd = inside.call(pid, "socket", socket.AF_INET, socket.SOCK_STREAM, 0, tid=worker)
    assert fd >= 0
    assert inside.error(inside.call(pid, "bind", fd, sockaddr(free), 16, tid=worker)) == "EACCES"
    assert inside.error(inside.call(pid, "connect", fd, sockaddr(service.address[1]), 16)) == "EACCES", "the main thread"
    assert inside.error(inside.call(pid, "bind", fd, sockaddr(0), 16, tid=worker)) == ""
    assert inside.error(inside.call(pid, "connect", fd, sockaddr(service.address[1]), 16, tid=worker)) == ""
    assert sidecar.status()["proxy_pid"] == pid, "nothing of this ended it"


def test_the_agent_has_no_devices_no_namespaces_and_nobody_else_to_signal(sidecar):
    need_inside()
    pid = sidecar.process.pid
    for name, arguments in [("mount", (b"none\0", b"/mnt\0", b"tmpfs\0", 0, 0)), ("unshare", (0x20000,)), ("ptrace", (0, 0, 0, 0)),
                            ("io_uring_setup", (1, bytes(120)))]:
        assert inside.error(inside.call(pid, name, *arguments)) == "ENOSYS", name
    assert inside.error(inside.call(pid, "socket", socket.AF_PACKET, socket.SOCK_RAW, 0)) == "ENOSYS"
    if "landlock_scopes" not in kernel_lacks():
        assert inside.error(inside.call(pid, "kill", os.getpid(), 0)) == "EPERM"
    assert inside.error(inside.call(pid, "kill", sidecar.proxy_pid(), 0)) == "", "its own proxy"
    assert sidecar.status()["ready"]


def test_a_proxy_without_a_descriptor_left_lives_on(keep, authority, service):
    """libuv gives its spare one then, and opens a file to have it again."""
    need_inside()
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=["prlimit", "--nofile=64:64"]))
    pid = agent.proxy_pid()
    worker = inside.thread(pid, "worker-0")
    taken = []
    while not taken or taken[-1] >= 0:
        taken.append(inside.call(pid, "socket", socket.AF_INET, socket.SOCK_STREAM, 0, tid=worker))
    assert inside.error(taken.pop()) == "EMFILE"
    with contextlib.suppress(ConnectionResetError):
        with contextlib.closing(socket.create_connection(agent.address("127.0.0.1:0"), timeout=10)) as sock:
            assert sock.recv(1) == b"", "it is refused"
    for number in taken:
        inside.call(pid, "close", number, tid=worker)
    assert agent.proxy_pid() == pid and agent.metric("tabard_proxy_sandbox_violations_total") == 0
