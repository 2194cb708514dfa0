# SPDX-License-Identifier: Apache-2.0
"""Makes the image from what Bazel built and from Debian's libraries: an archive, and beside it what is in it (CycloneDX)."""
import argparse
import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "sbom"))
import archive  # noqa: E402
import document  # noqa: E402
import root  # noqa: E402

TREE = root.TREE
NAME = re.compile(r"[a-z0-9]+([._:/-][a-z0-9]+)*/[a-z0-9._/-]+:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def _git(*arguments):
    """What git says of this tree, None where it isn't a checkout."""
    done = subprocess.run(["git", *arguments], cwd=TREE, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _epoch():
    """The time that every file of the image bears: SOURCE_DATE_EPOCH, or else that of the commit."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or 0)


def version():
    return document.version()


def _boringssl_licence():
    """The licence in BoringSSL's own tree, where Bazel keeps it; None: a prefix, which has none."""
    kept = Path(os.path.realpath(TREE / "bazel-bin").split("/execroot/")[0], "external/boringssl/src/LICENSE")
    return kept if kept.exists() else None


def _listed(found, programs, of_package, name, created, digest):
    """The bill of materials of the image, whose own files are those of no package."""
    contents = {Path(path).name: entry.content for path, entry in found.items() if path.startswith("usr/bin/")}
    files = {package: {path: found[path].content for path in paths} for package, paths in of_package.items()}
    listed = {path for paths in files.values() for path in paths}
    subject = document.subject("container", name.rpartition(":")[0], digest)
    subject["components"] = [{"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": document.sha256(entry.content)}
                             for path, entry in found.items() if entry.content is not None and path not in listed]
    return document.document(programs, contents, subject, files, created)


def _labels(created):
    labels = {"title": "Tabard", "description": "A mutual-TLS sidecar that gives a service an identity", "licenses": "Apache-2.0",
              "version": version(), "created": created, "revision": _git("describe", "--always", "--abbrev=40", "--dirty")}
    return {f"org.opencontainers.image.{key}": value for key, value in labels.items() if value}


def build(out, name, programs=None):
    """Writes tabard.tar and tabard.cdx.json into the folder `out`. Returns what it made: digest and sizes."""
    programs = programs or [TREE / program for program in root.PROGRAMS]
    epoch = _epoch()
    created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    found = root.entries(programs)
    of_package = root.add_papers(found, *document.materials(programs), _boringssl_licence())
    found = root.in_folders(found)
    layer = archive.layer(found, epoch)
    config = {"User": f"{root.USER}:{root.USER}", "Entrypoint": ["/usr/bin/tabard-agent"], "WorkingDir": "/",
              "Env": ["PATH=/usr/bin"], "Labels": _labels(created)}
    packed, digest = archive.pack(layer, config, architecture, created, name)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tabard.tar").write_bytes(packed)
    (out / "tabard.cdx.json").write_text(document.text(_listed(found, programs, of_package, name, created, digest)))
    return {"name": name, "digest": digest, "unpacked": sum(len(entry.content or b"") for entry in found.values()),
            "packed": len(packed)}


def _name(text):
    """An image's name with a registry (or "localhost") and a tag, so that no program guesses at either."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f'"{text}" is not REGISTRY/NAME:TAG, as localhost/tabard:dev is')
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="./dev image", description=__doc__)
    parser.add_argument("--tag", type=_name, default="localhost/tabard:dev", metavar="NAME:TAG",
                        help="what the image is called (localhost/tabard:dev)")
    parser.add_argument("--out", type=Path, default=TREE / "out/image", metavar="FOLDER", help="where it goes (out/image)")
    wanted = parser.parse_args()
    made = build(wanted.out, wanted.tag)
    print(f"{made['name']} {made['digest']}: {made['unpacked'] / 1e6:.1f} MB of files, {made['packed'] / 1e6:.1f} MB packed, in "
          f"{wanted.out / 'tabard.tar'}; its contents by package: {wanted.out / 'tabard.cdx.json'}")
