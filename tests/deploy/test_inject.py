# SPDX-License-Identifier: Apache-2.0
"""`tabardctl inject`: manifests in, manifests out. What an API server says of them: tests/kubernetes/test_injection.py."""
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TABARDCTL = ROOT / "bazel-bin/control/ctl/tabardctl"
TABARD_CA = ROOT / "bazel-bin/certs/ca/tabard-ca"
LABEL = "tabard.dev/inject"
POD = {"containers": [{"name": "web", "image": "web:1", "args": ["yes", "8080", "1e3", "null", "a: b", "x\ny\n", "~", " x"]}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
KINDS = {
    "Pod": ("v1", {**TEMPLATE}),
    "ReplicationController": ("v1", {"spec": {"template": TEMPLATE}}),
    "Deployment": ("apps/v1", {"spec": {"template": TEMPLATE}}),
    "ReplicaSet": ("apps/v1", {"spec": {"template": TEMPLATE}}),
    "StatefulSet": ("apps/v1", {"spec": {"template": TEMPLATE}}),
    "DaemonSet": ("apps/v1", {"spec": {"template": TEMPLATE}}),
    "Job": ("batch/v1", {"spec": {"template": TEMPLATE}}),
    "CronJob": ("batch/v1", {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}}),
}
OTHERS = """# first, a comment
kind: Deployment   # of somebody else
apiVersion: example.com/v1
spec: {template: &x {spec: {containers: [ ]}}}
again: [*x, !mine {a: 1}]
---
---
# only a comment
---
"just a text"
--- |
 folded
...
kind: ConfigMap
apiVersion: v1
data: {a: yes, b: 0x10}
"""


def inject(text, *flags, check=True):
    done = subprocess.run([TABARDCTL, "inject", "-", *flags], input=text.encode(), capture_output=True, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.decode() if check else done


@pytest.fixture
def manual(tmp_path):
    """The flags of a whole injection."""
    subprocess.run([TABARD_CA, "init", "--dir", tmp_path / "ca", "--trust-domain", "demo.example"], check=True, capture_output=True)
    (tmp_path / "inject.yaml").write_text(yaml.safe_dump({
        "image": "localhost/tabard:dev", "policy_agent": "tabard-policyd.tabard-system.svc:15012", "trust_domain": "demo.example",
        "roots": (tmp_path / "ca/ca.pem").read_text()}))
    return ["--manual", "--config", tmp_path / "inject.yaml"]


def manifest(kind):
    version, rest = KINDS[kind]
    return {"apiVersion": version, "kind": kind, **rest, "metadata": {"name": "web", **rest.get("metadata", {})}}


def written(document):
    """As YAML that every reader takes for the same."""
    return json.dumps(document) + "\n"


def pod_of(kind, document):
    return document if kind == "Pod" else document["spec"]["jobTemplate"]["spec"]["template"] if kind == "CronJob" else document["spec"]["template"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_asks_for_injection_and_nothing_else_is_changed(kind):
    before = manifest(kind)
    text = inject(written(before))
    after = yaml.safe_load(text)
    assert pod_of(kind, after)["metadata"]["labels"].pop(LABEL) == "enabled"
    assert after == before
    assert inject(text) == text


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gets_the_whole_sidecar_and_a_second_time_nothing(kind, manual):
    text = inject(written(manifest(kind)), *manual)
    pod = pod_of(kind, yaml.safe_load(text))
    assert [container["name"] for container in pod["spec"]["initContainers"]] == ["tabard-init", "tabard"]
    assert pod["spec"]["containers"] == POD["containers"]
    mesh = yaml.safe_load(pod["metadata"]["annotations"]["tabard.dev/mesh.yaml"])
    assert mesh["policy_agent"]["identity"] == "spiffe://demo.example/tabard/policyd"
    assert inject(text, *manual) == text


def test_lists_of_workloads_are_injected_too():
    items = [manifest("Deployment"), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}, manifest("Job")]
    done = inject(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), check=False)
    after = yaml.safe_load(done.stdout)["items"]
    assert [item["spec"]["template"]["metadata"]["labels"][LABEL] for item in (after[0], after[2])] == ["enabled"] * 2
    assert after[1] == items[1]
    assert done.stderr.decode().splitlines() == ["-:1: Deployment web: asks for injection now", "-:1: Job web: asks for injection now"]


def test_other_documents_go_through_byte_for_byte():
    assert inject(OTHERS) == OTHERS
    crlf = OTHERS.replace("\n", "\r\n")
    assert inject(crlf) == crlf
    mixed = inject(OTHERS + "---\n" + written(manifest("Pod")) + "--- # after\n" + "a:   b\n")
    assert mixed.startswith(OTHERS) and mixed.endswith("\n--- # after\na:   b\n") and f"{LABEL}: enabled" in mixed


def test_files_of_a_folder_become_one_stream(tmp_path):
    (tmp_path / "b.yaml").write_text("a: 1")
    (tmp_path / "a.yml").write_text(written(manifest("Pod")))
    (tmp_path / "c.json").write_text('{"kind": "Other"}\n')
    (tmp_path / "notes.txt").write_text("{")
    done = subprocess.run([TABARDCTL, "inject", tmp_path], capture_output=True, text=True, timeout=60)
    documents = list(yaml.safe_load_all(done.stdout))
    assert done.returncode == 0 and [document.get("kind", document) for document in documents] == ["Pod", {"a": 1}, "Other"]
    nothing = "no pod and no pod template is in it: nothing to do"
    assert done.stderr.splitlines() == [f"{tmp_path}/a.yml:1: Pod web: asks for injection now", f"{tmp_path}/b.yaml: {nothing}",
                                        f"{tmp_path}/c.json: {nothing}"]
    both = subprocess.run([TABARDCTL, "inject", tmp_path / "a.yml", tmp_path / "b.yaml"], capture_output=True, text=True, timeout=60)
    assert both.returncode == 0 and [document.get("kind", document) for document in yaml.safe_load_all(both.stdout)] == ["Pod", {"a": 1}]


@pytest.mark.parametrize("text", ["", "# to be written\n", "---\n---\n", "just a text\n", "[1, 2]\n", OTHERS])
def test_what_holds_no_pod_is_told_and_goes_through(text):
    done = inject(text, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, text)
    assert done.stderr.decode() == "-: no pod and no pod template is in it: nothing to do\n"


REFUSED = {
    "the host's network": (lambda: {**manifest("Pod"), "spec": {**POD, "hostNetwork": True}}, "-:3: Pod web: refused: spec.hostNetwork: "),
    "a wrong annotation": (lambda: {**manifest("Pod"), "metadata": {"name": "web", "annotations": {"config.tabard.dev/workers": "many"}}},
                           '-:3: Pod web: refused: annotation config.tabard.dev/workers: "many" is no number'),
    "no template": (lambda: {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}},
                    "-:3: Deployment web: refused: it has no template of a pod"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_told_and_nothing_is_written(case, manual):
    make, why = REFUSED[case]
    for flags in ([], manual):
        done = inject("a: 1\n# b\n---\n" + written(make()), *flags, check=False)
        assert (done.returncode, done.stdout) == (1, b"") and done.stderr.decode().startswith(why), done.stderr


def test_what_opted_out_or_has_the_sidecar_is_left_alone(manual):
    out = {**manifest("Pod"), "metadata": {"name": "web", "labels": {LABEL: "disabled"}}}
    for flags in ([], manual):
        done = inject(text := written(out), *flags, check=False)
        assert done.stdout.decode() == text
        assert done.stderr.decode() == f'-:1: Pod web: unchanged: its label {LABEL} says "disabled"\n'
    done = inject(text := inject(written(manifest("Pod")), *manual), *manual, check=False)
    assert done.stdout.decode() == text and "the sidecar is there already, put in by version" in done.stderr.decode()


WRONG = {
    "no YAML": ("a: 1\n---\nb: [1\n---\nc: 2\n", "-: line 4: not YAML ("),
    "a key twice": ("a: 1\na: 2\n", '-: line 2: the key "a" stands here twice'),
    "a tag in what is to be injected": ('apiVersion: v1\nkind: Pod\nmetadata: {name: !!str 7}\nspec: {containers: [{name: a}]}\n',
                                        "has tags (!name): write it without"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_told_with_its_line_and_nothing_is_written(case):
    text, why = WRONG[case]
    done = inject(text, check=False)
    assert (done.returncode, done.stdout) == (1, b"") and why in done.stderr.decode(), done.stderr


def test_wrong_flags_and_files_are_told(tmp_path, manual):
    def run(*flags):
        done = subprocess.run([TABARDCTL, "inject", *flags], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        return done.returncode, done.stderr.strip()
    assert run() == (2, "tabardctl: inject: a file, a folder or - (standard input) is missing")
    assert run("-", "--manual") == (2, "tabardctl: inject: --manual and --config FILE go together")
    assert run(tmp_path / "none") == (1, f"{tmp_path}/none: No such file or directory")
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == (1, f"{tmp_path}/empty: no .yaml, .yml or .json in it")
    (tmp_path / "bad.yaml").write_text("image: a\n")
    status, why = run("-", "--manual", "--config", tmp_path / "bad.yaml")
    assert status == 1 and why.startswith(f"tabardctl: inject: {tmp_path}/bad.yaml:1:1: policy_agent: "), why


def test_the_document_lists_the_annotations_as_they_are_and_each_example_is_taken(manual):
    rows = re.findall(r"^\| `([a-z-]+)` \| `([^`]+)` \| (.+) \|$", (ROOT / "docs/kubernetes.md").read_text(), re.M)
    listed = subprocess.run([TABARDCTL, "inject", "--annotations"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert re.findall(r'^config\.tabard\.dev/(\S+): "(.*)"\n    (.*)$', listed, re.M) == rows and len(rows) == len(listed.splitlines()) / 2
    for name, example, _ in rows:
        annotations = {f"config.tabard.dev/{name}": example}
        pod = {**manifest("Pod"), "metadata": {"name": "web", "annotations": annotations}, "spec": {**POD, "volumes": [{"name": "tls", "emptyDir": {}}]}}
        done = inject(written(pod), *manual, check=False)
        assert done.returncode == 0 and b"injected" in done.stderr, (name, done.stderr)


@pytest.mark.parametrize("annotations", [{}, {"alpn": "50051=h2", "inbound-ports": "9090=PLAINTEXT,8000-8010=PERMISSIVE", "drain-seconds": "7"},
                                         {"certificate-volume": "tls"}], ids=["none", "ports", "certificate"])
def test_a_sidecar_takes_the_files_that_the_annotations_hold(manual, tmp_path, annotations):
    spec = {**POD, "volumes": [{"name": "tls", "emptyDir": {}}]}
    pod = {**manifest("Pod"), "metadata": {"name": "web", "annotations": {f"config.tabard.dev/{key}": value for key, value in annotations.items()}},
           "spec": spec}
    made = yaml.safe_load(inject(written(pod), *manual))
    folder = tmp_path / "etc"
    folder.mkdir()
    for name in ("mesh.yaml", "roots.pem"):
        text = made["metadata"]["annotations"][f"tabard.dev/{name}"]
        (folder / name).write_text(text.replace("/etc/tabard-certificate/", f"{tmp_path}/"))
    (folder / "token").write_text("a.b.c")
    subprocess.run([TABARD_CA, "issue", "--dir", tmp_path / "ca", "--id", "spiffe://demo.example/ns/shop/sa/web", "--out-cert", tmp_path / "tls.crt",
                    "--out-key", tmp_path / "tls.key"], check=True, capture_output=True)
    done = subprocess.run([TABARDCTL, "check", folder / "mesh.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "follows the policy agent at tabard-policyd.tabard-system.svc:15012" in done.stdout and ", interception" in done.stdout
