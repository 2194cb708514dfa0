# SPDX-License-Identifier: Apache-2.0
"""Which folder sees which. One folder is one layer: its files include only their own folder and those named here.

BUILD files take their visibility from this table, and ./dev lint holds every #include to it. Tests see everything.
A folder stands below the lines of those it sees. What sees base sees the folders below base too.
"""

LAYERS = {
    "base": [],
    "base/data": ["base"],
    "base/pb": ["base", "base/data"],
    "proto": [],
    "certs": ["base", "proto"],
    "certs/path": ["base", "certs"],
    "certs/tls": ["base", "certs"],
    "certs/ca": ["base", "certs"],
    "net/pipe": ["base"],
    "net/rtnl": ["base"],
    "net/http2": ["base"],
    "net/grpc": ["base", "net/http2"],
    "proxy/rules": ["base", "proto", "certs", "certs/path", "certs/tls"],
    "proxy/link": ["base", "proto", "net/pipe", "proxy/rules"],
    "proxy/carry": ["base", "proxy/rules"],
    "proxy/limits": ["base", "proxy/rules"],
    "proxy/origin": ["base", "net/rtnl"],
    "proxy/trust": ["base", "proto", "certs", "certs/path", "certs/tls", "proxy/rules"],
    "proxy/conn": [
        "base",
        "proto",
        "certs",
        "certs/path",
        "certs/tls",
        "proxy/rules",
        "proxy/link",
        "proxy/carry",
        "proxy/limits",
        "proxy/origin",
        "proxy/trust",
    ],
    "proxy": ["base", "proto", "proxy/rules", "proxy/link", "proxy/carry", "proxy/trust", "proxy/conn"],
    "control/host": ["base", "net/http2"],
    "control/kube/api": ["base", "certs", "certs/tls", "net/http2"],
    "control/agent/proxy": ["base", "proto", "net/pipe"],
    "control/agent/probes": ["base", "proto", "net/grpc", "net/http2"],
    "control/agent/snapshot": ["base", "proto", "certs", "certs/path", "proxy/rules", "control/agent/proxy"],
    "control/agent/operator": ["base", "proto", "control/host", "control/agent/proxy", "control/agent/snapshot"],
    "control/agent/sources/files": ["base", "proto", "certs", "proxy/rules", "control/host", "control/agent/snapshot"],
    "control/agent/sources/subscription": ["base", "proto", "certs", "certs/ca", "control/agent/snapshot"],
    "control/agent/sources/policy_agent": [
        "base",
        "proto",
        "certs",
        "certs/path",
        "certs/tls",
        "net/grpc",
        "control/agent/snapshot",
        "control/agent/sources/files",
        "control/agent/sources/subscription",
    ],
    "control/agent/sources": ["control/agent/snapshot", "control/agent/sources/policy_agent"],
    "control/agent": [
        "base",
        "proto",
        "control/host",
        "control/agent/operator",
        "control/agent/probes",
        "control/agent/proxy",
        "control/agent/snapshot",
        "control/agent/sources",
        "control/agent/sources/files",
    ],
    "control/policyd/fleet": ["base", "proto", "certs", "proxy/rules"],
    "control/policyd/ca": ["base", "proto", "certs", "certs/ca"],
    "control/policyd/world": [
        "base",
        "proto",
        "certs",
        "proxy/rules",
        "control/policyd/ca",
        "control/policyd/fleet",
    ],
    "control/policyd/folder": ["base", "control/host", "control/policyd/ca", "control/policyd/fleet"],
    "control/policyd/review": ["base", "net/http2"],
    "control/policyd/stream": [
        "base",
        "proto",
        "certs",
        "certs/path",
        "certs/tls",
        "certs/ca",
        "net/grpc",
        "net/http2",
        "control/host",
        "control/policyd/ca",
        "control/policyd/fleet",
        "control/policyd/review",
        "control/policyd/world",
    ],
    "control/kube/inject": ["base", "proto", "certs", "proxy/rules", "control/agent/probes"],
    "control/kube/webhook": ["base", "control/host", "control/kube/inject"],
    # Pure: from Kubernetes' objects to a fleet.
    "control/policyd/kubernetes/model": ["base", "proto", "certs", "proxy/rules", "control/policyd/fleet", "control/policyd/world"],
    "control/policyd/kubernetes": ["base", "certs", "certs/ca", "control/kube/api", "control/policyd/ca", "control/policyd/review"],
    "control/policyd": [
        "base",
        "certs",
        "control/host",
        "control/kube/inject",
        "control/kube/webhook",
        "control/policyd/folder",
        "control/policyd/stream",
    ],
    "control/ctl/kube": ["base"],
    "control/ctl": [
        "base",
        "proto",
        "certs",
        "net/rtnl",
        "proxy/rules",
        "control/agent/snapshot",
        "control/agent/sources",
        "control/agent/sources/files",
        "control/ctl/kube",
    ],
}

# Which folders (a folder/... with those below it), and of the others which modules, may include a library's header.
HEADERS = {
    # Where handshakes and contexts are made.
    "openssl/ssl.h": [
        "certs/tls/context",
        "certs/tls/named_server",
        "net/grpc",
        "net/http2/transport",
        "proxy/carry/tls",
        "proxy/conn/handshake",
        "proxy/conn/protocol",
        "control/agent/probes",
        "control/policyd/stream/tls",
    ],
    # Where something waits. What is pure has no event loop.
    "uv.h": [
        "net/...",
        "proxy",
        "proxy/link",
        "proxy/carry/hangup",
        "proxy/carry/socket",
        "proxy/conn/conn",
        "proxy/conn/env",
        "proxy/conn/turns",
        "control/host",
        "control/kube/api",
        "control/agent",
        "control/agent/operator",
        "control/agent/probes",
        "control/agent/proxy",
        "control/agent/sources/files",
        "control/agent/sources/policy_agent",
        "control/kube/webhook/inject_file",
        "control/kube/webhook/webhook",
        "control/policyd",
        "control/policyd/ca/issue",
        "control/policyd/folder",
        "control/policyd/kubernetes",
        "control/policyd/review",
        "control/policyd/stream",
        "control/policyd/world/registry_dir",
    ],
    "nghttp2/nghttp2.h": ["net/http2"],
    "microhttpd.h": ["control/host/http_impl"],
    "libmnl/libmnl.h": ["net/rtnl"],
    "nftables/libnftables.h": ["control/ctl/nft"],
    "yaml.h": ["base/pb/pb_text"],
    "jansson.h": ["control/ctl/kube", "control/kube/...", "control/policyd/kubernetes/..."],
}

def sees(folder, other):
    """Whether a folder may include the headers of another one."""
    below_base = other.startswith("base/") and not folder.startswith("base")
    return other in LAYERS[folder] or below_base and "base" in LAYERS[folder]

def seen_by(folder):
    """The visibility of a folder's targets: the folders above it, and the tests."""
    if folder not in LAYERS:
        fail(folder + " has no row in bazel/layers.bzl")
    above = ["//%s:__pkg__" % other for other in LAYERS if sees(other, folder)]
    return above + ["//tests:__subpackages__"]
