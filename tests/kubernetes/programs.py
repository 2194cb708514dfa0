# SPDX-License-Identifier: Apache-2.0
"""The programs and images that the tests on Kubernetes need. They are built from Go's module proxy, at the versions that go.mod
and go.sum pin, once (some 15 minutes of CPU time), and kept in out/kubernetes."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import images
from daemon import Failed
from node import CGROUPS

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "out/kubernetes"
FOLDER = OUT / "bin"
GO_LEAST = (1, 26)
GO_TOOLCHAIN = "golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64"

# From name to the folder of the module, in here, and the package.
PACKAGES = {
    "etcd": (".", "go.etcd.io/etcd/server/v3"),
    **{name: (".", f"k8s.io/kubernetes/cmd/{name}")
       for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")},
    "coredns": ("dns", "."),
    "app": ("app", "."),
}
# From tag to the program in the image, which holds busybox besides.
IMAGES = {
    "localhost/pause:1": ["/bin/busybox", "sleep", "infinity"],
    "localhost/coredns:1": ["/bin/coredns"],
    "localhost/app:1": ["/bin/app"],
}
BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "sleep", "wget", "nc", "cat", "kill", "ls", "ps", "id", "grep", "pidof", "tr")
DEBIAN = {"containerd": "containerd", "ctr": "containerd", "runc": "runc", "nft": "nftables"}


def why_no_node():
    """Why there can't be a place for a cluster here, or None."""
    if os.geteuid() != 0:
        return "a cluster needs root"
    if not shutil.which("ip"):
        return "missing here: iproute2 (Debian package)"
    tried = subprocess.run(["unshare", "--net", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"namespaces can't be made here: {tried.stderr.strip()}"
    probe = CGROUPS / "memory/tabard-probe" if (CGROUPS / "memory").exists() else CGROUPS / "tabard-probe"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"control groups can't be made here: {error}"
    return None


def why_not():
    """Why a cluster can't be started here, or None."""
    reason = why_no_node()
    if reason:
        return reason
    missing = [package for program, package in DEBIAN.items() if not shutil.which(program)]
    missing += [package for path, package in ((BUSYBOX, "busybox-static"),
                                              (Path("/usr/lib/cni/ptp"), "containernetworking-plugins")) if not path.exists()]
    if missing:
        return f"missing here: {' '.join(dict.fromkeys(missing))} (Debian packages)"
    if not _unbuilt():
        return None
    return None if _find_go() else "no Go is here (any; golang of Debian would do)"


def kubernetes_version():
    return re.search(r"k8s.io/kubernetes v(\S+)", (HERE / "go.mod").read_text())[1]


def _flags(name):
    link = "-s -w"
    if PACKAGES[name][1].startswith("k8s.io/"):
        version = kubernetes_version()
        major, minor, _ = version.split(".")
        at = "-X k8s.io/component-base/version"
        link += f" {at}.gitVersion=v{version} {at}.gitMajor={major} {at}.gitMinor={minor} {at}.gitTreeState=clean"
    return ["-trimpath", "-ldflags", link]


def _made_of(name):
    """What stands for everything that a program is built from."""
    folder, package = PACKAGES[name]
    files = [*(HERE / folder).glob("go.*"), *((HERE / folder).glob("*.go") if package == "." else [])]
    total = hashlib.sha256(" ".join([package, *_flags(name)]).encode())
    for file in sorted(files):
        total.update(file.read_bytes())
    return total.hexdigest()


def _stamp(name):
    return FOLDER / f".{name}"


def _unbuilt():
    return [name for name in PACKAGES if not (FOLDER / name).exists() or not _stamp(name).exists()
            or _stamp(name).read_text() != _made_of(name)]


def build(names=None):
    """Builds what is missing or of other sources than these."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in _unbuilt() if names is None or name in names]
    go = _toolchain() if wanted else None
    for name in wanted:
        print(f"building {name}", flush=True)
        folder, package = PACKAGES[name]
        half = FOLDER / f".{name}.half"
        done = subprocess.run([go, "build", *_flags(name), "-o", half, package], cwd=HERE / folder, text=True, capture_output=True,
                              env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"})
        if done.returncode != 0:
            raise Failed(f"go build {package}: {done.stderr.strip()}")
        half.rename(FOLDER / name)
        _stamp(name).write_text(_made_of(name))


def _find_go():
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def _version(go):
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, cwd="/", env=os.environ | {"GOTOOLCHAIN": "local"})
    found = re.match(r"go(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _why(download):
    """What `go mod download -json` complained of."""
    try:
        return json.loads(download.stdout)["Error"]
    except (ValueError, KeyError):
        return download.stderr.strip()


def _toolchain():
    """A Go that is new enough: this machine's, or the one that it gets as a module, by any Go, and keeps."""
    go = _find_go()
    if not go:
        raise Failed("no Go is here (any; golang of Debian would do)")
    kept = OUT / "go"
    if _version(go) >= GO_LEAST:
        return go
    if not (kept / "bin/go").exists():
        with tempfile.TemporaryDirectory() as folder:  # where no go.mod is, which an old Go would not understand
            done = subprocess.run([go, "mod", "download", "-json", GO_TOOLCHAIN], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            has = ".".join(map(str, _version(go)))
            raise Failed(f"Go {has} is too old, and {GO_TOOLCHAIN} is not to be had: {_why(done)}")
        half = OUT / "go.half"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(json.loads(done.stdout)["Dir"], half)
        for file in half.rglob("*"):  # a module holds no modes, and no go.mod below its own
            file.chmod(0o755)
        for file in half.rglob("_go.mod"):
            file.rename(file.with_name("go.mod"))
        half.rename(kept)
    return kept / "bin/go"


def archive(tag):
    """The archive of an image of IMAGES, made anew where what it holds is."""
    entrypoint = IMAGES[tag]
    files = {"/bin/busybox": BUSYBOX}
    if entrypoint[0] != "/bin/busybox":
        files[entrypoint[0]] = FOLDER / Path(entrypoint[0]).name
    (OUT / "images").mkdir(parents=True, exist_ok=True)
    path = OUT / "images" / f"{tag.split('/')[1].replace(':', '-')}.tar"
    if not path.exists() or path.stat().st_mtime < max(file.stat().st_mtime for file in [Path(__file__), *files.values()]):
        images.write_archive(path, tag, files, links={f"/bin/{name}": "busybox" for name in APPLETS}, entrypoint=entrypoint)
    return path
