# SPDX-License-Identifier: Apache-2.0
"""Objects that the tests and the demo apply: ordinary ones, which know nothing of a mesh."""

APP_IMAGE = "localhost/app:1"
# What an application has to do to end without a lost request: go on serving while the news spreads that it ends.
LINGER_MS = 2000


def container(*command, name="app", user=1000, **more):
    return {"name": name, "image": APP_IMAGE, "imagePullPolicy": "Never", "args": [str(word) for word in command],
            "securityContext": {"runAsUser": user, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]}}, **more}


def pod_spec(*containers, account="default", **more):
    return {"serviceAccountName": account, "containers": list(containers), "terminationGracePeriodSeconds": 20, **more}


def account(name):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def deployment(name, spec, *, replicas=1, labels=None, annotations=None, **more):
    labels = {"app": name, **(labels or {})}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, **more,
        "template": {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": spec}}}


def service(name, *, port=80, target=8080, headless=False, app=None):
    spec = {"selector": {"app": app or name}, "ports": [{"name": "http", "port": port, "targetPort": target}]}
    if headless:
        spec["clusterIP"] = "None"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def server(name, *, replicas=1, account_name=None, **more):
    """A server with its account and its Service: three objects."""
    serves = container("serve", "--name", name, "--linger", LINGER_MS, ports=[{"containerPort": 8080}],
                       readinessProbe={"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1})
    who = account_name or name
    return [account(who), deployment(name, pod_spec(serves, account=who), replicas=replicas, **more), service(name)]


def caller(name, *command, account_name=None, **more):
    """A pod that calls, with its account: two objects. Without a command it waits for `kubectl exec`."""
    who = account_name or name
    does = container(*(command or ["wait"]))
    return [account(who), deployment(name, pod_spec(does, account=who), **more)]


def policy(name, namespace, *accounts, to=None, action="ALLOW"):
    """A MeshPolicy: which accounts of `namespace` may call the pods of account `to`, or all of theirs."""
    spec = {"action": action, "rules": [{"from": [{"namespace": namespace, "serviceAccount": one} for one in accounts]}]}
    if to:
        spec["selector"] = {"serviceAccounts": [to]}
    return {"apiVersion": "tabard.dev/v1alpha1", "kind": "MeshPolicy", "metadata": {"name": name}, "spec": spec}


def job(name, spec, **more):
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "backoffLimit": 0, "template": {"spec": {**spec, "restartPolicy": "Never"}}, **more}}


def cron_job(name, spec):
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": {
        "schedule": "* * * * *", "jobTemplate": {"spec": job(name, spec)["spec"]}}}


def stateful_set(name, spec, *, replicas=2):
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel", "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}}
