# SPDX-License-Identifier: Apache-2.0
"""The life of a pod in the mesh: it starts when its sidecar is in force, and ends as it would without one."""
import json

import pytest

import workloads
from daemon import wait_until
from load import Load
from workloads import container, pod_spec

pytestmark = pytest.mark.cluster

ONCE = ("call", "http://web")  # no second try: what comes before the sidecar would fail


@pytest.fixture
def web(meshed):
    """A namespace with a server that the account `client` may call."""
    meshed.apply(*workloads.server("web", replicas=2), workloads.account("client"),
                 workloads.policy("web", meshed.namespace, "client", to="web"))
    meshed.rolled_out("deployment/web")
    meshed.apply(*workloads.caller("client"))
    meshed.rolled_out("deployment/client")
    meshed.exec("deployment/client", "/bin/app", *ONCE)  # the Service and the policy are in force
    return meshed


def is_complete(kube, what):
    conditions = kube.json("get", what)["status"].get("conditions", [])
    failed = [one for one in conditions if one["type"] == "Failed" and one["status"] == "True"]
    assert not failed, f"{what}: {failed[0]['message']}\n{kube.troubles()}"
    return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)


def test_an_application_that_calls_at_once_is_answered_and_its_job_ends(web):
    web.apply(workloads.job("once", pod_spec(container(*ONCE), account="client")))
    wait_until(lambda: is_complete(web, "job/once"), "the job is complete", seconds=60, every=0.5)
    assert json.loads(web("logs", "job/once", "-c", "app"))["name"] == "web"


def test_an_init_container_of_the_user_calls_through_the_mesh(web):
    spec = pod_spec(container("call", "http://web"), account="client", initContainers=[container(*ONCE, name="fetch")])
    web.apply(workloads.job("fetch", spec))
    wait_until(lambda: is_complete(web, "job/fetch"), "the job is complete", seconds=60, every=0.5)
    assert json.loads(web("logs", "job/fetch", "-c", "fetch"))["name"] == "web"


def test_a_cron_job_ends_each_time(web):
    web.apply(workloads.cron_job("often", pod_spec(container(*ONCE), account="client")))
    # As its schedule would, without the wait for the next minute.
    web("create", "job", "now", "--from=cronjob/often")
    wait_until(lambda: is_complete(web, "job/now"), "the job is complete", seconds=60, every=0.5)


def test_a_job_that_fails_is_seen_to_fail(web):
    web.apply(workloads.job("fails", pod_spec(container("call", "http://nobody"), account="client")))

    def has_failed():
        conditions = web.json("get", "job/fails")["status"].get("conditions", [])
        return any(one["type"] == "Failed" and one["status"] == "True" for one in conditions)

    wait_until(has_failed, "the job has failed", seconds=60, every=0.5)


def test_each_pod_of_a_stateful_set_is_called_by_its_own_name(web):
    serves = container("serve", "--name", "store", readinessProbe={"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1})
    web.apply(workloads.account("store"), workloads.service("store", port=8080, headless=True),
              workloads.policy("store", web.namespace, "client", to="store"),
              workloads.stateful_set("store", pod_spec(serves, account="store")))
    web.rolled_out("statefulset/store")
    for pod in ("store-0", "store-1"):
        said = json.loads(web.exec("deployment/client", "/bin/app", "call", f"http://{pod}.store:8080"))
        assert said["pod"] == pod


def roll_out(kube, turn):
    """Gives the server's pods successors, and returns when these serve alone."""
    kube("patch", "deployment/web", "-p", json.dumps({"spec": {"template": {"metadata": {"annotations": {"turn": str(turn)}}}}}))
    kube.rolled_out("deployment/web")


def test_rolling_updates_under_load_fail_no_request(web):
    load = Load(web, rate=50)
    for turn in range(2):
        roll_out(web, turn)
    said = load.end()
    assert said["failed"] == 0, load.log
    assert said["calls"] > 200
