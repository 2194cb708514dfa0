# SPDX-License-Identifier: Apache-2.0
"""What a comment or a document names exists: identifiers somewhere in the code or in a system header, files in the tree."""
import glob
import os
import re

import tree

INCLUDE = ["/usr/include/", *(f"{tree.boringssl()}/{folder}/" for folder in ("include", "src/include"))]
SYSTEM = ["/usr/include/*.h", "/usr/include/{sys,bits}/*.h", "/usr/include/*-linux-gnu/{sys,bits,asm}/*.h",
          "/usr/include/{arpa,libmnl,linux,linux/netfilter,net,netinet,nftables,nghttp2,protobuf-c,uv}/*.h",
          "/usr/include/{criterion,criterion/internal}/*.h", *(folder + "openssl/*.h" for folder in INCLUDE)]
PLANNED = ["proxy/tunnel", "proxy/http", "control/agent/sources/workload_api",
           "control/agent/sources/sds", "control/agent/sources/kubernetes"]  # places of wings to come
OUTSIDE = {"supported_versions", "UV_ENOBUFS",  # a name of RFC 8446; one that libuv's header puts together
           # settings of nginx and haproxy that docs/replacing.md sets beside ours
           "proxy_ssl_crl", "proxy_connect_timeout", "ssl_handshake_timeout", "worker_shutdown_timeout", "ssl_c_s_dn"}
SOURCES = ("c", "h", "proto", "py", "sh", "bzl")

WORD = re.compile(r"(?<![\w./%$<>{}@-])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+(?![\w/*<{]|\.\w|-\w)|(?<![\w./-])[a-z]\w{3,}(?=\(\))")
PATH = re.compile(r"(?<![\w./:@$~*}-])(?:[\w.-]+/)*[\w.-]+/?(?![\w.*<{-])")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


def expand(pattern):
    brace = re.search(r"\{(.*?)\}", pattern)
    if not brace:
        return glob.glob(pattern)
    return [file for part in brace.group(1).split(",") for file in expand(pattern.replace(brace.group(), part, 1))]


def known_names(texts):
    names = set()
    for file, text in texts.items():
        if not file.endswith((".md", ".svg")):
            names.update(IDENTIFIER.findall(tree.split_comments(file, text)[0]))
        names.update(IDENTIFIER.findall(file))
    for pattern in SYSTEM:
        for file in expand(pattern):
            names.update(IDENTIFIER.findall(tree.read(file)))
    return names


def is_name(word, names, endings):
    """Also one of several, as RST_STREAMs, and a constant without the prefix of its module or library."""
    singular = word[:-1] if word.endswith("s") else word
    return word in names or word in OUTSIDE or singular in names or singular.isupper() and singular in endings


def is_path(path, known, tops):
    if path in known or path in PLANNED or re.search(r"(^|/)[A-Z]+$", path):  # NAME stands for a name
        return True
    if any(os.path.exists(folder + path) for folder in INCLUDE):
        return True
    if path.rsplit(".", 1)[-1] in SOURCES and "." in path:
        return any(("/" + file).endswith("/" + path) for file in known)
    return path.split("/")[0] not in tops or "/" not in path


def findings():
    texts = {file: tree.read(file) for file in tree.files() if not file.startswith("tests/fuzz/seeds/")}
    names = known_names(texts)
    endings = {name[at + 1:] for name in names if name.isupper() for at in range(len(name)) if name[at] == "_"}
    known = set(texts)
    for file in texts:
        while file := os.path.dirname(file):
            known.add(file)
    tops = {file.split("/")[0] for file in known}
    for file, text in texts.items():
        if file.endswith(".svg") or file == "LICENSE":
            continue
        comments = text if file.endswith(".md") else tree.split_comments(file, text)[1]
        for number, line in enumerate(comments.split("\n"), 1):
            for word in WORD.findall(line):
                if not is_name(word, names, endings):
                    yield f"{file}:{number}: no {word} in the code"
            for path in (found.rstrip("/.") for found in PATH.findall(line)):
                beside = os.path.normpath(os.path.join(os.path.dirname(file), path))
                if not (is_path(path, known, tops) or beside in known):
                    yield f"{file}:{number}: no file {path}"


if __name__ == "__main__":
    tree.report(findings())
