# SPDX-License-Identifier: Apache-2.0
"""What the demo in Kubernetes claims of the namespace that README's commands made: tests/demo/shop.yaml."""
import contextlib
import re
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.path += [str(Path(__file__).resolve().parents[1] / "e2e")]

import install  # noqa: E402
from chart import check  # noqa: E402
from claims import expect  # noqa: E402
from daemon import wait_until  # noqa: E402
from load import Load  # noqa: E402
from pods import serial_of, sidecar_restarts  # noqa: E402
from wire import Capture, num_tls_1_3  # noqa: E402

NAMESPACE = "shop"
URL = "http://api"
NUM_CALLS = 20
NEXT_IMAGE = "localhost/tabard:next"  # the same programs under another name


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


@contextlib.contextmanager
def under_load(shop, claims):
    """Whoever is web calls api the whole time, from a pod of its own, a connection for each call."""
    load = Load(shop, account="web", url=URL, rate=50)
    yield
    with claims.claim("no call failed meanwhile") as figures:
        report = load.end()
        num, failed = report["calls"], report["failed"]
        expect(not failed, f"{failed} of {num} calls failed: {report['failures']}\n{load.log[-500:]}")
        figures.append(f"{num} calls, 0 failed, the longest {report['max_ms']:.0f} ms")


def restart(kube, *apps):
    """Gives Deployments new pods. Returns how long that took."""
    begun = time.monotonic()
    kube("rollout", "restart", *(f"deployment/{app}" for app in apps))
    for app in apps:
        kube.rolled_out(f"deployment/{app}")
    return f"{time.monotonic() - begun:.0f} s"


def certificates(shop, app):
    """What each pod's certificate is at the moment: its serial number, by the pod's uid and the starts of its sidecar."""
    found = {}
    for pod in shop.json("get", "pods", "-l", f"app={app}")["items"]:
        if not pod["metadata"].get("deletionTimestamp"):
            found[pod["metadata"]["uid"], sidecar_restarts(pod)] = serial_of(shop, pod["metadata"]["name"])
    return found


def show_rotation(shop, claims):
    claims.section("Rotation, while web calls api 50 times a second")
    # Certificates are for a minute from here on, so that a renewal can be waited for: it comes after half of that.
    with install.certificates_of(shop, 60), under_load(shop, claims):
        with claims.claim("new pods of tabard-policyd") as figures:
            figures.append(restart(shop.within(install.SYSTEM), "tabard-policyd"))
        with claims.claim("new pods of api, one after the other") as figures:
            figures.append(restart(shop, "api"))
        with claims.claim("pods of api that live on renew their certificates") as figures:
            before = certificates(shop, "api")
            expect(len(before) == 2 and all(before.values()), before)

            def renewed():
                now = certificates(shop, "api")
                expect(now.keys() == before.keys(), f"other pods, or sidecars that were restarted: {[*now]} after {[*before]}")
                return all(now[pod] not in ("", before[pod]) for pod in before) and now

            now = wait_until(renewed, f"both have another serial number than {[*before.values()]}", seconds=45, every=1)
            figures += [f"serial {before[pod][:8]} became {now[pod][:8]}" for pod in before]


def check_mesh(kube):
    """What `tabardctl check --kubernetes` says of sidecars: which are behind, and that all are good, if they are."""
    status, lines = check(kube)
    expect(status == 0, "\n".join(lines))
    behind = [line.removeprefix("! ").partition(";")[0] for line in lines if "sidecars are not of" in line]
    return behind, [line.removeprefix("√ ") for line in lines if "have a sidecar that is ready" in line]


def images(kube, selector, containers):
    """The images that a container has, in the pods that don't end."""
    pods = [pod for pod in kube.json("get", "pods", "-l", selector)["items"] if not pod["metadata"].get("deletionTimestamp")]
    return {pod["spec"][containers][-1]["image"] for pod in pods}


def show_upgrade(shop, claims):
    claims.section(f"Upgrade of the mesh to {NEXT_IMAGE}, while web calls on")
    if not hasattr(shop.cluster, "node"):
        print("  not shown: each node of this cluster would need a second image")
        return
    install.load_image(shop.cluster, NEXT_IMAGE)
    system = shop.within(install.SYSTEM)
    with under_load(shop, claims):
        with claims.claim("tabard-policyd is of that image") as figures:
            begun = time.monotonic()
            install.install(shop.within(None), image=NEXT_IMAGE)
            expect(images(system, "app.kubernetes.io/component=policyd", "containers") == {NEXT_IMAGE}, "another image")
            figures.append(f"{time.monotonic() - begun:.0f} s")
        with claims.claim("tabardctl check --kubernetes names who is behind") as figures:
            figures += check_mesh(shop)[0]
            expect(figures and figures[0].startswith("5 sidecars ") and f": {NAMESPACE}/" in figures[0], figures)
        with claims.claim("the sidecars of new pods are, too") as figures:
            figures.append(restart(shop, "api", "web", "stranger"))
            expect(images(shop, "app in (api,web,stranger)", "initContainers") == {NEXT_IMAGE}, "another image")
    with claims.claim("and nobody is behind any more") as figures:
        behind, good = check_mesh(shop)
        expect(good and not behind, behind)
        figures += good


def show_all(kube, claims):
    shop = kube.within(NAMESPACE)
    for show in (show_tls, show_policy, show_rotation, show_upgrade):
        show(shop, claims)
