# SPDX-License-Identifier: Apache-2.0
"""@boringssl: Debian's package, or the prefix that the environment variable BORINGSSL_ROOT names.

A prefix holds include/openssl and lib/libssl.a, lib/libcrypto.a, as BoringSSL's own install makes it.
"""

_BUILD = """
cc_library(
    name = "ssl",
    hdrs = glob(["include/openssl/**/*.h"]),
    includes = ["include"],
    linkopts = {linkopts},
    visibility = ["//visibility:public"],
)
"""

def _boringssl_impl(ctx):
    root = ctx.os.environ.get("BORINGSSL_ROOT", "")
    if root:
        for needed in ["include/openssl/ssl.h", "lib/libssl.a", "lib/libcrypto.a"]:
            if not ctx.path(root + "/" + needed).exists:
                fail("BORINGSSL_ROOT=%s has no %s: name the prefix of an installed BoringSSL" % (root, needed))
        include = root + "/include"
        linkopts = [root + "/lib/libssl.a", root + "/lib/libcrypto.a", "-lstdc++", "-lpthread"]
    else:
        include = "/usr/include/android"
        found = ctx.execute(["sh", "-c", "ls -d /usr/lib/*/android/libssl.so 2>/dev/null | head -n 1"]).stdout.strip()
        if not found or not ctx.path(include + "/openssl/ssl.h").exists:
            fail("BoringSSL is not installed: apt-get install android-libboringssl-dev, or set BORINGSSL_ROOT")
        lib = found.rpartition("/")[0]
        linkopts = ["-L" + lib, "-Wl,-rpath," + lib, "-lssl", "-lcrypto"]
    ctx.symlink(include, "include")
    ctx.file("BUILD", _BUILD.format(linkopts = repr(linkopts)))

boringssl_repository = repository_rule(
    implementation = _boringssl_impl,
    environ = ["BORINGSSL_ROOT"],
    local = True,
)
