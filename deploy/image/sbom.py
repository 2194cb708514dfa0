# SPDX-License-Identifier: Apache-2.0
"""What is in the image, as SPDX 2.3: each Debian package with version and licences, each file with its checksums.

https://spdx.github.io/spdx-spec/v2.3/
"""
import hashlib
import re
import subprocess
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import licences
import root


@dataclass
class Package:
    """One binary package of Debian's of which the image has a file."""
    name: str
    version: str
    source: str
    architecture: str
    copyright: Path

    @property
    def ref(self):
        return "SPDXRef-Package-" + re.sub(r"[^A-Za-z0-9.-]", "-", self.name)


def _owners(origins):
    """{file of this machine: package}. dpkg knows a file by its path before or after /usr was merged."""
    asked = {path: origin for origin in origins for path in [str(origin), str(origin).removeprefix("/usr")]}
    said = subprocess.run(["dpkg-query", "--search", *asked], capture_output=True, text=True).stdout
    lines = [line.partition(": ") for line in said.splitlines()]
    return {asked[path]: names.split(",")[0] for names, _, path in lines if path in asked}


def packages(entries):
    """{path in the image: Package} of every library of Debian's; one of the builder's own, as another BoringSSL, has none."""
    origins = {path: entry.origin for path, entry in entries.items() if path.startswith("usr/lib")}
    owners = _owners(origins.values())
    form = "${binary:Package}\t${Package}\t${Version}\t${source:Package}@${source:Version}\t${Architecture}\n"
    said = subprocess.check_output(["dpkg-query", "-W", "-f", form, *sorted(set(owners.values()))], text=True)
    known = {}
    for line in said.splitlines():
        binary, name, *fields = line.split("\t")
        known[binary] = known[f"{binary}:{fields[-1]}"] = Package(name, *fields, Path(f"/usr/share/doc/{name}/copyright"))
    return {path: known[owners[origin]] for path, origin in origins.items() if origin in owners}


def add_papers(entries, owners):
    """Puts in what belongs to each package: its copyright file, which most licences ask whoever passes on the library to pass on
    too, and its entry of dpkg's, by which scanners look up known faults."""
    for package in list(owners.values()):
        path, status = f"usr/share/doc/{package.name}/copyright", f"var/lib/dpkg/status.d/{package.name}"
        said = subprocess.check_output(["dpkg-query", "--status", f"{package.name}:{package.architecture}"])
        owners[path] = owners[status] = package
        entries[path] = root.Entry(0o644, package.copyright.read_bytes(), origin=package.copyright)
        entries[status] = root.Entry(0o644, said)


def _file(path, content):
    return {"SPDXID": "SPDXRef-File-" + hashlib.sha256(path.encode()).hexdigest()[:16], "fileName": "./" + path,
            "checksums": [{"algorithm": "SHA1", "checksumValue": hashlib.sha1(content).hexdigest()},
                          {"algorithm": "SHA256", "checksumValue": hashlib.sha256(content).hexdigest()}],
            "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION"}


def _verification(files):
    """The package verification code (section 7.9)."""
    sums = sorted(file["checksums"][0]["checksumValue"] for file in files)
    return hashlib.sha1("".join(sums).encode()).hexdigest()


def _package(ref, name, version, supplier, files, **more):
    return {"SPDXID": ref, "name": name, "versionInfo": version, "supplier": supplier, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": True, "packageVerificationCode": {"packageVerificationCodeValue": _verification(files)},
            "hasFiles": [file["SPDXID"] for file in files], "licenseConcluded": "NOASSERTION",
            "copyrightText": "NOASSERTION", **more}


def _debian(package, files, extracted):
    """A package of Debian's, with its licences as its copyright file lists them."""
    declared, comment = licences.declared(package.copyright.read_text(errors="replace"), package.name, extracted)
    query = {"arch": package.architecture, "upstream": package.source, "distro": "debian-12"}
    locator = f"pkg:deb/debian/{package.name}@{urllib.parse.quote(package.version)}?{urllib.parse.urlencode(query)}"
    return _package(package.ref, package.name, package.version, "Organization: Debian", files, licenseDeclared=declared,
                    licenseComments=comment, primaryPackagePurpose="LIBRARY", externalRefs=[
                        {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}])


def document(entries, owners, version, created, name, digest):
    """The SPDX document of an image."""
    files, by_package, own, extracted = [], {}, [], {}
    for path, entry in entries.items():
        if entry.content is None:
            continue
        file = _file(path, entry.content)
        files.append(file)
        package = owners.get(path)
        if package is None:
            own.append(file)
        else:
            by_package.setdefault(package.name, (package, []))[1].append(file)
    tabard = _package("SPDXRef-Package-tabard", "tabard", version, "NOASSERTION", own, licenseDeclared="Apache-2.0",
                      primaryPackagePurpose="CONTAINER")
    listed = [_debian(package, of_it, extracted) for package, of_it in by_package.values()]
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", tabard["SPDXID"])]
    relations += [(tabard["SPDXID"], "CONTAINS", package["SPDXID"]) for package in listed]
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
            "documentNamespace": f"https://tabard.dev/spdx/{digest.replace(':', '-')}",
            "creationInfo": {"created": created, "creators": [f"Tool: tabard-{version}"]},
            "packages": [tabard, *listed], "files": files,
            "hasExtractedLicensingInfos": [extracted[ref] for ref in sorted(extracted)],
            "relationships": [{"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
                              for one, kind, other in relations]}
