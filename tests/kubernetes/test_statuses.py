# SPDX-License-Identifier: Apache-2.0
"""What the author of a resource finds in its status: whether it is taken, and how many sidecars have it."""
import pytest

import workloads
from daemon import wait_until

pytestmark = pytest.mark.cluster


def condition(kube, name, kind, resource="meshpolicy"):
    """"STATUS REASON: MESSAGE" of a condition of the generation that is there; "" if it isn't."""
    one = kube.json("get", resource, name)
    found = [c for c in one.get("status", {}).get("conditions", [])
             if c["type"] == kind and c["observedGeneration"] == one["metadata"]["generation"]]
    return f"{found[0]['status']} {found[0]['reason']}: {found[0]['message']}" if found else ""


def becomes(kube, name, kind, wanted, **more):
    """Waits until a condition begins with these words."""
    wait_until(lambda: condition(kube, name, kind).startswith(wanted), f"{kind} of {name} is {wanted}", **more)


def test_a_policy_says_how_many_sidecars_of_all_replicas_have_it(meshed):
    meshed.apply(*workloads.server("web", replicas=3), *workloads.caller("client"),
                 workloads.policy("web", meshed.namespace, "client", to="web"))
    meshed.rolled_out("deployment/web")
    becomes(meshed, "web", "Accepted", "True Accepted")
    becomes(meshed, "web", "InForce", "True InForce: 3 of 3 sidecars")
    meshed("scale", "deployment/web", "--replicas=1")
    becomes(meshed, "web", "InForce", "True InForce: 1 of 1 sidecars", seconds=60)
    assert "1 of 1 sidecars" in meshed("get", "mp", "web")


def test_a_policy_that_cannot_be_taken_says_why_and_the_last_good_one_stays(meshed):
    good = workloads.policy("web", meshed.namespace, "client", to="web")
    meshed.apply(*workloads.server("web"), *workloads.caller("client"), good)
    meshed.rolled_out("deployment/web")
    meshed.rolled_out("deployment/client")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    # The schema has no means to see that two ranges have a port in common.
    meshed.apply({**good, "spec": {**good["spec"], "ports": ["8000-8090", 8080], "rules": [{"from": [{"namespace": "nobody"}]}]}})
    becomes(meshed, "web", "Accepted", "False")
    assert "spec.ports" in condition(meshed, "web", "Accepted"), condition(meshed, "web", "Accepted")
    becomes(meshed, "web", "InForce", "False NotAccepted")
    assert "spec.ports" in meshed("events", "--for", "meshpolicy/web")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    meshed.apply(good)
    becomes(meshed, "web", "InForce", "True InForce: 1 of 1 sidecars")


def test_the_settings_say_so_for_the_whole_mesh(meshed, kube):
    meshed.apply(*workloads.server("web"))
    meshed.rolled_out("deployment/web")
    wait_until(lambda: condition(kube, "default", "InForce", "meshsettings").startswith("True InForce"), "the settings are in force")
