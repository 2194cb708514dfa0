#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# render.sh: prints the chart as one file for `kubectl apply -f`, with its default values and the namespace tabard-system. What it
# prints is deploy/install.yaml, and a test holds it to that.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
helm=$(./helm.sh)
cat <<'END'
# SPDX-License-Identifier: Apache-2.0
# Made by deploy/render.sh out of deploy/chart; a change by hand is lost.
apiVersion: v1
kind: Namespace
metadata:
  name: tabard-system
  labels:
    app.kubernetes.io/part-of: tabard
    pod-security.kubernetes.io/enforce: restricted
END
# Nothing here belongs to Helm.
"$helm" template tabard chart --namespace tabard-system | grep -vE '^ +(app.kubernetes.io/managed-by|helm.sh/chart): '
