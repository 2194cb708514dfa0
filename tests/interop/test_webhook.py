# SPDX-License-Identifier: Apache-2.0
"""The webhook in tabard-policyd, called by curl, by Python's ssl, and by Go's net/http as a Kubernetes API server calls it."""
import base64
import contextlib
import json
import shutil
import signal
import socket
import ssl
import threading

import pytest
from policyd_process import run, wait_until
from webhook_process import INJECT, NAME, POD, REVIEWS, Webhook, call, review_of

from listed_metrics import listed, shown


@pytest.fixture(scope="module")
def webhook():
    with contextlib.closing(Webhook()) as made:
        yield made


def response_of(answer):
    assert answer[0] == 200, answer
    return json.loads(answer[1])["response"]


def patch_of(answer):
    response = response_of(answer)
    assert response["allowed"] and response["patchType"] == "JSONPatch", response
    return json.loads(base64.b64decode(response["patch"]))


needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")


def test_each_recorded_review_gets_the_answer_that_an_api_server_takes(webhook):
    patched = webhook.reviews("patched")
    for line in REVIEWS:
        request = json.loads(line)["request"]
        response = response_of(webhook.ask(line))
        assert response["uid"] == request["uid"]
        if "hostNetwork" in request["object"]["spec"]:
            assert not response["allowed"] and "hostNetwork" in response["status"]["message"]
    assert webhook.reviews("patched") == patched + 7


def test_a_patch_carries_the_roots_in_force(webhook):
    values = {operation["path"]: operation["value"] for operation in patch_of(webhook.ask(review_of(POD)))}
    assert values["/metadata/annotations/tabard.dev~1roots.pem"] == webhook.roots.read_text()
    assert "spiffe://demo.example/tabard/policyd" in values["/metadata/annotations/tabard.dev~1mesh.yaml"]


def test_a_pod_of_a_namespace_whose_label_is_unclear_is_refused(webhook):
    response = response_of(webhook.ask(review_of(POD), "/unclear", "POST", "application/json"))
    assert not response["allowed"] and "of the namespace is neither" in response["status"]["message"]


@pytest.mark.parametrize("path, method, kind, code, text", [
    ("/inject", "GET", "application/json", 405, "only POST\n"), ("/inject", "PUT", "application/json", 405, "only GET, HEAD, POST\n"),
    ("/", "POST", "application/json", 404, "there are POST /inject and POST /unclear\n"),
    ("/inject", "POST", "application/yaml", 415, "only application/json\n"),
    ("/inject", "POST", "application/json; charset=utf-8", 200, None), ("/inject", "POST", "text/json", 415, None)])
def test_what_is_no_review_gets_its_status(webhook, path, method, kind, code, text):
    got = webhook.ask(review_of(POD) if method == "POST" else "", path, method, kind)
    assert got[0] == code and text in (None, got[1]), got


def test_a_request_of_ten_megabytes_is_taken_and_a_longer_one_refused_before_it_is_sent(webhook):
    long = POD | {"metadata": {"name": "a", "annotations": {"long": "x" * (10 * 2**20 - 1000)}}}
    assert patch_of(webhook.ask(review_of(long)))
    long["metadata"]["annotations"]["long"] += "x" * 1000
    assert webhook.ask(review_of(long)) == (413, "a request has at most 10485760 bytes\n")


def test_a_cut_request_is_refused_with_the_place(webhook):
    code, text = webhook.ask(REVIEWS[0][:-1])
    assert code == 400 and text.startswith("the request is not one JSON document: line 1, column")


def test_it_speaks_http_1_1_under_tls_1_3_alone(webhook):
    with webhook.connect(["h2", "http/1.1"]) as connection:
        assert (connection.version(), connection.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    with pytest.raises(ssl.SSLError, match="NO_APPLICATION_PROTOCOL|no application protocol"):
        webhook.connect(["h2"])
    context = ssl.create_default_context(cafile=webhook.roots)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version"), socket.create_connection(webhook.at) as plain:
        context.wrap_socket(plain, server_hostname=NAME)


@pytest.mark.parametrize("name", ["tabard-policyd", "tabard-policyd.tabard-system", NAME, NAME + ".cluster.local"])
def test_its_certificate_has_each_name_of_the_service(webhook, name):
    context = ssl.create_default_context(cafile=webhook.roots)
    with socket.create_connection(webhook.at) as plain, context.wrap_socket(plain, server_hostname=name):
        pass


@needs_go
def test_it_serves_an_api_server_over_kept_connections(webhook):
    got = call(webhook, 100, 2)
    assert got["failed"] == {} and got["protocol"] == "HTTP/1.1" and got["asked"] >= 150, got
    assert got["connections"] < got["asked"] / 2, got


def test_it_learns_a_new_configuration_and_keeps_the_last_good_one(webhook):
    mark = webhook.mark()
    webhook.inject.with_suffix(".new").write_text(INJECT.replace(":dev", ":2"))
    webhook.inject.with_suffix(".new").rename(webhook.inject)
    webhook.wait_line(mark, msg="injection in force", image="localhost/tabard:2")
    assert "localhost/tabard:2" in json.dumps(patch_of(webhook.ask(review_of(POD))))
    mark = webhook.mark()
    webhook.inject.with_suffix(".new").write_text(INJECT + "proxy_uid: no\n")
    webhook.inject.with_suffix(".new").rename(webhook.inject)
    assert "inject.yaml:3:12: proxy_uid" in webhook.wait_line(mark, msg="update refused", what="injection")["error"]
    assert "localhost/tabard:2" in json.dumps(patch_of(webhook.ask(review_of(POD))))
    assert webhook.get(webhook.health_at, "/healthz/ready") == (200, "ready\n")


def test_without_a_usable_configuration_it_is_not_ready_and_puts_reviews_off():
    with contextlib.closing(Webhook(inject="image: 7\n", waits=False)) as webhook:
        wait_until("it says why", lambda: "inject.yaml" in webhook.get(webhook.health_at, "/healthz/ready")[1])
        code, text = webhook.get(webhook.health_at, "/healthz/ready")
        assert code == 503 and "policy_agent" in text, text
        assert webhook.ask(review_of(POD))[0] == 503
        assert webhook.reviews("not_ready") == 1
        webhook.inject.with_suffix(".new").write_text(INJECT)
        webhook.inject.with_suffix(".new").rename(webhook.inject)
        webhook.wait_line(0, msg="injection in force")
        assert webhook.get(webhook.health_at, "/healthz/ready") == (200, "ready\n")
        assert patch_of(webhook.ask(review_of(POD)))


@needs_go
def test_one_that_stops_answers_what_comes_until_nobody_is_led_there_any_more():
    with contextlib.closing(Webhook()) as webhook:
        results = []
        thread = threading.Thread(target=lambda: results.append(call(webhook, 100, 3)))
        thread.start()
        wait_until("it is called", lambda: webhook.reviews("patched") > 50)
        webhook.process.send_signal(signal.SIGTERM)
        webhook.wait_line(0, msg="stopping")
        assert webhook.get(webhook.health_at, "/healthz/ready") == (503, "not ready: it is stopping\n")
        thread.join()
        assert results[0]["failed"] == {} and results[0]["asked"] > 250, results
        assert webhook.process.wait(timeout=20) == 0


def test_where_clients_must_show_a_certificate_only_those_that_the_roots_prove_are_served(certificates, tmp_path):
    def leaf(name, usage, ca=(certificates.roots, certificates.folder / "ca.key")):
        (tmp_path / "config").write_text(f"[leaf]\nextendedKeyUsage={usage}\n")
        chain, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        certificates.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                             "-keyout", key, "-out", tmp_path / "csr")
        certificates.openssl("x509", "-req", "-in", tmp_path / "csr", "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days", "1",
                             "-extfile", tmp_path / "config", "-extensions", "leaf", "-out", chain)
        return ["--cert", chain, "--key", key]

    certificates.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
                         "/CN=test root", "-keyout", tmp_path / "other.key", "-out", tmp_path / "other.pem")
    with contextlib.closing(Webhook("--webhook-client-ca", certificates.roots)) as webhook:
        assert patch_of(webhook.ask(review_of(POD), more=leaf("api-server", "clientAuth")))
        for more in ([], leaf("server", "serverAuth"), leaf("stranger", "clientAuth", (tmp_path / "other.pem", tmp_path / "other.key"))):
            with pytest.raises(AssertionError, match="alert|reset"):
                webhook.ask(review_of(POD), more=more)
        assert webhook.reviews("patched") == 1
        assert webhook.metrics()['webhook_connections_ended_total{why="tls"}'] == 3


def test_the_metrics_are_those_that_are_listed(webhook):
    assert shown(webhook.metrics_page()) == listed("tabard-policyd", "tabard-policyd with a webhook")


def test_wrong_flags_are_named():
    for arguments, words in ((["--webhook", "127.0.0.1:0"], "--webhook needs --inject-config"),
                             (["--webhook-client-ca", "x"], "--webhook-client-ca needs --webhook"),
                             (["--inject-config", "x"], "--inject-config needs --webhook"),
                             (["--namespace", "Shop"], "--namespace: Shop is not the name of a namespace"),
                             (["--kubernetes"], "--kubernetes needs --listen"),
                             (["--kubernetes", "--listen", "127.0.0.1:0", "--unix", "x"], "--unix can't be used with --kubernetes"),
                             (["--first-settings", "x"], "--first-settings needs --kubernetes")):
        done = run("tabard-policyd", "--dir", "x", *arguments, check=False)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
