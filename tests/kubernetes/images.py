# SPDX-License-Identifier: Apache-2.0
"""Images made here, of files that are at hand: archives as `docker save` writes them, which `ctr image import` takes."""
import hashlib
import io
import json
import tarfile


def _add(tar, name, *, data=None, mode=0o755, link=None):
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    if link:
        entry.type, entry.linkname = tarfile.SYMTYPE, link
    elif data is None:
        entry.type = tarfile.DIRTYPE
    else:
        entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data) if data is not None else None)


def write_archive(path, tag, files, *, links=None, entrypoint, user="0"):
    """Writes the image `tag`, which holds `files` (place in the image: file here) and `links` (place: what it leads to)."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        places = [*files, *(links or {})]
        for folder in sorted({part for place in places for part in _folders(place)}):
            _add(tar, folder)
        _add(tar, "tmp", mode=0o1777)
        _add(tar, "etc/passwd", data=b"root:x:0:0::/:/bin/sh\n", mode=0o644)
        for place, source in sorted(files.items()):
            _add(tar, place.lstrip("/"), data=source.read_bytes())
        for place, target in sorted((links or {}).items()):
            _add(tar, place.lstrip("/"), link=target)
    blob = layer.getvalue()
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": list(entrypoint), "User": user, "WorkingDir": "/", "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(blob).hexdigest()}"]},
        "history": [{"created": "1970-01-01T00:00:00Z"}]}).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    half = path.with_suffix(".half")
    with tarfile.open(half, mode="w") as tar:
        for member, data in (("layer.tar", blob), (name, config), ("manifest.json", manifest)):
            _add(tar, member, data=data, mode=0o644)
    half.rename(path)


def _folders(place):
    parts = place.lstrip("/").split("/")[:-1]
    return ["etc"] + ["/".join(parts[:num]) for num in range(1, len(parts) + 1)]
