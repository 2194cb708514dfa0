# SPDX-License-Identifier: Apache-2.0
"""Which folder sees which. One folder is one layer: its files include only their own folder and those named here.

BUILD files take their visibility from this table, and ./dev lint holds every #include to it. Tests see everything.
A folder stands below the line that names it.
"""

LAYERS = {
    "base": [],
    "proto": ["base"],
    "certs": ["base", "proto"],
    "certs/ca": ["base", "certs"],
    "net/http2": ["base", "certs", "net/grpc"],
    "net/grpc": ["base", "certs", "net/http2"],
    "proxy/rules": ["base", "proto", "certs"],
    "proxy/link": ["base", "proto"],
    "proxy/carry": ["base", "certs", "proxy/link", "proxy/rules"],
    "proxy/trust": ["base", "proto", "certs", "proxy/rules"],
    "proxy/conn": ["base", "proto", "certs", "proxy/rules", "proxy/link", "proxy/carry", "proxy/trust"],
    "proxy": ["base", "proto", "certs", "proxy/rules", "proxy/link", "proxy/carry", "proxy/trust", "proxy/conn"],
    "control/host": ["base"],
    "control/agent/proxy": ["base", "proto"],
    "control/agent/snapshot": [
        "base",
        "proto",
        "certs",
        "proxy/rules",
        "control/agent/proxy",
        "control/agent/sources/files",
        "control/agent/sources/policy_agent",
    ],
    "control/agent/operator": ["base", "proto", "control/host", "control/agent/proxy", "control/agent/snapshot"],
    "control/agent/sources/files": ["base", "proto", "certs", "control/host", "control/agent/snapshot"],
    "control/agent/sources/policy_agent": [
        "base",
        "proto",
        "certs",
        "certs/ca",
        "net/grpc",
        "net/http2",
        "control/host",
        "control/agent/operator",
        "control/agent/snapshot",
        "control/agent/sources/files",
    ],
    "control/agent": [
        "base",
        "proto",
        "certs",
        "control/host",
        "control/agent/operator",
        "control/agent/proxy",
        "control/agent/snapshot",
        "control/agent/sources/files",
        "control/agent/sources/policy_agent",
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
    "control/policyd/folder": ["base", "certs", "certs/ca", "control/host", "control/policyd/ca", "control/policyd/fleet"],
    "control/policyd/stream": [
        "base",
        "proto",
        "certs",
        "certs/ca",
        "net/grpc",
        "net/http2",
        "control/host",
        "control/policyd/ca",
        "control/policyd/fleet",
        "control/policyd/world",
    ],
    "control/policyd": ["base", "certs", "control/host", "control/policyd/folder", "control/policyd/stream"],
    "control/ctl": ["base", "proto", "certs", "proxy/rules", "control/host", "control/agent/snapshot"],
}

def seen_by(folder):
    """The visibility of a folder's targets: the folders above it, and the tests."""
    if folder not in LAYERS:
        fail(folder + " has no row in bazel/layers.bzl")
    above = ["//%s:__pkg__" % other for other in LAYERS if folder in LAYERS[other]]
    return above + ["//tests:__subpackages__"]
