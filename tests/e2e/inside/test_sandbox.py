# SPDX-License-Identifier: Apache-2.0
"""What the real programs gave up: as the kernel shows it, as the status says it, and as somebody inside finds it."""
import contextlib
import os
import signal
import socket
import stat
import struct
import sys
import termios
from pathlib import Path

import pytest

import inside
from ca import Authority
from mesh import DOMAIN, Agent, free_port, is_sanitized, run, wait_until
from pair import PORT, server_config

PROXY = ["user", "no_new_privileges", "capabilities", "not_dumpable", "limits", "landlock_files", "landlock_ports",
         "landlock_scopes", "seccomp"]
AGENT = ["no_new_privileges", "capabilities", "not_dumpable", "keys_locked", "landlock_files", "landlock_scopes", "seccomp"]
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
    inherited = int(status_of(sidecar.process.pid)["Seccomp_filters"])
    for task in tasks:
        facts = status_of(pid, task)
        assert int(facts["Seccomp_filters"]) == inherited + 1, "each thread has the proxy's own"
        assert facts["Seccomp"] == "2" and facts["NoNewPrivs"] == "1" and facts["Uid"].split() == ["1337"] * 4
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == int(facts["CapInh"], 16) == 0
        blocked = int(facts["SigBlk"], 16)
        assert not [number for number in (signal.SIGSYS, signal.SIGABRT) if blocked >> number - 1 & 1], "a thread's own ends"
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0, "not dumpable: its memory is root's alone"
    with open(f"/proc/{pid}/limits") as file:
        limits = {line[:25].strip(): line[25:].split()[:2] for line in file}
    for name in ("Max core file size", "Max processes", "Max locked memory", "Max msgqueue size"):
        assert limits[name] == ["0", "0"], name
    agent = status_of(sidecar.process.pid)
    assert agent["Seccomp"] == "2" and agent["NoNewPrivs"] == "1"
    dropped = [21, 16, 19, 39, 13, 27, 18]  # SYS_ADMIN, SYS_MODULE, SYS_PTRACE, BPF, NET_RAW, MKNOD, SYS_CHROOT
    assert not [number for number in dropped if int(agent["CapBnd"], 16) >> number & 1]


def test_the_proxy_has_nothing_of_what_the_agent_was_started_with(keep, authority, service):
    if is_sanitized():
        pytest.skip("a sanitizer is told in the environment what to do")
    left_open = ["bash", "-c", 'exec 9</etc/passwd 30</ && exec env TOKEN=secret "$@"', "-"]
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=left_open))
    assert os.readlink(f"/proc/{agent.process.pid}/fd/9") == "/etc/passwd", "the agent has it"
    proxy = Path(f"/proc/{agent.proxy_pid()}")
    names = {os.readlink(fd) for fd in (proxy / "fd").iterdir()}
    assert {name for name in names if name.startswith("/")} == {"/dev/null", str(agent.log_path)}
    assert (proxy / "environ").read_bytes() == b""


USER = 1000
LOW_PORT = 443


def of_another_user(keep, service, capabilities, arguments, listen):
    """An agent of USER, which has these capabilities, not yet started."""
    need_root_and_product()
    authority = Authority(DOMAIN)
    agent = keep(Agent("payments", server_config(authority, service.address, listen=listen), arguments=arguments, start=False))
    agent.become(USER, authority, capabilities)
    return agent


LOW_PORTS, RAW = (1 << 10, "but CAP_NET_BIND_SERVICE, for ports below 1024"), (1 << 13, "but CAP_NET_RAW, for callers' addresses")


@pytest.mark.parametrize("arguments, kept", [(["--sandbox=on"], [LOW_PORTS]), (["--sandbox=off"], [LOW_PORTS]),
                                             (["--caller-addresses"], [RAW, LOW_PORTS])])
def test_an_agent_of_another_user_passes_on_what_its_proxy_needs_alone(keep, service, arguments, kept):
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= LOW_PORT:
        pytest.skip("anybody may bind low ports here")
    agent = of_another_user(keep, service, ["net_bind_service", "net_raw"], arguments, f"127.0.0.1:{LOW_PORT}")
    agent.start()
    facts = status_of(agent.proxy_pid())
    assert facts["Uid"].split() == [str(USER)] * 4
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == sum(bit for bit, _ in kept)
    assert int(facts["CapInh"], 16) == int(facts["CapAmb"], 16) == 0
    assert layers(agent.status(), "proxy")["capabilities"]["why"] == ", ".join(text for _, text in kept)
    for pid in (agent.process.pid, agent.proxy_pid()):
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0, "not dumpable: its memory is root's alone"


def test_an_agent_of_another_user_without_the_capability_for_callers_addresses_learns_what_to_do(keep, service):
    agent = of_another_user(keep, service, ["net_bind_service"], ["--caller-addresses"], "127.0.0.1:0")
    agent.start(wait=False)
    line = agent.wait_line(msg="the proxy cannot start")
    assert line["error"] == "--caller-addresses: the capability CAP_NET_RAW is missing; start tabard-agent with it, or as root"


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
    ("process_vm_readv", (1, 0, 0, 0, 0, 0), "worker-0"),
    ("tgkill", (1, 1, 0), "worker-0"),
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
    free = free_port()
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
    for request in (termios.TIOCSTI, 0x541c):  # TIOCLINUX
        assert inside.error(inside.call(pid, "ioctl", 0, request, b"x")) == "EPERM"
    namespaces = {"NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000, "NEWUSER": 0x10000000,
                  "NEWPID": 0x20000000, "NEWNET": 0x40000000}
    for name, flag in namespaces.items():
        assert inside.error(inside.call(pid, "clone", flag | signal.SIGCHLD, 0, 0, 0, 0)) == "ENOSYS", name
    assert inside.error(inside.call(pid, "clone3", struct.pack("=8Q", 0x80, 0, 0, 0, 0, 0, 0, 0), 64)) == "ENOSYS"
    assert inside.error(inside.call(pid, "setns", 0, 0)) == "ENOSYS"
    assert inside.error(inside.call(pid, "ioctl", 0, termios.TIOCOUTQ, bytes(4))) == "ENOTTY", "others reach the file"
    assert inside.error(inside.call(pid, "socket", socket.AF_PACKET, socket.SOCK_RAW, 0)) == "ENOSYS"
    if "landlock_scopes" not in kernel_lacks():
        assert inside.error(inside.call(pid, "kill", os.getpid(), 0)) == "EPERM"
    assert inside.error(inside.call(pid, "kill", sidecar.proxy_pid(), 0)) == "", "its own proxy"
    assert sidecar.status()["ready"]


def test_callers_wait_while_a_proxy_has_no_descriptor_left_and_nobody_spins(keep, authority, service):
    need_inside()
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=["prlimit", "--nofile=64:64"]))
    pid = agent.proxy_pid()
    worker = inside.thread(pid, "worker-0")
    for _ in range(3):
        taken = []
        while not taken or taken[-1] >= 0:
            taken.append(inside.call(pid, "socket", socket.AF_INET, socket.SOCK_STREAM, 0, tid=worker))
        assert inside.error(taken.pop()) == "EMFILE"
        errors, used = agent.metric("tabard_accept_errors_total"), cpu_seconds(pid, worker)
        with contextlib.ExitStack() as callers:
            for _ in range(3):
                callers.enter_context(socket.create_connection(agent.address("127.0.0.1:0"), timeout=10))
            wait_until("an error", lambda: agent.metric("tabard_accept_errors_total") >= errors + 5)
            assert cpu_seconds(pid, worker) - used < 0.2, "it looks again ten times a second"
            for number in taken:
                inside.call(pid, "close", number, tid=worker)
            wait_until("all are served", lambda: agent.metric("tabard_connections_open", direction="inbound") == 3)
        wait_until("all have gone", lambda: agent.metric("tabard_connections_open", direction="inbound") == 0)
    assert agent.proxy_pid() == pid and agent.metric("tabard_proxy_sandbox_violations_total") == 0


def cpu_seconds(pid, thread):
    with open(f"/proc/{pid}/task/{thread}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_proxy_starts_with_many_revocations_and_ports(keep, authority, service):
    """The C library asks how much memory there is where much is to be sorted."""
    config = server_config(authority, service.address)
    config["trust_bundles"][0]["crls"] = str(authority.crl)
    config["policies"][0]["ports"] = list(range(1000, 2000, 3)) + [PORT]
    for number in range(60):
        authority.revoke(authority.issue(f"gone-{number}", f"spiffe://{DOMAIN}/gone-{number}"))
    agent = keep(Agent("payments", config))
    wait_until("it is ready", lambda: agent.status()["ready"])
    assert agent.metric("tabard_proxy_sandbox_violations_total") == 0


LANDLOCK = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self"


LITTLE_LOCKED = ["prlimit", "--memlock=65536", "setpriv", "--bounding-set=-ipc_lock"]


def lacking(error, calls):
    return [sys.executable, str(Path(__file__).with_name("without.py")), error, calls]


def test_without_seccomp_the_other_layers_stop_whoever_has_taken_the_proxy_over(keep, authority, service):
    need_inside()
    if "landlock_scopes" in kernel_lacks():
        pytest.skip("this kernel's Landlock knows no scopes")
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=lacking("ENOSYS", "seccomp")))
    pid, keys_pid = agent.proxy_pid(), agent.process.pid
    worker = inside.thread(pid, "worker-0")

    def attempt(name, *arguments):
        return inside.call(pid, name, *arguments, tid=worker)

    def called(address):
        fd = attempt("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0)
        assert fd >= 0
        return attempt("connect", fd, struct.pack("=H", socket.AF_UNIX) + address, 2 + len(address))

    with socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0tabard-test-{os.getpid()}".encode()
        abstract.bind(name)
        abstract.listen()
        assert inside.error(called(name)) == "EPERM"
    assert inside.error(called(str(agent.folder / "admin.sock").encode() + b"\0")) == "EACCES"
    program = agent.folder / "no-program"  # which a kernel that opens it refuses as ENOEXEC: the proxy remains
    program.write_text("x")
    program.chmod(0o755)
    wanted = {
        ("openat", AT_FDCWD, PASSWD, os.O_RDONLY, 0): "EACCES",
        ("openat", AT_FDCWD, f"/proc/{keys_pid}/mem\0".encode(), os.O_RDWR, 0): "EACCES",
        ("openat", AT_FDCWD, b"/proc/self/mem\0", os.O_RDWR, 0): "EACCES",
        ("openat", AT_FDCWD, b"/dev/tty\0", os.O_RDWR, 0): "EACCES",
        ("mknod", b"/tmp/tabard-device\0", stat.S_IFCHR, 0): "EACCES",
        ("execve", str(program).encode() + b"\0", 0, 0): "EACCES",
        ("kill", keys_pid, 0): "EPERM",
        ("kill", os.getpid(), 0): "EPERM",
        ("ptrace", 16, keys_pid, 0, 0): "EPERM",
        ("setresuid", 0, 0, 0): "EPERM",
        ("unshare", 0x40000000): "EPERM",  # CLONE_NEWNET
        ("bpf", 5, bytes(128), 128): "EPERM",
        ("fork",): "EAGAIN",
    }
    assert {call: inside.error(attempt(*call)) for call in wanted} == wanted
    assert agent.proxy_pid() == pid and agent.status()["ready"], "nothing of this ended it"


def test_without_seccomp_the_agent_makes_no_device_by_landlock(keep, authority, service):
    need_inside()
    if "landlock_files" in kernel_lacks():
        pytest.skip("this kernel has no Landlock")
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=lacking("ENOSYS", "seccomp")))
    path = str(agent.folder / "device").encode() + b"\0"
    assert inside.error(inside.call(agent.process.pid, "mknod", path, stat.S_IFIFO | 0o600, 0)) == ""
    os.unlink(path[:-1])
    # Of this one number anybody may make a device: no capability is asked for.
    assert inside.error(inside.call(agent.process.pid, "mknod", path, stat.S_IFCHR, 0)) == "EACCES"


@pytest.mark.parametrize("error, calls, missing, why", [
    ("ENOSYS", LANDLOCK, {"landlock_files", "landlock_ports", "landlock_scopes"}, "this kernel has no Landlock"),
    ("EPERM", LANDLOCK, {"landlock_files", "landlock_ports", "landlock_scopes"}, "a container's seccomp profile"),
    ("EOPNOTSUPP", LANDLOCK, {"landlock_files", "landlock_ports", "landlock_scopes"}, "Landlock is not turned on"),
    ("ENOSYS", "seccomp", {"seccomp"}, "this kernel has no seccomp filters"),
])
def test_what_the_kernel_lacks_is_told_and_the_rest_is_in_force(keep, authority, service, error, calls, missing, why):
    need_root_and_product()
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=lacking(error, calls)))
    status = agent.status()
    text = run("tabardctl", "status", "--admin", agent.folder / "admin.sock").stdout
    for program, names in [("proxy", set(PROXY)), ("agent", set(AGENT))]:
        shown = layers(status, program)
        assert {name for name, layer in shown.items() if not layer.get("in_force")} == names & (missing | set(kernel_lacks()))
        for name in names & missing:
            assert why in shown[name]["why"] and f"{name} MISSING: {shown[name]['why']}" in text
            warned = agent.lines(msg="a layer of the sandbox is missing", layer=name, program=f"tabard-{program}")
            assert len(warned) == 1 and warned[0]["level"] == "warn" and why in warned[0]["why"]
            assert agent.metric("tabard_sandbox_layer", program=program, layer=name) == 0


@pytest.mark.parametrize("prefix, layer, why", [
    (lacking("ENOSYS", LANDLOCK), "landlock_files", "this kernel has no Landlock"),
    (lacking("EOPNOTSUPP", LANDLOCK), "landlock_files", "Landlock is not turned on (the kernel's parameter lsm=)"),
    (lacking("EPERM", LANDLOCK), "landlock_files", "Landlock is refused, perhaps by a container's seccomp profile"),
    (lacking("ENOSYS", "seccomp"), "seccomp", "this kernel has no seccomp filters"),
    (LITTLE_LOCKED, "keys_locked", "64 of 1024 KiB; raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK"),
])
def test_what_is_required_and_missing_holds_up_the_start(keep, authority, service, prefix, layer, why):
    need_root_and_product()  # of several layers that are missing it names one
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=prefix, arguments=["--sandbox=required"], start=False))
    agent.start(wait=False)
    assert agent.process.wait(timeout=10) == 1
    assert agent.lines(msg="start failed")[0]["error"] == \
        f"the sandbox: --sandbox=required, and the layer {layer} is missing: {why}"


def test_what_is_required_and_there_starts(keep, authority, service):
    need_root_and_product()
    if kernel_lacks():
        pytest.skip(f"this kernel lacks {', '.join(kernel_lacks())}")
    agent = keep(Agent("payments", server_config(authority, service.address), arguments=["--sandbox=required"]))
    assert agent.status()["ready"]


@pytest.mark.parametrize("calls", ["landlock_restrict_self", "landlock_add_rule", "seccomp=1"])
def test_a_layer_that_the_kernel_has_and_refuses_holds_up_the_start(keep, authority, service, calls):
    if is_sanitized() and calls == "seccomp=1":
        pytest.skip("a build with a sanitizer asks for no seccomp")
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=lacking("EINVAL", calls), start=False))
    agent.start(wait=False)
    if calls == "landlock_add_rule":  # the agent has no rule
        line = agent.wait_line(msg="the proxy cannot start")
        assert "Invalid argument" in line["error"] or "ports" in line["error"]
    else:
        assert agent.process.wait(timeout=10) == 1
        assert "the sandbox" in agent.lines(msg="start failed")[0]["error"]


def test_off_leaves_out_what_a_debugger_needs_and_says_so_loudly(keep, authority, service):
    need_root_and_product()
    agent = keep(Agent("payments", server_config(authority, service.address), arguments=["--sandbox=off"]))
    for program in ("agent", "proxy"):
        assert len(agent.lines(level="warn", program=f"tabard-{program}")) == 1
        assert "THE SANDBOX IS OFF" in agent.lines(level="warn", program=f"tabard-{program}")[0]["msg"]
    shown = layers(agent.status(), "proxy")
    off = {name for name, layer in shown.items() if not layer.get("in_force")}
    assert off == {"limits", "landlock_files", "landlock_ports", "landlock_scopes", "seccomp"}
    assert {shown[name]["why"] for name in off} == {"--sandbox=off"}
    facts = status_of(agent.proxy_pid())
    assert facts["Seccomp"] == "0" and facts["NoNewPrivs"] == "1" and int(facts["CapEff"], 16) == 0
    text = run("tabardctl", "status", "--admin", agent.folder / "admin.sock").stdout
    assert "seccomp MISSING: --sandbox=off" in text
    assert agent.metric("tabard_sandbox_layer", program="proxy", layer="seccomp") == 0
