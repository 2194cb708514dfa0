# SPDX-License-Identifier: Apache-2.0
"""protobuf_c_library: one .proto file made into C by protoc-c.

A rule of its own and not a genrule: a genrule resolves Bazel's Java toolchains, which would be downloaded.
"""

def _protoc_c_impl(ctx):
    stem = ctx.file.src.basename[:-len(".proto")]
    below = ctx.attr.path + "/" if ctx.attr.path else ""
    outs = [ctx.actions.declare_file(below + stem + end) for end in [".pb-c.c", ".pb-c.h"]]
    out_dir = (outs[0].dirname + "/")[:-len("/" + below)]
    ctx.actions.run(
        outputs = outs,
        inputs = [ctx.file.src] + ctx.files.imports,
        executable = "/usr/bin/protoc-c",
        arguments = ["-I", ctx.attr.root, "--c_out=" + out_dir, ctx.file.src.path],
        mnemonic = "ProtocC",
    )
    return [OutputGroupInfo(sources = depset(outs[:1]), headers = depset(outs[1:]))]

_protoc_c = rule(
    implementation = _protoc_c_impl,
    attrs = {
        "src": attr.label(allow_single_file = [".proto"]),
        "imports": attr.label_list(allow_files = [".proto"]),
        "path": attr.string(),
        "root": attr.string(),
    },
)

def protobuf_c_library(name, src, imports = [], deps = [], visibility = None, root = "proto", testonly = False):
    """Generates the C of SRC; include it by its path below ROOT, with .pb-c.h for .proto."""
    _protoc_c(name = name + "_gen", src = src, imports = imports, path = src.rpartition("/")[0], root = root, testonly = testonly)
    for group in ["sources", "headers"]:
        native.filegroup(name = name + "_" + group, srcs = [":" + name + "_gen"], output_group = group, testonly = testonly)
    native.cc_library(
        name = name,
        srcs = [":" + name + "_sources"],
        hdrs = [":" + name + "_headers"],
        includes = ["."],
        deps = deps + ["//bazel:protobuf_c"],
        visibility = visibility,
        testonly = testonly,
    )
