# SPDX-License-Identifier: Apache-2.0
"""What the API server says of MeshPolicies, MeshDestinations and MeshSettings: a real one, by the schemas of the chart.

The definitions are those of the chart under a group of the test's own, so that a mesh in the same cluster is left alone.
"""
import copy
import json
import re
from pathlib import Path

import pytest

DEFINITIONS = Path(__file__).resolve().parents[2] / "deploy/chart/files/crds"
GROUP = "test.tabard.dev"
PORT_PATTERN = "in body should match '^([1-9][0-9]{0,3}|"
ID_PATTERN = "in body should match '^spiffe://"

WEB = "spiffe://prod.example/ns/shop/sa/web"
POLICY = {"action": "ALLOW", "rules": [{"principals": [WEB]}]}
MTLS = {"mode": "MTLS", "addresses": ["10.1.2.0/24"], "identities": [WEB]}
PLAIN = {"mode": "PLAINTEXT", "addresses": ["10.1.2.3"]}
SETTINGS = {"trustDomain": "prod.example"}
EVERYBODY = "a rule of an ALLOW must name from, principals or sourceIps, or it would let everybody in"
REVERSED = "a range ends before it begins: write the lower port first"


def policy(**changes):
    return "MeshPolicy", {**POLICY, **changes}


def rule(**fields):
    return policy(rules=[fields])


def destination(base, **changes):
    spec = {**base, **changes}
    return "MeshDestination", {name: value for name, value in spec.items() if value is not None}


def settings(**changes):
    return "MeshSettings", {**SETTINGS, **changes}


TAKEN = {
    "a policy of one principal": policy(),
    "a policy of everything": policy(
        selector={"serviceAccounts": ["api"], "matchLabels": {"app": "web", "example.com/tier": ""}}, mode="AUDIT",
        ports=[1, 65535, "8000-8999", "7-7"], rules=[{
            "from": [{"namespace": "shop", "serviceAccount": "web.v1"}, {"namespace": "lobby"}], "notFrom": [{"namespace": "x"}],
            "principals": ["spiffe://prod.example", "spiffe://prod.example/ns/shop/", "spiffe://a_b-c.d/..x/.../A-z_0.9/.a"],
            "notPrincipals": [WEB], "sourceIps": ["10.1.0.0/16", "10.1.2.3", "fd00::/8", "fd00::1", "0.0.0.0/0"],
            "notSourceIps": ["::/0"]}]),
    "a DENY of everybody": policy(action="DENY", rules=[{}]),
    "a destination by mutual TLS": destination(MTLS, ports=[443], alpn=["tabard/1", "h2"], binding="REQUIRED"),
    "a binding of NONE without tabard/1": destination(MTLS, alpn=["h2"], binding="NONE"),
    "a destination in plaintext": destination(PLAIN, selector={"serviceAccounts": ["web"]}),
    "a destination by services": destination(PLAIN, addresses=None, services=[{"namespace": "db", "name": "main"}]),
    "settings": settings(unlistedOutbound="PLAINTEXT", mode="observe", certificateSeconds=3600),
    "the demand for X25519MLKEM768": settings(keyExchange="POST_QUANTUM"),
    "certificates of a minute": settings(certificateSeconds=60),
    "certificates of a day": settings(certificateSeconds=86400),
    # Refused by policyd, in the object's status: the API server has no means to see it.
    "a block with bits behind its prefix": rule(sourceIps=["10.1.2.3/8"]),
    "ranges that have ports in common": policy(ports=["1-10", 5]),
}

REFUSED = {
    "no action": (("MeshPolicy", {"rules": POLICY["rules"]}), "spec.action: Required value"),
    "an unknown action": (policy(action="PERMIT"), 'spec.action: Unsupported value: "PERMIT": supported values: "ALLOW", "DENY"'),
    "an unspecified action": (policy(action="ACTION_UNSPECIFIED"), 'supported values: "ALLOW", "DENY"'),
    "an unknown mode": (policy(mode="OFF"), 'spec.mode: Unsupported value: "OFF": supported values: "ENFORCE", "AUDIT"'),
    "no rules": (("MeshPolicy", {"action": "DENY"}), "spec.rules: Required value"),
    "empty rules": (policy(rules=[]), "spec.rules: Invalid value: 0: spec.rules in body should have at least 1 items"),
    "an ALLOW of everybody": (rule(), EVERYBODY),
    "an ALLOW of all but some": (rule(notPrincipals=[WEB], notSourceIps=["10.1.2.3"], notFrom=[{"namespace": "x"}]), EVERYBODY),
    "an ALLOW with a second rule of everybody": (policy(rules=[{"principals": [WEB]}, {}]), EVERYBODY),
    "empty principals": (rule(principals=[]), "spec.rules[0].principals in body should have at least 1 items"),
    "empty sources": (rule(sourceIps=[]), "spec.rules[0].sourceIps in body should have at least 1 items"),
    "an empty exception": (rule(principals=[WEB], notPrincipals=[]),
                           "spec.rules[0].notPrincipals in body should have at least 1 items"),
    "an empty from": (rule(**{"from": []}), "spec.rules[0].from in body should have at least 1 items"),
    "a from without a namespace": (rule(**{"from": [{"serviceAccount": "web"}]}), "spec.rules[0].from[0].namespace: Required value"),
    "a from of an impossible namespace": (rule(**{"from": [{"namespace": "a.b"}]}), "spec.rules[0].from[0].namespace in body should"),
    "a from of an impossible account": (rule(**{"from": [{"namespace": "a", "serviceAccount": "a/b"}]}),
                                        "spec.rules[0].from[0].serviceAccount in body should match"),
    "no ports": (policy(ports=[]), "spec.ports in body should have at least 1 items"),
    "port 0": (policy(ports=[0]), "spec.ports[0] in body should be greater than or equal to 1"),
    "port 65536": (policy(ports=[80, 65536]), "spec.ports[1] in body should be less than or equal to 65535"),
    "a port as text": (policy(ports=["80"]), PORT_PATTERN),
    "a range to 65536": (policy(ports=["1-65536"]), PORT_PATTERN),
    "a range from 0": (policy(ports=["0-5"]), PORT_PATTERN),
    "a range with a leading zero": (policy(ports=["01-5"]), PORT_PATTERN),
    "a range of one end": (policy(ports=["5-"]), PORT_PATTERN),
    "a reversed range": (policy(ports=["8999-8000"]), REVERSED),
    "a range that is reversed as numbers": (policy(ports=["10000-9000"]), REVERSED),
    "a port with a fraction": (policy(ports=[80.5]), "spec.ports[0] in body must be of type"),
    **{f"the principal {text}": (rule(principals=[text]), f"spec.rules[0].principals[0] {ID_PATTERN}") for text in [
        "", "*", "prod.example/ns/shop", "SPIFFE://prod.example/a", "spiffe://Prod.example/a", "spiffe:///a", "spiffe://prod.example/",
        "spiffe://prod.example//a", "spiffe://prod.example/a//b", "spiffe://prod.example/a//", "spiffe://prod.example/./a",
        "spiffe://prod.example/a/..", "spiffe://prod.example/../", "spiffe://prod.example/a b", "spiffe://prod.example/a%20",
        "spiffe://prod.example/ns/*", "spiffe://prod.example:8/a", "spiffe://prod.example/a\n"]},
    "a trust domain of 256 bytes": (rule(principals=[f"spiffe://{'a' * 256}/b"]), ID_PATTERN),
    "an id of 2049 bytes": (rule(principals=[WEB + "x" * (2049 - len(WEB))]), "Too long: may not be more than 2048"),
    **{f"the source {text}": (rule(sourceIps=[text]), "spec.rules[0].sourceIps[0]") for text in [
        "", "10.1.2", "10.1.2.256", "10.01.2.3", "10.1.2.0/33", "fd00::/129", "fd00::1%eth0", "web", "10.1.2.3:80"]},
    "an empty selector": (policy(selector={}), "spec.selector in body should have at least 1 properties"),
    "a selector of no accounts": (policy(selector={"serviceAccounts": []}), "spec.selector.serviceAccounts in body should have"),
    "a selector of no labels": (policy(selector={"matchLabels": {}}), "spec.selector.matchLabels in body should have at least 1"),
    "a selector of an impossible label": (policy(selector={"matchLabels": {"a": "b c"}}), "spec.selector.matchLabels.a in body"),
    "a destination without a mode": (destination(PLAIN, mode=None), "spec.mode: Required value"),
    "a destination of nowhere": (destination(PLAIN, addresses=None), "a destination needs addresses or services"),
    "a destination of no addresses": (destination(PLAIN, addresses=[]), "spec.addresses in body should have at least 1 items"),
    "mutual TLS with nobody": (destination(MTLS, identities=None), "mode MTLS needs the identities of which the server must prove"),
    "mutual TLS with no identities": (destination(MTLS, identities=[]), "spec.identities in body should have at least 1 items"),
    "plaintext with identities": (destination(PLAIN, identities=[WEB]), "mode PLAINTEXT proves no identities: leave them out"),
    "plaintext with ALPN": (destination(PLAIN, alpn=["h2"]), "alpn is only for mode MTLS"),
    "plaintext with a binding": (destination(PLAIN, binding="NONE"), "binding is only for mode MTLS"),
    "a binding that nobody can confirm": (destination(MTLS, alpn=["h2"], binding="OFFERED"), "add tabard/1 to alpn, or leave"),
    "an empty name of ALPN": (destination(MTLS, alpn=[""]), "spec.alpn[0] in body should be at least 1 chars long"),
    "a caller of no account": (destination(PLAIN, selector={}), "spec.selector.serviceAccounts: Required value"),
    "a service without a namespace": (destination(PLAIN, services=[{"name": "a"}]), "spec.services[0].namespace: Required value"),
    "settings without a trust domain": (("MeshSettings", {}), "spec.trustDomain: Required value"),
    "a trust domain that is an id": (settings(trustDomain="spiffe://a"), "spec.trustDomain in body should match '^[a-z0-9._-]"),
    "a mode of another vocabulary": (settings(mode="ENFORCE"), 'spec.mode: Unsupported value: "ENFORCE": supported values: "enforce"'),
    "an unknown word for unlisted": (settings(unlistedOutbound="ALLOW"), 'supported values: "DENY", "PLAINTEXT"'),
    "an unknown word for the key exchange": (settings(keyExchange="NONE"), 'supported values: "ANY", "POST_QUANTUM"'),
    "certificates of less than a minute": (settings(certificateSeconds=59), "should be greater than or equal to 60"),
    "certificates of more than a day": (settings(certificateSeconds=86401), "should be less than or equal to 86400"),
    "a life of certificates as text": (settings(certificateSeconds="1h"), "spec.certificateSeconds: Invalid value: \"string\""),
    "a life of certificates with a fraction": (settings(certificateSeconds=60.5), "spec.certificateSeconds"),
}


def document(kind, spec, name=None):
    name = name or ("default" if kind == "MeshSettings" else "x")
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def api(kube):
    """A namespace in which kubectl knows the definitions."""
    texts = [path.read_text().replace("tabard.dev", GROUP) for path in DEFINITIONS.iterdir()]
    kube.apply(*texts)
    names = re.findall(rf"^  name: (\S+\.{GROUP})$", "\n".join(texts), re.M)
    kube("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in names))
    yield kube.make_namespace("test-resources")
    kube("delete", "namespace", "test-resources", "--wait=false")
    kube("delete", "crd", *names)


@pytest.fixture(scope="module")
def said(api):
    """What the API server says of every object of both tables, by the table's key; kubectl names them in this order."""
    cases = {**TAKEN, **{key: case for key, (case, _) in REFUSED.items()}}
    keys = {f"case-{number}": key for number, key in enumerate(cases)}
    told = {}
    for name, key in keys.items():
        kind, spec = cases[key]
        # MeshSettings have one name, so those go one by one; the others in one call.
        if kind == "MeshSettings":
            told[key] = create(api, document(kind, spec))
    several = [document(*cases[key], name) for name, key in keys.items() if cases[key][0] != "MeshSettings"]
    for part in re.split(r"\n(?=Error from server|mesh\w+\.test\.tabard\.dev/)", create(api, *several)):
        found = re.search(r"\"?(case-\d+)\"?", part)
        assert found, part
        told[keys[found.group(1)]] = part
    return told


def create(api, *objects):
    done = api.run(*api.words("create", "--dry-run=server", "-f", "-"), input="\n---\n".join(map(json.dumps, objects)))
    return (done.stdout + done.stderr).strip()


@pytest.mark.cluster
@pytest.mark.parametrize("key", TAKEN)
def test_it_takes(said, key):
    assert said[key].endswith("created (server dry run)"), said[key]


@pytest.mark.cluster
@pytest.mark.parametrize("key", REFUSED)
def test_it_refuses(said, key):
    assert REFUSED[key][1] in said[key], said[key]


@pytest.mark.cluster
@pytest.mark.parametrize("spec, most", [(policy(), 64), (destination(PLAIN), 189)])
def test_a_name_is_as_long_as_fits_the_mesh(api, spec, most):
    assert create(api, document(*spec, "x" * most)).endswith("created (server dry run)")
    assert f"has {most} bytes at most" in create(api, document(*spec, "x" * (most + 1)))


@pytest.mark.cluster
def test_kubectl_refuses_a_field_that_is_not_known(api):
    misspelt = document(*rule(principals=[WEB], notSourceIp=["10.1.2.3"]))
    assert 'unknown field "spec.rules[0].notSourceIp"' in create(api, misspelt)


@pytest.mark.cluster
def test_there_is_one_object_of_settings_and_its_trust_domain_stays(api):
    second = copy.deepcopy(document("MeshSettings", SETTINGS, "second"))
    assert "the only MeshSettings is called default" in create(api, second)
    api.apply(document("MeshSettings", SETTINGS))
    changed = api.run(*api.words("apply", "-f", "-"), input=json.dumps(document("MeshSettings", {"trustDomain": "other.example"})))
    assert "the trust domain can't be changed: every identity and policy has it" in changed.stderr
    api.apply(document("MeshSettings", {**SETTINGS, "mode": "observe"}))
    assert api.json("get", f"meshsettings.{GROUP}", "default")["spec"] == {**SETTINGS, "mode": "observe", "unlistedOutbound": "DENY"}


@pytest.mark.cluster
def test_kubectl_shows_what_policyd_made_of_an_object(api):
    api.apply(document("MeshPolicy", POLICY, "shown"))
    conditions = [{"type": kind, "status": "True", "reason": "Done", "message": message, "observedGeneration": 1,
                   "lastTransitionTime": "2026-01-01T00:00:00Z"}
                  for kind, message in [("Accepted", "taken"), ("InForce", "3 of 4 sidecars")]]
    api("patch", f"meshpolicies.{GROUP}", "shown", "--subresource=status", "--type=merge", "-p",
        json.dumps({"status": {"conditions": conditions}}))
    head, row = api("get", f"meshpolicies.{GROUP}", "shown").splitlines()
    assert re.split(r"\s{2,}", head.strip()) == ["NAME", "ACTION", "MODE", "ACCEPTED", "IN FORCE", "AGE"]
    assert re.split(r"\s{2,}", row.strip())[:5] == ["shown", "ALLOW", "ENFORCE", "True", "3 of 4 sidecars"]
