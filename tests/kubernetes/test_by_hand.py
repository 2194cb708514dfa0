# SPDX-License-Identifier: Apache-2.0
"""A mesh without policyd: what the image, the sidecar and interception do in a pod by themselves."""
import json
import re

import pytest

import by_hand
import workloads
from daemon import wait_until

pytestmark = pytest.mark.cluster


def test_pods_with_certificates_of_their_own_talk_by_mutual_tls_through_a_service(tabard_image, namespace, tmp_path):
    authority = by_hand.Authority(tmp_path)
    name = namespace.namespace
    server, service = workloads.server("web")[1:]
    del server["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    server["spec"]["template"]["spec"]["serviceAccountName"] = "default"
    policies = [{"name": "client-only", "action": "ALLOW", "mode": "ENFORCE",
                 "rules": [{"principals": [by_hand.spiffe_id(name, "client")]}]}]
    namespace.apply(service)
    address = namespace.json("get", "service", "web")["spec"]["clusterIP"]
    destinations = [{"name": "web", "addresses": [address], "mode": "MTLS", "binding": "NONE",
                     "identities": [by_hand.spiffe_id(name, "web")]}]
    namespace.apply(authority.secret("web", name, {"policies": policies, "settings": {"interception": {}}}),
                    by_hand.with_sidecar(server, "mesh-web"))
    for client in ("client", "stranger"):
        caller = workloads.caller(client)[1]
        caller["spec"]["template"]["spec"]["serviceAccountName"] = "default"
        namespace.apply(authority.secret(client, name, {"destinations": destinations, "settings": {"interception": {}}}),
                        by_hand.with_sidecar(caller, f"mesh-{client}"))
    for what in ("web", "client", "stranger"):
        namespace.rolled_out(f"deployment/{what}")

    said = json.loads(namespace.exec("deployment/client", "/bin/app", "call", "http://web"))
    assert said["name"] == "web"
    assert namespace.run(*namespace.words("exec", "deployment/stranger", "-c", "app", "--", "/bin/app", "call", "http://web")).returncode == 1
    for pattern in (f"peer={by_hand.spiffe_id(name, 'client')} ", f"peer={by_hand.spiffe_id(name, 'stranger')} .*reason=policy_denied "):
        wait_until(lambda: re.search(pattern, namespace("logs", "deployment/web", "-c", "tabard")), f"the log says {pattern}", seconds=10)
