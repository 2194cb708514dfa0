# SPDX-License-Identifier: Apache-2.0
"""How the programs are linked, beyond .bazelrc."""

# BoringSSL uses few functions of C++'s library, which would be two more files to load: docs/supply_chain.md.
CXX_LINKED_IN = ["-l:libstdc++.a", "-static-libgcc"]
