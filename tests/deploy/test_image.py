# SPDX-License-Identifier: Apache-2.0
"""The image: what is in it, that it is the same each time, and that its programs run in it with nothing else there."""
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

import build
import netns
import root

NAME = "localhost/tabard:test"
PROGRAMS = [Path(program).name for program in root.PROGRAMS]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The folder that holds the archive, and what build said of it."""
    out = tmp_path_factory.mktemp("image")
    return out, build.build(out, NAME)


@pytest.fixture(scope="module")
def archive(image):
    """{path: bytes} of the archive's files."""
    with tarfile.open(image[0] / "tabard.tar") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def blob(archive, descriptor):
    content = archive["blobs/" + descriptor["digest"].replace(":", "/")]
    assert len(content) == descriptor["size"]
    assert hashlib.sha256(content).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    return content


@pytest.fixture(scope="module")
def manifest(archive):
    return json.loads(blob(archive, json.loads(archive["index.json"])["manifests"][0]))


@pytest.fixture(scope="module")
def layer(archive, manifest):
    """The members of the one layer, by path, and the tar."""
    with tarfile.open(fileobj=io.BytesIO(blob(archive, manifest["layers"][0]))) as tar:
        yield {member.name: member for member in tar}, tar


def test_two_builds_of_the_same_programs_are_the_same_bytes(image, tmp_path):
    copies = []
    for program in root.PROGRAMS:  # elsewhere, with other times and another mode
        copies.append(Path(shutil.copy(build.TREE / program, tmp_path)))
        copies[-1].chmod(0o700)
    build.build(tmp_path / "again", NAME, copies)
    for file in ["tabard.tar", "tabard.cdx.json"]:
        assert (tmp_path / "again" / file).read_bytes() == (image[0] / file).read_bytes(), file


def test_it_is_small(image, layer):
    assert image[1]["unpacked"] < 22e6
    assert image[1]["packed"] < 10e6
    assert image[1]["unpacked"] == sum(member.size for member in layer[0].values())


def test_containerd_and_docker_find_the_same_blobs_under_the_same_name(archive, manifest):
    index = json.loads(archive["index.json"])
    docker = json.loads(archive["manifest.json"])
    assert json.loads(archive["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert [described["annotations"]["io.containerd.image.name"] for described in index["manifests"]] == [NAME]
    assert docker == [{"Config": "blobs/" + manifest["config"]["digest"].replace(":", "/"), "RepoTags": [NAME],
                       "Layers": ["blobs/" + layer["digest"].replace(":", "/") for layer in manifest["layers"]]}]


def test_a_container_of_it_is_the_agent_as_a_numeric_user(archive, manifest):
    config = json.loads(blob(archive, manifest["config"]))
    assert config["config"]["User"] == "1337:1337"
    assert config["config"]["Entrypoint"] == ["/usr/bin/tabard-agent"]
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == build.version()
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", config["config"]["Labels"]["org.opencontainers.image.revision"])
    assert config["os"] == "linux"


def test_it_holds_the_programs_and_their_libraries_and_no_other_program(layer):
    members = layer[0]
    assert sorted(path.removeprefix("usr/bin/") for path in members if path.startswith("usr/bin/")) == sorted(PROGRAMS)
    elsewhere = [path for path, member in members.items() if member.isfile() and member.mode & 0o111
                 and not re.fullmatch(r"usr/bin/tabard[a-z-]*|usr/lib(64)?/(\S+/)?(lib\S+|ld-linux-\S+)\.so(\.\d+)*", path)]
    assert elsewhere == []
    assert [path for path, member in members.items() if member.mode & 0o6000] == []
    assert [path for path, member in members.items() if member.uid or member.gid] == []
    assert [path for path, member in members.items() if not member.issym() and member.mode & 0o022] == ["tmp"]


def test_what_is_in_it_is_listed_with_package_licence_and_checksum(image, layer):
    members, tar = layer
    listed = json.loads((image[0] / "tabard.cdx.json").read_text())
    components = {component["name"]: component for component in listed["components"]}
    nested = [*components.values(), listed["metadata"]["component"]]
    sums = {file["name"]: file["hashes"][0]["content"] for owner in nested for file in owner.get("components", [])}
    sums.update({f"usr/bin/{program}": components[program]["hashes"][0]["content"] for program in PROGRAMS})
    assert sums == {path: hashlib.sha256(tar.extractfile(member).read()).hexdigest()
                    for path, member in members.items() if member.isfile()}
    libc = subprocess.check_output(["dpkg-query", "-W", "-f", "${Version}", "libc6"], text=True)
    assert components["libc6"]["version"] == libc
    assert f"\nVersion: {libc}\n".encode() in tar.extractfile("var/lib/dpkg/status.d/libc6").read()
    assert components["libjansson4"]["licenses"] == [{"expression": "MIT"}]
    strangers = [name for name, component in components.items() if component["bom-ref"].startswith("file:")]
    assert strangers == [], "libraries of no Debian package"


def test_the_licence_of_all_that_is_passed_on_lies_in_it(image, layer):
    listed = json.loads((image[0] / "tabard.cdx.json").read_text())
    passed_on = {component["name"].lower() for component in listed["components"]
                 if component["type"] == "library" and component.get("scope") != "excluded"}
    assert passed_on <= {path.split("/")[3] for path in layer[0] if re.fullmatch("usr/share/doc/[^/]+/copyright", path)}
    assert {"boringssl", "libstdc++-12-dev", "libmicrohttpd-dev"} <= passed_on or "debian-12" not in str(listed)
    boringssl = layer[1].extractfile("usr/share/doc/boringssl/copyright").read().decode()
    assert "Apache License" in boringssl and "Redistributions in binary form must reproduce" in boringssl


def test_no_program_in_it_loads_a_tls_or_a_cxx_library(layer):
    loaded = [path for path in layer[0] if re.search(r"/lib(gnutls|ssl|crypto|nettle|stdc\+\+|gcc_s)\.", path)]
    assert loaded == []


# From here on: in the image's own file system.

in_the_image = pytest.mark.skipif(os.geteuid() != 0, reason="a root of its own needs root")


@pytest.fixture(scope="module")
def unpacked(layer, tmp_path_factory):
    """The layer in a folder, with the files that a kubelet mounts."""
    folder = tmp_path_factory.mktemp("root")
    folder.chmod(0o755)
    layer[1].extractall(folder)
    for file in ["hosts", "resolv.conf"]:
        (folder / "etc" / file).touch()
    (folder / "mnt").mkdir()
    return folder


def inside(folder, *command, user=root.USER, prefix=(), mounts=()):
    """What a program says that runs where nothing but the image is, on a read-only root."""
    steps = [f"mount --rbind {folder} {folder}", f"mount -o remount,bind,ro {folder}", f"mount -t proc proc {folder}/proc",
             f"mount -t tmpfs tmpfs {folder}/tmp"]
    steps += [f"mount --bind {source} {folder}/{target}" for source, target in mounts]
    script = " && ".join([*steps, f'exec chroot --userspec={user}:{user} --groups= {folder} "$@"'])
    done = subprocess.run([*prefix, "unshare", "--mount", "--pid", "--fork", "--kill-child", "env", "-i", "PATH=/usr/sbin:/usr/bin",
                           "sh", "-c", script, "sh", *command], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@in_the_image
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_starts_with_nothing_but_the_image(unpacked, program):
    status, said = inside(unpacked, f"/usr/bin/{program}", "--version")
    assert (status, said.split()[:2]) == (0, [program, build.version()]), said


@pytest.fixture(scope="module")
def pod():
    why = netns.why_not()
    if why:
        pytest.skip(why)
    network = netns.Network("image", ["pod"])
    yield network["pod"]
    network.close()


@contextlib.contextmanager
def name_server(namespace, names):
    """Answers A questions for `names` at 127.0.0.1:53 of a namespace; other names don't exist."""
    with namespace.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def serve():
        while True:
            question, caller = server.recvfrom(512)
            if not question:
                return
            end = question.index(b"\0", 12)
            name = b".".join(re.findall(rb"[\x01-\x20]([a-z0-9-]+)", question[12:end])).decode()
            address = names.get(name)
            head = question[:2] + bytes([0x81, 0x80 if address else 0x83]) + b"\0\1\0" + bytes([bool(address)]) + b"\0\0\0\0"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton(address) if address else b""
            server.sendto(head + question[12:end + 5] + answer, caller)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.sendto(b"", ("127.0.0.1", 53))
    thread.join()
    server.close()


@in_the_image
def test_names_resolve_by_dns_and_by_the_hosts_file(unpacked, pod, tmp_path):
    tmp_path.chmod(0o755)
    probe = tmp_path / "resolve"
    subprocess.run(["gcc", "-o", probe, Path(__file__).with_name("resolve.c")], check=True)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\nsearch shop.svc.cluster.example\noptions ndots:5\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n10.9.8.7 pod-1\n")
    mounts = [(tmp_path, "mnt"), (tmp_path / "resolv.conf", "etc/resolv.conf"), (tmp_path / "hosts", "etc/hosts")]
    with name_server(pod, {"tabard-policyd.tabard-system.svc": "10.96.0.7", "web.shop.svc.cluster.example": "10.96.0.8"}):
        status, said = inside(unpacked, "/mnt/resolve", "tabard-policyd.tabard-system.svc", "web", "pod-1", "nobody",
                              prefix=pod.command([]), mounts=mounts)
    assert said.splitlines() == ["tabard-policyd.tabard-system.svc 10.96.0.7", "web 10.96.0.8", "pod-1 10.9.8.7",
                                 "nobody Name or service not known"]
    assert status == 0


@in_the_image
def test_the_rules_of_interception_are_those_that_a_whole_system_makes(unpacked, pod):
    def table(make):
        make()
        listed = pod.run("nft", "list", "table", "inet", "tabard").stdout
        pod.run("nft", "delete", "table", "inet", "tabard")
        return re.sub("packets [0-9]+ bytes [0-9]+", "", listed)

    def by_image():
        status, said = inside(unpacked, "/usr/bin/tabardctl", "intercept", "up", user=0, prefix=pod.command([]))
        assert status == 0, said

    assert "redirect to :15001" in table(by_image)
    assert table(by_image) == table(lambda: pod.run(build.TREE / "bazel-bin/control/ctl/tabardctl", "intercept", "up"))
