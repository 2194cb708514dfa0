# SPDX-License-Identifier: Apache-2.0
"""@boringssl: built here from the sources that the crate boring-sys carries, or the prefix that the environment
variable BORINGSSL_ROOT names.

A prefix holds include/openssl and lib/libssl.a, lib/libcrypto.a, as BoringSSL's own install makes it.
"""

load(":crate.bzl", "fetch_crate")

# What Tabard is written for: this API and later ones.
API_MIN = 43

def _check_api(ctx, header, holder, instead):
    if not ctx.path(header).exists:
        fail("%s has no include/openssl/base.h where it is looked for: %s" % (holder, instead))
    for line in ctx.read(header).split("\n"):
        words = line.split(" ")
        if words[:2] == ["#define", "BORINGSSL_API_VERSION"] and words[2].isdigit():
            if int(words[2]) >= API_MIN:
                return
            fail("%s holds BoringSSL of API %s; Tabard needs API %d or later: %s" % (holder, words[2], API_MIN, instead))
    fail("%s/openssl/base.h names no BORINGSSL_API_VERSION, so it is not BoringSSL's: %s" % (holder, instead))

def _boringssl_impl(ctx):
    root = ctx.os.environ.get("BORINGSSL_ROOT", "")
    if root:
        instead = "name the prefix of an installed BoringSSL, or unset BORINGSSL_ROOT"
        if not root.startswith("/"):
            fail("BORINGSSL_ROOT=%s is no absolute path: %s" % (root, instead))
        if not ctx.path(root).exists:
            fail("BORINGSSL_ROOT=%s isn't there: %s" % (root, instead))
        for needed in ["include/openssl/base.h", "include/openssl/ssl.h", "lib/libssl.a", "lib/libcrypto.a"]:
            if not ctx.path(root + "/" + needed).exists:
                fail("BORINGSSL_ROOT=%s has no %s: %s" % (root, needed, instead))
        _check_api(ctx, ctx.path(root + "/include/openssl/base.h"), "BORINGSSL_ROOT=" + root, instead)
        ctx.symlink(root + "/include", "include")
        ctx.symlink(root + "/lib", "lib")
        ctx.symlink(Label("//bazel:boringssl_prefix.BUILD"), "BUILD")
        source = "an installed prefix"
    else:
        source = "boring-sys " + fetch_crate(
            ctx,
            "boring-sys",
            "deps/boringssl",
            "name the prefix of an installed BoringSSL of API %d or later with BORINGSSL_ROOT" % API_MIN,
        )
        _check_api(ctx, "src/include/openssl/base.h", "the crate boring-sys", "pin a newer one in bazel/crates")
        ctx.symlink(Label("//bazel:boringssl.BUILD"), "BUILD")
    ctx.file("source/boringssl_source.h", "#define BORINGSSL_SOURCE \"%s\"\n" % source)

boringssl_repository = repository_rule(
    implementation = _boringssl_impl,
    environ = ["BORINGSSL_ROOT"],
)

# The flags of .bazelrc that bear on the code; warnings are for our own code. They are the same under a sanitizer and for
# the fuzzer, so that BoringSSL is built once for all.
_FLAGS = {
    "copt": [
        "-O2",
        "-fstack-protector-strong",
        "-fstack-clash-protection",
        "-U_FORTIFY_SOURCE",
        "-D_FORTIFY_SOURCE=2",
    ],
    "conlyopt": [],
    "cxxopt": ["-std=c++17"],
    "linkopt": [],
    "per_file_copt": [],
    "features": ["-supports_dynamic_linker"],
    "platform_suffix": "",
}

_OUTPUTS = ["//command_line_option:" + name for name in _FLAGS]

def _set_flags(_settings, _attr):
    return {"//command_line_option:" + name: value for name, value in _FLAGS.items()}

_always_alike = transition(implementation = _set_flags, inputs = [], outputs = _OUTPUTS)

def _built_alike_impl(ctx):
    return [ctx.attr.library[0][CcInfo]]

built_alike = rule(
    doc = "A C++ library that has the same flags in every configuration.",
    implementation = _built_alike_impl,
    attrs = {
        "library": attr.label(cfg = _always_alike, providers = [CcInfo]),
        "_allowlist_function_transition": attr.label(default = "@bazel_tools//tools/allowlists/function_transition_allowlist"),
    },
)
