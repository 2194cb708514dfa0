# SPDX-License-Identifier: Apache-2.0
"""What is done to the world. Each event undoes what it did, but for what the programs must mend by themselves, and says what it
may cost: open connections, calls that are made meanwhile, or neither; and whether traffic may pass in the clear, and for how long."""
import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

from mesh import wait_until
from world import SIDECARS

PAIR = ("web", "api")
NOTICED_S = 60  # within which a sidecar knows that its stream leads nowhere
CLEAR_S = 0.2  # for connections that were under way when the rules came back


@dataclass
class Event:
    name: str
    run: Callable  # (world, chance) -> what exactly was done
    breaks_connections: bool = False
    fails_calls: bool = False
    clear_s: float = 0


def hold(seconds):
    time.sleep(seconds)  # the time itself is what is done to the world


def kill_proxy(world, chance):
    name = chance.choice(PAIR)
    os.kill(world.pids(name)[1], signal.SIGKILL)
    return f"{name}'s proxy"


def kill_agent(world, chance):
    name = chance.choice(PAIR)
    agent = world.agents[name]
    agent.process.kill()
    agent.process.wait()
    hold(chance.uniform(0, 2))
    world.restart(agent)
    return f"{name}'s agent"


def stop_sidecar(world, chance):
    name = chance.choice(PAIR)
    agent = world.agents[name]
    agent.process.send_signal(signal.SIGTERM)
    agent.process.wait(60)
    world.restart(agent)
    return f"{name}: exit {agent.process.returncode}" if agent.process.poll() else name


def kill_policyd(world, chance):
    how = chance.choice((signal.SIGKILL, signal.SIGTERM))
    world.policyd.stop(how)
    hold(chance.uniform(0, 3))
    world.restart(world.policyd)
    return how.name


def freeze(pids, seconds):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    hold(seconds)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def freeze_sidecar(world, chance):
    name, which = chance.choice(PAIR), chance.choice(("agent", "proxy", "both"))
    agent, proxy = world.pids(name)
    seconds = chance.uniform(1, 7)
    freeze({"agent": [agent], "proxy": [proxy], "both": [agent, proxy]}[which], seconds)
    return f"{name}'s {which}, {seconds:.0f} s"


def hang_proxy(world, chance):
    name = chance.choice(PAIR)
    pid = world.pids(name)[1]
    os.kill(pid, signal.SIGSTOP)
    wait_until("the hung proxy is replaced", lambda: world.pids(name)[1] not in (pid, None), 60)
    return f"{name}'s proxy, until it was replaced"


def freeze_policyd(world, chance):
    seconds = chance.uniform(1, 12)
    freeze([world.policyd.process.pid], seconds)
    return f"{seconds:.0f} s"


def clock_jump(world, chance):
    name = chance.choice((*SIDECARS, "policyd"))
    by = chance.choice((-3600, -90, 90, 3600))
    world.clocks[name].set_wall(by)
    hold(chance.uniform(1, 8))
    world.clocks[name].set_wall(0)
    return f"{name}'s by {by:+d} s, and back"


def back_in_place(world, name):
    started = time.monotonic()
    wait_until("the table is back", lambda: world.net[name].run("nft", "list", "table", "inet", "tabard", check=False).returncode == 0)
    return f"the table was back after {time.monotonic() - started:.2f} s"


def signal_all(world, chance):
    name, kind = chance.choice((*SIDECARS, "policyd")), chance.choice((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))
    if name == "policyd":
        os.kill(world.policyd.process.pid, kind)
    else:
        os.killpg(world.agents[name].process.pid, kind)
    return f"{kind.name} to {name}"


def join_late(world, chance):
    """A sidecar that starts while something that a join needs is wrong for some seconds."""
    name, what = chance.choice(PAIR), chance.choice(("its clock", "policyd's clock", "no CA's key"))
    key = world.policyd.folder / "ca/ca.key"
    by = 0 if what == "no CA's key" else chance.choice((-3600, -90, 90, 3600))
    clock = world.clocks[name if what == "its clock" else "policyd"]
    agent = world.agents[name]
    agent.process.kill()
    agent.process.wait()
    clock.set_wall(by)
    if not by:
        key.rename(key.with_suffix(".away"))
    try:
        world.restart(agent)
        hold(chance.uniform(2, 5))
    finally:
        clock.set_wall(0)
        if not by:
            key.with_suffix(".away").rename(key)
    return f"{name}: {what}{f' {by:+d} s' if by else ''}"


def flush_rules(world, chance):
    name = chance.choice(PAIR)
    world.net[name].run("nft", "flush", "ruleset")
    return f"{name}'s; {back_in_place(world, name)}"


def delete_table(world, chance):
    name = chance.choice(PAIR)
    world.net[name].run("nft", "delete", "table", "inet", "tabard")
    return f"{name}'s; {back_in_place(world, name)}"


def full_disk(world, chance, and_then=lambda: None):
    filler = world.disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    and_then()
    seconds = chance.uniform(1, 5)
    hold(seconds)
    filler.unlink()
    return f"{seconds:.0f} s"


def full_disk_and_kill(world, chance):
    return full_disk(world, chance, lambda: os.kill(world.pids(chance.choice(PAIR))[1], signal.SIGKILL))


def slow_log(world, chance):
    name = chance.choice((*SIDECARS, "policyd"))
    world.logs[name].may_read.clear()
    hold(chance.uniform(2, 6))
    world.logs[name].may_read.set()
    return name


def lost_wire(world, chance):
    name = chance.choice((*PAIR, "policy"))
    seconds = chance.uniform(1, 6)
    wire = ["ip", "-n", world.net.wire.name, "link", "set", name]
    subprocess.run([*wire, "nomaster"], check=True)  # the carrier stays: nobody is told
    hold(seconds)
    subprocess.run([*wire, "master", "wire"], check=True)
    return f"{name}'s, {seconds:.0f} s"


def lose_policyd(world, chance):
    """A wire that is silent for long: nobody is told, and the sidecar must find out by itself."""
    name = chance.choice(PAIR)
    wire = ["ip", "-n", world.net.wire.name, "link", "set", "policy"]
    subprocess.run([*wire, "nomaster"], check=True)
    started = time.monotonic()
    try:
        wait_until(f"{name} knows that it follows nobody",
                   lambda: world.agents[name].metric("tabard_policy_agent_connected") == 0, NOTICED_S)
        return f"{name} knew after {time.monotonic() - started:.0f} s"
    finally:
        subprocess.run([*wire, "master", "wire"], check=True)


def bad_file(world, chance):
    """Something in the fleet that is none, through which a change of another file must get."""
    path = world.policyd.folder / "fleet" / "chaos.yaml"
    kind = chance.choice(("garbage", "half", "fifo", "folder", "huge", "link", "binary", "loop"))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(world.folder / "nowhere")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes({"garbage": b"workloads: [{spiffe_id: 7}]\n", "half": b"policies:\n  - {targets: [", "binary": os.urandom(9999),
                          "huge": b"# " + b"x" * (5 << 20)}[kind])
    hold(1)
    try:
        world.change_and_see(f"with a {kind} in the fleet")
        if chance.random() < 0.5:
            world.policyd.stop()
            world.restart(world.policyd)
            world.change_and_see(f"with a {kind} in the fleet, after a restart")
    finally:
        path.rmdir() if kind == "folder" else path.unlink()
    return kind


EVENTS = [
    Event("kill a proxy", kill_proxy, True, True),
    Event("kill an agent", kill_agent, True, True),
    Event("stop a sidecar", stop_sidecar, True, True),
    Event("join late", join_late, True, True),
    Event("signals", signal_all),
    Event("kill or stop policyd", kill_policyd),
    Event("freeze a sidecar", freeze_sidecar),
    Event("hang a proxy", hang_proxy, True, True),
    Event("freeze policyd", freeze_policyd),
    Event("clock jump", clock_jump, True, True),
    Event("flush all rules", flush_rules, True, True, CLEAR_S),
    Event("delete the table", delete_table, True, True, CLEAR_S),
    Event("full disk", full_disk),
    Event("full disk, a proxy killed", full_disk_and_kill, True, True),
    Event("slow log", slow_log),
    Event("lost wire", lost_wire),
    Event("lose policyd", lose_policyd),
    Event("bad file in the fleet", bad_file),
]
