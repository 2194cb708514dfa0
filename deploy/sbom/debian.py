# SPDX-License-Identifier: Apache-2.0
"""Which Debian package a file of this machine belongs to."""
import subprocess
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import licences


@dataclass(frozen=True)
class Package:
    """One binary package of Debian's."""
    name: str
    version: str
    source: str
    source_version: str
    architecture: str

    @property
    def copyright(self):
        return Path(f"/usr/share/doc/{self.name}/copyright")

    @property
    def purl(self):
        query = {"arch": self.architecture, "distro": _distribution(), "upstream": f"{self.source}@{self.source_version}"}
        return f"pkg:deb/debian/{self.name}@{urllib.parse.quote(self.version)}?{urllib.parse.urlencode(query)}"

    def licence(self):
        return licences.declared(self.copyright.read_text(errors="replace"), self.name, self.source)

    def status(self):
        """Its entry of dpkg's, by which scanners look up known faults."""
        return subprocess.check_output(["dpkg-query", "--status", f"{self.name}:{self.architecture}"])


def _distribution():
    lines = Path("/etc/os-release").read_text().splitlines()
    said = dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)
    return f"{said['ID']}-{said.get('VERSION_ID', 'sid')}"


def packages(files):
    """{file: Package} of the files, which are resolved paths of this machine, that are Debian's. dpkg knows a file by its path
    before or after /usr was merged."""
    asked = {path: file for file in files for path in [str(file), str(file).removeprefix("/usr")]}
    said = subprocess.run(["dpkg-query", "--search", *asked], capture_output=True, text=True).stdout
    lines = [line.partition(": ") for line in said.splitlines()]
    owners = {asked[path]: names.split(",")[0] for names, _, path in lines if path in asked}
    form = "${binary:Package}\t${Package}\t${Version}\t${source:Package}\t${source:Version}\t${Architecture}\n"
    said = subprocess.check_output(["dpkg-query", "-W", "-f", form, *sorted(set(owners.values()))], text=True)
    known = {}
    for line in said.splitlines():
        binary, *fields = line.split("\t")
        known[binary] = known[f"{binary}:{fields[-1]}"] = Package(*fields)
    return {file: known[owner] for file, owner in owners.items()}
