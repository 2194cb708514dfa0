# SPDX-License-Identifier: Apache-2.0
"""One tar that is an OCI image layout and a docker-archive at once, and the same bytes for the same input.

containerd (`ctr image import`, and so kind and minikube on containerd) reads oci-layout and index.json; `docker load`, `podman load`
and minikube on those read manifest.json, which names the same blobs.
"""
import gzip
import hashlib
import io
import json
import tarfile

OCI = "application/vnd.oci.image"


def _member(name, mode, mtime, kind=tarfile.REGTYPE, link="", size=0):
    member = tarfile.TarInfo(name)
    member.mode, member.mtime, member.type, member.linkname, member.size = mode, mtime, kind, link, size
    return member


def _tar(members):
    """The bytes of a tar of (member, content) pairs."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content or b""))
    return made.getvalue()


def layer(entries, epoch):
    """The tar of a file system, {path: Entry}, all of it root's."""
    members = []
    for path, entry in entries.items():
        if entry.link is not None:
            members.append((_member(path, entry.mode, epoch, tarfile.SYMTYPE, entry.link), None))
        elif entry.content is None:
            members.append((_member(path, entry.mode, epoch, tarfile.DIRTYPE), None))
        else:
            members.append((_member(path, entry.mode, epoch, size=len(entry.content)), entry.content))
    return _tar(members)


def _digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(kind, content, **more):
    return {"mediaType": f"{OCI}.{kind}", "digest": _digest(content), "size": len(content), **more}


def pack(layer_tar, config, architecture, created, name):
    """The archive of a one-layer image and the digest of its manifest; `config` is what a container starts with."""
    packed = gzip.compress(layer_tar, 6, mtime=0)
    image = _json({"architecture": architecture, "os": "linux", "created": created, "config": config,
                   "rootfs": {"type": "layers", "diff_ids": [_digest(layer_tar)]},
                   "history": [{"created": created, "created_by": "deploy/image/build.py"}]})
    manifest = _json({"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
                      "config": _descriptor("config.v1+json", image),
                      "layers": [_descriptor("layer.v1.tar+gzip", packed)],
                      "annotations": config["Labels"]})
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = _json({"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [
        _descriptor("manifest.v1+json", manifest, annotations=names,
                    platform={"architecture": architecture, "os": "linux"})]})
    blob = lambda content: "blobs/sha256/" + _digest(content).removeprefix("sha256:")
    docker = _json([{"Config": blob(image), "RepoTags": [name], "Layers": [blob(packed)]}])
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index, "manifest.json": docker,
             **{blob(content): content for content in [image, manifest, packed]}}
    members = [(_member(path, 0o755, 0, tarfile.DIRTYPE), None) for path in ["blobs", "blobs/sha256"]]
    members += [(_member(path, 0o644, 0, size=len(content)), content) for path, content in sorted(files.items())]
    return _tar(members), _digest(manifest)
