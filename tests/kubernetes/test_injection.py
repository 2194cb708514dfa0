# SPDX-License-Identifier: Apache-2.0
"""What an API server and a kubelet say of pods into which the sidecar was put: by `tabardctl inject --manual`, with certificates of
their own, so that no policyd is needed; and by the webhook."""
import base64
import json
import subprocess
import time

import pytest
import yaml

import by_hand
import workloads
from daemon import wait_until
from workloads import container, deployment, job, pod_spec, stateful_set

TABARDCTL = by_hand.ROOT / "bazel-bin/control/ctl/tabardctl"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return by_hand.Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def inject(authority, tmp_path_factory):
    """inject(OBJECT) returns it with the sidecar in its pods."""
    config = tmp_path_factory.mktemp("config") / "inject.yaml"
    config.write_text(json.dumps({"image": by_hand.IMAGE, "image_pull_policy": "Never", "policy_agent": "tabard-policyd.tabard-system.svc:15012",
                                  "trust_domain": by_hand.DOMAIN, "roots": (authority.folder / "ca/ca.pem").read_text()}))

    def one(manifest):
        done = subprocess.run([TABARDCTL, "inject", "-", "--manual", "--config", config], input=json.dumps(manifest), capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(done.stdout)
    return one


@pytest.fixture
def with_certificate(namespace, authority, inject):
    """with_certificate(NAME, CONTAINER) is a Deployment of it with the sidecar, which has a certificate from a Secret and follows
    nobody: every port takes plaintext, every destination is open."""
    def one(name, app):
        secret = authority.secret(name, namespace.namespace, {})
        secret["data"]["tls.crt"], secret["data"]["tls.key"] = secret["data"].pop("cert.pem"), secret["data"].pop("key.pem")
        namespace.apply(secret, workloads.account(name))
        volumes = [{"name": "tls", "secret": {"secretName": secret["metadata"]["name"]}}]
        made = inject(deployment(name, pod_spec(app, account=name, volumes=volumes), annotations={"config.tabard.dev/certificate-volume": "tls"}))
        annotations = made["spec"]["template"]["metadata"]["annotations"]
        mesh = yaml.safe_load(annotations["tabard.dev/mesh.yaml"])
        del mesh["policy_agent"]
        mesh["trust_bundles"] = [{"trust_domain": by_hand.DOMAIN, "roots": "roots.pem"}]
        annotations["tabard.dev/mesh.yaml"] = json.dumps(mesh)
        namespace.apply(made)
        return namespace
    return one


KINDS = {
    "Pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": pod_spec(container("wait"))},
    "Deployment": deployment("web", pod_spec(container("wait"))),
    "StatefulSet": stateful_set("web", pod_spec(container("wait"))),
    "Job": job("web", pod_spec(container("wait"))),
    "CronJob": workloads.cron_job("web", pod_spec(container("wait"))),
}


@pytest.mark.cluster
@pytest.mark.parametrize("kind", KINDS)
def test_an_api_server_takes_each_kind_with_its_sidecar_and_keeps_it(namespace, inject, kind):
    made = inject(KINDS[kind])
    kept = json.loads(namespace("apply", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(made)))
    pod = kept if kind == "Pod" else kept["spec"]["jobTemplate"]["spec"]["template"] if kind == "CronJob" else kept["spec"]["template"]
    init, sidecar = pod["spec"]["initContainers"]
    assert (init["name"], sidecar["name"], sidecar["restartPolicy"]) == ("tabard-init", "tabard", "Always")
    # The plugin that mounts a token of Kubernetes' own API has left both alone.
    for one in (init, sidecar):
        assert [mount["name"] for mount in one["volumeMounts"] if mount["mountPath"].startswith("/var/run/secrets/")] == ["tabard-run"]


@pytest.mark.cluster
def test_pod_security_refuses_the_init_container_and_nothing_else(kube, namespace, inject):
    spec = pod_spec(container("wait"))
    spec["containers"][0]["securityContext"]["seccompProfile"] = {"type": "RuntimeDefault"}
    made = inject({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
    kube("label", "namespace", namespace.namespace, "pod-security.kubernetes.io/enforce=restricted")
    with pytest.raises(Exception) as refusal:
        namespace("apply", "--dry-run=server", "-f", "-", input=json.dumps(made))
    assert 'container "tabard-init"' in str(refusal.value) and 'container "tabard"' not in str(refusal.value), refusal.value
    del made["spec"]["initContainers"][0]
    namespace("apply", "--dry-run=server", "-f", "-", input=json.dumps(made))


def pod_named(kube, app):
    return kube.json("get", "pods", "-l", f"app={app}")["items"][0]


def page(kube, app, port, path):
    """A page of the sidecar, asked for from the application's container."""
    pod = pod_named(kube, app)
    return kube("exec", pod["metadata"]["name"], "-c", "app", "--", "wget", "-q", "-O", "-", f"http://{pod['status']['podIP']}:{port}{path}")


@pytest.mark.cluster
def test_the_kubelet_s_probes_reach_the_application_through_the_sidecar(tabard_image, with_certificate):
    serves = container("serve", "--name", "web", ports=[{"name": "http", "containerPort": 8080}],
                       startupProbe={"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 30},
                       livenessProbe={"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 1},
                       readinessProbe={"httpGet": {"port": 8080, "path": "/slow?ms=100"}, "periodSeconds": 1})
    kube = with_certificate("web", serves)
    kube.rolled_out("deployment/web")
    pod = pod_named(kube, "web")
    assert pod["spec"]["containers"][0]["livenessProbe"]["httpGet"] == {"path": "/app-health/app/livez", "port": 15021, "scheme": "HTTP"}
    assert page(kube, "web", 15021, "/app-health/app/readyz") == "/slow?ms=100 answered with status 200\n"
    good = 'tabard_application_probes_total{result="good"}'
    counted = dict(line.rsplit(" ", 1) for line in page(kube, "web", 15020, "/metrics").splitlines() if not line.startswith("#"))
    assert float(counted[good]) >= 3
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.cluster
def test_an_application_that_does_not_answer_is_not_ready_and_the_event_says_503(tabard_image, with_certificate):
    waits = container("wait", readinessProbe={"httpGet": {"port": 8080}, "periodSeconds": 1})
    kube = with_certificate("mute", waits)

    def told():
        return [event["message"] for event in kube.json("get", "events")["items"] if event["message"].startswith("Readiness probe failed: HTTP")]

    wait_until(told, "the kubelet tells of the probe", seconds=60, every=0.5)
    assert told()[0] == "Readiness probe failed: HTTP probe failed with statuscode: 503"
    pod = pod_named(kube, "mute")
    ready = {one["name"]: one["ready"] for one in pod["status"]["containerStatuses"] + pod["status"]["initContainerStatuses"]}
    assert ready == {"app": False, "tabard": True, "tabard-init": True}
    log = kube("logs", pod["metadata"]["name"], "-c", "tabard")
    assert 'msg="probe failed" page=/app-health/app/readyz' in log and "connection refused" in log


@pytest.mark.cluster
def test_the_init_container_shows_that_interception_holds(tabard_image, with_certificate):
    kube = with_certificate("caught", container("wait"))
    kube.rolled_out("deployment/caught")
    said = kube("logs", pod_named(kube, "caught")["metadata"]["name"], "-c", "tabard-init").splitlines()
    assert said[0] == "the rules in the kernel are those of these flags"
    assert "IPv4: a call to 192.0.2.1:1 came to port 15001" in said


def test_the_sidecar_s_image_is_asked_for_by_absolute_paths(inject):
    """Which the image has: it has no shell to look for them."""
    made = inject(KINDS["Pod"])
    assert [one["command"][0] for one in made["spec"]["initContainers"]] == ["/usr/bin/tabardctl", "/usr/bin/tabard-agent"]


# By the webhook


def failed_creations(kube):
    return [event["message"] for event in kube.json("get", "events")["items"] if event["reason"] == "FailedCreate"]


REFUSED = {
    "host-network": (deployment("web", pod_spec(container("wait"), hostNetwork=True)), "spec.hostNetwork: the pod shares the network of its node"),
    "annotation": (deployment("web", pod_spec(container("wait")), annotations={"config.tabard.dev/inbound-ports": "9090"}),
                   'annotation config.tabard.dev/inbound-ports: "9090" is not PORT=MODE'),
    "user": (deployment("web", pod_spec(container("wait", user=1337))), "container app runs as user 1337"),
}


@pytest.mark.cluster
@pytest.mark.parametrize("case", REFUSED)
def test_a_deployment_that_cannot_be_in_the_mesh_is_told_why_by_an_event(meshed, case):
    made, why = REFUSED[case]
    meshed.apply(made)
    wait_until(lambda: failed_creations(meshed), "the pod is refused", seconds=30, every=0.3)
    assert why in failed_creations(meshed)[0]
    assert meshed.json("get", "pods")["items"] == []


@pytest.mark.cluster
def test_a_pod_that_opts_out_starts_without_a_sidecar(meshed):
    meshed.apply(deployment("web", pod_spec(container("wait")), labels={"tabard.dev/inject": "disabled"}))
    meshed.rolled_out("deployment/web")
    assert "initContainers" not in pod_named(meshed, "web")["spec"]


@pytest.mark.cluster
def test_a_pod_that_was_injected_by_hand_is_left_as_it_is_by_the_webhook(meshed, inject):
    made = inject(KINDS["Pod"])
    kept = json.loads(meshed("apply", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(made)))
    assert [one["name"] for one in kept["spec"]["initContainers"]] == ["tabard-init", "tabard"]
    assert kept["metadata"]["annotations"]["tabard.dev/mesh.yaml"] == made["metadata"]["annotations"]["tabard.dev/mesh.yaml"]


@pytest.mark.cluster
def test_what_asks_for_injection_gets_its_sidecar(meshed):
    done = subprocess.run([TABARDCTL, "inject", "-"], input=json.dumps(KINDS["Deployment"]), capture_output=True, text=True, check=True, timeout=60)
    meshed.apply(done.stdout)
    meshed.rolled_out("deployment/web")
    assert [one["name"] for one in pod_named(meshed, "web")["spec"]["initContainers"]] == ["tabard-init", "tabard"]


@pytest.mark.cluster
def test_a_pod_that_brings_a_certificate_keeps_it_and_follows_policyd_by_it(meshed, mesh, tmp_path):
    """A certificate of the mesh's CA that lives for seven hours, as no other does."""
    authority = mesh.json("get", "secret", "tabard-ca")["data"]
    for name, text in authority.items():
        (tmp_path / name).write_bytes(base64.b64decode(text))
        (tmp_path / name).chmod(0o600)
    files = [tmp_path / "tls.crt", tmp_path / "tls.key"]
    subprocess.run([by_hand.ROOT / "bazel-bin/certs/ca/tabard-ca", "issue", "--dir", tmp_path, "--id", by_hand.spiffe_id(meshed.namespace, "default"),
                    "--hours", "7", "--out-cert", files[0], "--out-key", files[1]], check=True, capture_output=True)
    meshed.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"},
                  "data": {file.name: base64.b64encode(file.read_bytes()).decode() for file in files}},
                 deployment("web", pod_spec(container("wait"), volumes=[{"name": "tls", "secret": {"secretName": "tls"}}]),
                            annotations={"config.tabard.dev/certificate-volume": "tls"}))
    meshed.rolled_out("deployment/web")
    status = json.loads(meshed("exec", pod_named(meshed, "web")["metadata"]["name"], "-c", "tabard", "--", "/usr/bin/tabardctl", "status", "--json"))
    assert status["spiffe_id"] == by_hand.spiffe_id(meshed.namespace, "default")
    assert status["policy_agent"]["version"] != 0
    assert int(status["certificate_not_after_unix"]) - time.time() > 6 * 3600
