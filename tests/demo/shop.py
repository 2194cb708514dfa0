# SPDX-License-Identifier: Apache-2.0
"""What the demo in Kubernetes claims of the namespace that README's commands made: tests/demo/shop.yaml."""
import contextlib
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.path += [str(Path(__file__).resolve().parents[1] / "e2e")]

import install  # noqa: E402
from claims import expect  # noqa: E402
from daemon import wait_until  # noqa: E402
from wire import Capture, num_tls_1_3  # noqa: E402

NAMESPACE = "shop"
URL = "http://api"
NUM_CALLS = 20


def calls(shop, who, url=URL):
    """Whether a call of a Deployment's pod is answered."""
    return shop.run(*shop.words("exec", f"deployment/{who}", "-c", "app", "--", "/bin/app", "call", url)).returncode == 0


def until_call(shop, who, is_answered):
    """Milliseconds until a call ends so."""
    begun = time.monotonic()
    wait_until(lambda: calls(shop, who) == is_answered, f"a call of {who} is {'answered' if is_answered else 'denied'}", seconds=30)
    return f"{(time.monotonic() - begun) * 1000:.0f} ms, a call through kubectl included"


def logged(shop, app, pattern):
    """What a pattern finds in the sidecars' logs of a Deployment, as soon as it is there."""
    def find():
        for pod in shop("get", "pods", "-l", f"app={app}", "-o", "name").split():
            found = re.search(pattern, shop("logs", pod, "-c", "tabard", check=False))
            if found:
                return found
        return None

    return wait_until(find, f"a line of the sidecar's log of {app} says {pattern}", seconds=10)


def streams_of(wires, num_calls):
    """What the wires carried, once it is so many connections and each has been closed from one end at least."""
    found = {}
    for wire in wires:
        found.update(wire.streams())
    is_whole = len(found) >= 2 * num_calls and all(found[ends].is_over or found.get(ends[::-1], found[ends]).is_over for ends in found)
    return found if is_whole else None


def show_tls(shop, claims):
    claims.section("Mutual TLS")
    with claims.claim("each pod has a sidecar that its Deployment knows nothing of") as figures:
        pods = shop.json("get", "pods")["items"]
        for pod in pods:
            expect([one["name"] for one in pod["spec"]["initContainers"]][:2] == ["tabard-init", "tabard"], pod["metadata"]["name"])
        figures.append(f"{len(pods)} pods")
    with claims.claim("api's sidecar knows web by its service account") as figures:
        calls(shop, "web")
        figures.append(logged(shop, "api", rf"dir=inbound .*peer=(spiffe://\S+/ns/{NAMESPACE}/sa/web) ")[1])
    with claims.claim("who may call nobody does not even learn where api is") as figures:
        calls(shop, "stranger")
        found = logged(shop, "stranger", r"dir=outbound .*(dst=\S+) .*(reason=unlisted_destination) ")
        figures.append(f"{found[1]} {found[2]}")
    node = getattr(shop.cluster, "node", None)
    if not node:
        return
    with claims.claim("between the pods there is nothing but TLS 1.3") as figures, tempfile.TemporaryDirectory() as folder:
        with contextlib.ExitStack() as captures:
            wires = []
            for pod in shop.json("get", "pods", "-l", "app=api")["items"]:
                route = shop.run("ip", "route", "get", pod["status"]["podIP"]).stdout
                path = Path(folder) / f"{pod['metadata']['name']}.pcap"
                wires.append(Capture(SimpleNamespace(command=node.network_command), re.search(r"dev (\S+)", route)[1], 8080, path))
                captures.callback(wires[-1].close)
            shop("exec", "deployment/web", "-c", "app", "--", "/bin/app", "call", URL, "--times", NUM_CALLS)
            found = wait_until(lambda: streams_of(wires, NUM_CALLS), f"{NUM_CALLS} calls on the wire, to their end", seconds=10)
        num, others = num_tls_1_3(found)
        expect(num == NUM_CALLS and not others, f"{num} handshakes of TLS 1.3 and {others} others in {NUM_CALLS} calls")
        figures.append(f"{num} handshakes in {NUM_CALLS} calls to {len(wires)} pods")


def show_policy(shop, claims):
    claims.section("Policy")
    with claims.claim("without the MeshPolicy web is denied, too") as figures:
        policy = shop.json("get", "meshpolicy", "web-may-call-api")
        shop("delete", "meshpolicy", "web-may-call-api")
        figures.append(until_call(shop, "web", is_answered=False))
    with claims.claim("with it web is answered again") as figures:
        shop.apply({key: policy[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "web-may-call-api"}})
        figures.append(until_call(shop, "web", is_answered=True))
    with claims.claim("its status says in how many sidecars it is in force") as figures:
        def in_force():
            conditions = shop.json("get", "meshpolicy", "web-may-call-api").get("status", {}).get("conditions", [])
            return [one["message"] for one in conditions if one["type"] == "InForce" and one["status"] == "True"]
        figures += wait_until(in_force, "the condition InForce is True", seconds=30)
    with claims.claim("while the mesh observes, the stranger is answered") as figures:
        shop("patch", "meshsettings", "default", "--type=merge", "-p", '{"spec":{"mode":"observe"}}')
        figures.append(until_call(shop, "stranger", is_answered=True))
    with claims.claim("when it enforces again, it is denied") as figures:
        shop("patch", "meshsettings", "default", "--type=merge", "-p", '{"spec":{"mode":"enforce"}}')
        figures.append(until_call(shop, "stranger", is_answered=False))


class Load:
    """Web calls api the whole time, 50 times a second, a connection each."""

    def __init__(self, shop):
        self.process = shop.start(*shop.words("exec", "deployment/web", "-c", "app", "--", "/bin/app", "load", URL, "--rate", "50",
                                              "--seconds", "600"), stdout=-1, stderr=-1)
        self.shop = shop
        expect("load begins" in self.process.stdout.readline(), "the load did not begin")

    def end(self):
        self.shop("exec", "deployment/web", "-c", "app", "--", "/bin/sh", "-c", "kill -TERM $(pidof app | tr ' ' '\\n' | grep -v '^1$')")
        said, errors = self.process.communicate(timeout=60)
        report = json.loads(said.splitlines()[-1])
        expect(not report["failed"], f"{report['failed']} of {report['calls']} calls failed: {report['failures']}\n{errors[-500:]}")
        return f"{report['calls']} calls, 0 failed, the longest {report['max_ms']:.0f} ms"


def show_life(shop, claims):
    claims.section("Rotation and upgrade, while web calls api 50 times a second")
    system = shop.within(install.SYSTEM)
    for text, namespace, what in (
            ("new pods of api, one after the other", shop, "deployment/api"),
            ("new pods of tabard-policyd", system, "deployment/tabard-policyd")):
        with claims.claim(text) as figures:
            load = Load(shop)
            namespace("rollout", "restart", what)
            namespace.rolled_out(what)
            figures.append(load.end())


def show_all(kube, claims):
    shop = kube.within(NAMESPACE)
    for show in (show_tls, show_policy, show_life):
        show(shop, claims)
