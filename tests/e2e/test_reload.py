# SPDX-License-Identifier: Apache-2.0
"""New certificates and new configuration on a running pair: good ones without a failed request, bad ones without effect."""
import copy
import json
import os
import shutil
import socket
import ssl
import threading
from pathlib import Path

import pytest

from ca import HOUR
from foreign import attempt, tls
from mesh import API, DOMAIN, STRANGER, WEB, Agent, connect, exchange, free_port, wait_until
from pair import Pair, allow, bundles, identity, server_config, serving


class Load:
    """Requests, each on a new connection, from a few threads until told to stop. Every answer that isn't right is kept."""

    def __init__(self, address, threads=2):
        self.address, self.failures, self.num_done, self.over = address, [], 0, threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.over.is_set():
            try:
                with connect(self.address) as sock:
                    if exchange(sock, b"x" * 100) != b"x" * 100:
                        raise ConnectionError("wrong or short answer")
                self.num_done += 1
            except OSError as error:
                self.failures.append(repr(error))

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Volume:
    """Files as a Kubernetes volume shows them: names that point through ..data, which is swapped in one step."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.number = 0

    def swap(self, files):
        self.number += 1
        new = self.folder / f"..{self.number}"
        new.mkdir()
        for name, source in files.items():
            shutil.copy(source, new / name)
        (self.folder / "..data_tmp").symlink_to(new.name)
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        old = self.folder / f"..{self.number - 1}"
        if old.exists():
            shutil.rmtree(old)


def test_fifty_rotations_under_load_fail_no_request(keep, authority, tmp_path, record_property):
    pair = keep(Pair(authority))
    volumes = {}
    for agent, spiffe_id in ((pair.server, API), (pair.client, WEB)):
        volumes[agent] = volume = Volume(tmp_path / agent.name)
        first = authority.issue(agent.name, spiffe_id)
        volume.swap({"svid.pem": first.chain, "svid.key": first.key})
        agent.config["identity"] = {"certificate": str(volume.folder / "svid.pem"), "key": str(volume.folder / "svid.key")}
        agent.apply()
    load = Load(pair.client.address("127.0.0.1:0"))
    with pair.connect() as old:
        assert exchange(old, b"before") == b"before"
        for number in range(50):
            agent, spiffe_id = ((pair.server, API), (pair.client, WEB))[number % 2]
            made = authority.issue(agent.name, spiffe_id)
            mark = agent.mark()
            volumes[agent].swap({"svid.pem": made.chain, "svid.key": made.key})
            agent.wait_line(mark, msg="snapshot in force")
        load.stop()
        assert exchange(old, b"after") == b"after", "a connection from before the first rotation goes on"
    record_property("requests", load.num_done)
    assert load.failures == []
    assert load.num_done > 50
    for agent in pair.agents():
        assert agent.metric("tabard_snapshot_rejected_total") == 0


def test_a_new_certificate_is_the_one_shown(keep, authority, service):
    first, second = authority.issue("api", API), authority.issue("api", API)
    server = keep(Agent("payments", server_config(authority, service.address, certificate=first)))
    web = authority.issue("web", WEB)

    def shown():
        with tls(server.address("127.0.0.1:0"), authority, web) as sock:
            return sock.getpeercert(binary_form=True)

    assert shown() == leaf(first)
    server.config["identity"] = identity(second)
    server.apply()
    assert shown() == leaf(second)


def leaf(certificate):
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(certificate.chain.read_text().split(end)[0] + end)


@pytest.fixture(scope="module")
def server(authority):
    with serving(authority) as agent:
        agent.good = copy.deepcopy(agent.config)
        agent.web = authority.issue("web", WEB)
        yield agent


def write(folder, name, content):
    path = Path(folder) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def pipe(folder):
    os.mkfifo(Path(folder) / "pipe")
    return str(Path(folder) / "pipe")


def self_link(folder):
    (Path(folder) / "loop").symlink_to("loop")
    return str(Path(folder) / "loop")


def half_an_identity(config, certificate):
    config["identity"] = identity(certificate)
    return config


def long_winded(authority):
    """A chain of two certificates, neither of which is too long by itself."""
    comment = ("nsComment=" + "x" * 20000,)
    between = authority.forge("between", ca=True, usage="keyCertSign", extra=comment)
    leaf = authority.forge("a", API, signer=between, extra=comment)
    leaf.chain.write_bytes(leaf.chain.read_bytes() + between.chain.read_bytes())
    return leaf


def as_text(change):
    """A configuration whose text, not its meaning, is changed."""
    return lambda config, *_: change(json.dumps(config, indent=2) + "\n")


def changed(change):
    def make(config, ours, other, folder):
        change(config, ours, other, folder)
        return config
    return make


def put(path, value):
    """Sets config[...path...] = value."""
    def change(config, *_):
        for step in path[:-1]:
            config = config[step]
        config[path[-1]] = value
    return changed(change)


def policy(**facts):
    return {**allow("shop-may-pay", WEB), **facts}


# How mesh.yaml, or what it names, is spoilt -> words that the refusal must hold.
BAD = {
    "broken YAML": (as_text(lambda text: text[:-20]), ["mesh.yaml:"]),
    "an empty file": (as_text(lambda text: ""), ["mesh.yaml"]),
    "not YAML at all": (as_text(lambda text: "\x00\x01\x02"), ["mesh.yaml"]),
    "an unknown field": (put(["polices"], []), ["mesh.yaml:", "polices", "policies"]),
    "a wrong enum": (put(["policies", 0, "action"], "PERMIT"), ["mesh.yaml:", "policies[0].action", "PERMIT", "ALLOW"]),
    "an enum's zero": (put(["policies", 0, "mode"], "MODE_UNSPECIFIED"), ["mesh.yaml:", "policies[0].mode"]),
    "a missing action": (put(["policies", 0], {k: v for k, v in policy().items() if k != "action"}),
                         ["mesh.yaml:", "policies[0]", "action"]),
    "a duplicate policy name": (put(["policies"], [policy(), policy()]), ["mesh.yaml:", "policies[1].name", "shop-may-pay"]),
    "port 70000": (put(["policies", 0, "ports"], [70000]), ["mesh.yaml:", "policies[0].ports[0]", "70000"]),
    "an IPv6 zone": (put(["policies", 0, "rules"], [{"source_ips": ["fe80::1%eth0"]}]),
                     ["mesh.yaml:", "policies[0].rules[0].source_ips[0]", "fe80::1%eth0"]),
    "a CIDR with host bits": (put(["policies", 0, "rules"], [{"source_ips": ["10.1.2.3/16"]}]),
                              ["mesh.yaml:", "policies[0].rules[0].source_ips[0]", "10.1.0.0/16"]),
    "no rules in an ALLOW": (put(["policies", 0, "rules"], []), ["mesh.yaml:", "policies[0]", "rules"]),
    "ports that are written and none": (put(["policies", 0, "ports"], []), ["mesh.yaml:", "policies[0].ports", "at least one"]),
    "a port that is null": (put(["policies", 0, "ports"], [None]), ["mesh.yaml:", "policies[0].ports[0]", "no value"]),
    "principals that are written and none": (put(["policies", 0, "rules"], [{"principals": [], "source_ips": ["127.0.0.0/8"]}]),
                                             ["mesh.yaml:", "policies[0].rules[0].principals", "at least one"]),
    "CRLs that are written and none": (put(["trust_bundles", 0, "crls"], ""), ["mesh.yaml:", "trust_bundles[0].crls", "empty"]),
    "an empty rule in an ALLOW": (put(["policies", 0, "rules"], [{}]), ["mesh.yaml:", "policies[0].rules[0]"]),
    "a principal that is no SPIFFE id": (put(["policies", 0, "rules"], [{"principals": ["web"]}]),
                                         ["mesh.yaml:", "policies[0].rules[0].principals[0]"]),
    "an inbound port twice": (
        changed(lambda config, *_: config["inbound_ports"].append({"port": 8080, "mode": "MTLS"})), ["mesh.yaml:", "inbound_ports[1]"]),
    "10 MB": (as_text(lambda text: text + "# " + "x" * (10 << 20) + "\n"), ["mesh.yaml"]),
    "another certificate's key": (
        changed(lambda config, ours, *_: config["identity"].update(key=str(ours.issue("b", API).key))), ["key"]),
    "an expired leaf": (changed(lambda config, ours, *_: half_an_identity(config, ours.forge("a", API, end=-60))), ["expired"]),
    "a leaf not yet valid": (changed(lambda config, ours, *_: half_an_identity(
        config, ours.forge("a", API, start=HOUR, end=2 * HOUR))), ["valid"]),
    "a leaf without a URI name": (changed(lambda config, ours, *_: half_an_identity(config, ours.forge("a"))), ["URI"]),
    "a leaf with two URI names": (changed(lambda config, ours, *_: half_an_identity(config, ours.forge("a", API, WEB))), ["URI"]),
    "a CA as leaf": (changed(lambda config, ours, *_: half_an_identity(
        config, ours.forge("a", API, ca=True, usage="digitalSignature,keyCertSign"))), ["CA"]),
    "a chain without its intermediate": (changed(lambda config, ours, *_: half_an_identity(
        config, ours.forge("a", API, signer=ours.forge("between", ca=True, usage="keyCertSign")))), ["chain", "issue", "trust", "sign"]),
    "a chain longer than peers take": (changed(lambda config, ours, *_: half_an_identity(config, long_winded(ours))), ["32768"]),
    "the bundle of another domain": (changed(lambda config, ours, other, _: config.update(trust_bundles=bundles(other))),
                                     ["demo.example"]),
    "garbage in a PEM file": (changed(lambda config, ours, other, folder: config["trust_bundles"][0].update(
        roots=write(folder, "garbage.pem", b"-----BEGIN CERTIFICATE-----\n@@@@\n-----END CERTIFICATE-----\n"))), ["garbage.pem"]),
    "no PEM in a PEM file": (changed(lambda config, ours, other, folder: config["trust_bundles"][0].update(
        roots=write(folder, "random.pem", os.urandom(500)))), ["random.pem"]),
    "a file that isn't there": (put(["identity", "certificate"], "nowhere.pem"), ["nowhere.pem"]),
    "a folder for a file": (put(["identity", "certificate"], "/tmp"), ["/tmp"]),
    "a pipe that nobody writes": (changed(lambda config, ours, other, folder: config["identity"].update(key=pipe(folder))), ["pipe"]),
    "a file without an end": (put(["identity", "certificate"], "/dev/zero"), ["/dev/zero"]),
    "a link to itself": (changed(lambda config, ours, other, folder: config["identity"].update(key=self_link(folder))), ["loop"]),
    "a leaf with a key that is too weak": (changed(lambda config, ours, *_: half_an_identity(
        config, ours.forge("a", API, key="rsa1024"))), ["RSA", "1024"]),
    "a key of a kind that the mesh doesn't sign with": (changed(lambda config, ours, *_: half_an_identity(
        config, ours.forge("a", API, key="p521"))), ["P-521", "P-256"]),
    "a port that is in use": (changed(lambda config, *_: config["inbound_ports"].append(
        {"port": 81, "mode": "MTLS", "listen": f"127.0.0.1:{TAKEN.getsockname()[1]}"})), ["127.0.0.1:", "in use"]),
}
# One of these words is enough, for causes that can be put in many ways.
ANY_WORD = {"a chain without its intermediate", "a leaf with a key that is too weak", "a key of a kind that the mesh doesn't sign with"}

TAKEN = socket.create_server(("127.0.0.1", 0))


@pytest.mark.parametrize("what", BAD)
def test_an_update_changes_nothing_that_has(server, authority, other_authority, tmp_path, what):
    spoil, words = BAD[what]
    bad = spoil(copy.deepcopy(server.good), authority, other_authority, tmp_path)
    generation, rejected = server.status()["generation"], refusals(server)
    mark = server.mark()
    line = server.refuse(bad if isinstance(bad, str) else json.dumps(bad, indent=2) + "\n")
    error = line["error"]
    hits = [word in error for word in words]
    assert any(hits) if what in ANY_WORD else all(hits), error
    assert line["kept_generation"] == str(generation)
    assert "\n" not in error and len(server.lines(mark, msg="update refused")) == 1
    status = server.status()
    assert status["generation"] == generation and status["ready"]
    assert status["last_error"] == error
    wait_until("the refusal is counted", lambda: refusals(server) > rejected)  # a port in use is tried again, and refused again
    assert attempt(server.address("127.0.0.1:0"), authority, server.web) == b"hello"
    # What was good is good again, and the error is over.
    server.config = copy.deepcopy(server.good)
    server.config["settings"]["drain_seconds"] = 1 + int(generation) % 60
    server.apply()
    assert not server.status().get("last_error")


def refusals(server):
    """A file that can't be read is counted apart from one that says something wrong."""
    return server.metric("tabard_snapshot_rejected_total") + server.metric("tabard_source_errors_total")


def test_a_mesh_file_that_vanishes_and_returns(server):
    mark = server.mark()
    generation = server.status()["generation"]
    path = server.folder / "mesh.yaml"
    text = path.read_text()
    path.unlink()
    line = server.wait_line(mark, msg="update refused")
    assert "mesh.yaml" in line["error"] and line["kept_generation"] == str(generation)
    assert server.status()["ready"]
    server.config["settings"]["drain_seconds"] = 77
    server.apply()
    assert text != path.read_text()


def test_a_half_written_file_is_completed_without_harm(server, authority):
    """In place, not by rename: whatever the agent reads in between is refused or the whole."""
    server.config = copy.deepcopy(server.good)
    server.config["policies"].append(allow("late", STRANGER))
    text = json.dumps(server.config, indent=2) + "\n"
    mark = server.mark()
    with open(server.folder / "mesh.yaml", "w") as file:
        file.write(text[:len(text) // 2])
        file.flush()
        os.fsync(file.fileno())
        assert attempt(server.address("127.0.0.1:0"), authority, server.web) == b"hello"
        file.write(text[len(text) // 2:])
    server.wait_line(mark, msg="snapshot in force")
    assert attempt(server.address("127.0.0.1:0"), authority, authority.issue("x", STRANGER)) == b"hello"


def test_listeners_come_and_go_with_updates(keep, authority, service):
    pair = keep(Pair(authority))
    config = pair.client.config
    with pair.connect() as old:
        assert exchange(old, b"hello") == b"hello"
        config["forwards"].append({"listen": "127.0.0.3:0", "destination": config["forwards"][0]["destination"]})
        pair.client.apply()
        added = pair.client.address("127.0.0.3:0")
        with connect(added) as sock:
            assert exchange(sock, b"hello") == b"hello"
        config["forwards"].pop()
        pair.client.apply()
        with pytest.raises(ConnectionRefusedError):
            connect(added)
        assert exchange(old, b"hello") == b"hello"


def test_a_listener_widens_to_all_addresses_in_two_steps(keep, authority, service):
    agent = keep(Agent("payments", server_config(authority, service.address)))
    host, port = agent.address("127.0.0.1:0")
    web = authority.issue("web", WEB)
    entry = agent.config["inbound_ports"][0]
    entry["listen"] = f"{host}:{port}"  # as the kernel chose it: the open socket serves on
    agent.apply()
    assert attempt((host, port), authority, web) == b"hello"
    port = free_port()  # the kernel may give the one that it chose to a caller once it is closed
    entry["listen"] = f"{host}:{port}"
    agent.apply()
    assert attempt((host, port), authority, web) == b"hello"
    agent.config["inbound_ports"] = [entry | {"listen": f"0.0.0.0:{port}"}]
    assert "take the old entry out in one update" in agent.refuse()["error"]
    assert attempt((host, port), authority, web) == b"hello"
    agent.config["inbound_ports"] = []
    agent.apply()
    agent.config["inbound_ports"] = [entry | {"listen": f"0.0.0.0:{port}"}]
    agent.apply()
    assert attempt(("127.0.0.2", port), authority, web) == b"hello"


def test_a_second_trust_domain_may_be_added_while_running(keep, authority, other_authority, service):
    server = keep(Agent("payments", server_config(authority, service.address)))
    visitor = other_authority.issue("visitor", "spiffe://other.example/visitor")
    address = server.address("127.0.0.1:0")
    assert attempt(address, authority, visitor) != b"hello"
    server.config["trust_bundles"] += bundles(other_authority)
    server.config["policies"].append(allow("visitors", "spiffe://other.example"))
    server.apply()
    assert attempt(address, authority, visitor) == b"hello"
    assert attempt(address, authority, other_authority.forge("fake", WEB)) != b"hello", DOMAIN
