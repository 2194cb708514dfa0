# SPDX-License-Identifier: Apache-2.0
"""How the programs are linked, beyond .bazelrc."""

# A program loads only libraries that it calls: some of what it is built of names one for what this program leaves out. BoringSSL
# uses few functions of C++'s library, which would be two more files to load: docs/supply_chain.md.
PROGRAM_LINKOPTS = ["-Wl,--as-needed", "-l:libstdc++.a", "-static-libgcc"]
