# SPDX-License-Identifier: Apache-2.0
"""Makes the image from what Bazel built and from Debian's libraries: an archive, and beside it what is in it (SPDX)."""
import argparse
import datetime
import json
import os
import re
import subprocess
from pathlib import Path

import archive
import root
import sbom

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
    return re.search(r'TABARD_VERSION "(.*)"', (TREE / "base/version.h").read_text()).group(1)


def _labels(created):
    labels = {"title": "Tabard", "description": "A mutual-TLS sidecar that gives a service an identity", "licenses": "Apache-2.0",
              "version": version(), "created": created, "revision": _git("describe", "--always", "--abbrev=40", "--dirty")}
    return {f"org.opencontainers.image.{key}": value for key, value in labels.items() if value}


def build(out, name, programs=None):
    """Writes tabard.tar and tabard.spdx.json into the folder `out`. Returns what it made: digest and sizes."""
    epoch = _epoch()
    created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    found = root.entries(programs)
    packages = sbom.packages(found)
    sbom.add_papers(found, packages)
    found = root.in_folders(found)
    layer = archive.layer(found, epoch)
    config = {"User": f"{root.USER}:{root.USER}", "Entrypoint": ["/usr/bin/tabard-agent"], "WorkingDir": "/",
              "Env": ["PATH=/usr/bin"], "Labels": _labels(created)}
    packed, digest = archive.pack(layer, config, architecture, created, name)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tabard.tar").write_bytes(packed)
    listed = sbom.document(found, packages, version(), created, name, digest)
    (out / "tabard.spdx.json").write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")
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
          f"{wanted.out / 'tabard.tar'}; its contents by package: {wanted.out / 'tabard.spdx.json'}")
