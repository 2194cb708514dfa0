# SPDX-License-Identifier: Apache-2.0
"""A library of the system's, linked in without the TLS library that it could use and isn't asked to."""

def _without_tls_impl(ctx):
    archive = ctx.actions.declare_file("lib%s.a" % ctx.label.name)
    ctx.actions.run_shell(
        outputs = [archive],
        # A weak symbol that nothing defines is 0: a call of one, which nobody makes, ends the program.
        command = "objcopy --wildcard --weaken-symbol='%s*' \"$(gcc -print-file-name=%s)\" %s" % (
            ctx.attr.prefix,
            ctx.attr.archive,
            archive.path,
        ),
        mnemonic = "WithoutTls",
    )
    linker_input = cc_common.create_linker_input(
        owner = ctx.label,
        libraries = depset([cc_common.create_library_to_link(
            actions = ctx.actions,
            feature_configuration = _features(ctx),
            cc_toolchain = ctx.attr._cc_toolchain[cc_common.CcToolchainInfo],
            pic_static_library = archive,
        )]),
    )
    return [CcInfo(linking_context = cc_common.create_linking_context(linker_inputs = depset([linker_input])))]

def _features(ctx):
    return cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = ctx.attr._cc_toolchain[cc_common.CcToolchainInfo],
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )

without_tls = rule(
    doc = "The archive of a library in which the functions of PREFIX are missing.",
    implementation = _without_tls_impl,
    fragments = ["cpp"],
    attrs = {
        "archive": attr.string(),
        "prefix": attr.string(),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
)
