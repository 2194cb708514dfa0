# SPDX-License-Identifier: Apache-2.0
"""A policyd whose CA is of ML-DSA or of ECDSA, and sidecars that ask it for keys of either."""
import contextlib
import copy
import json
import ssl

import pytest

from mesh import connect, wait_until
from policyd_pair import QUESTION, Pair


def serve(pair):
    wait_until("a call goes through", lambda: pair.call() == QUESTION, 20)


@pytest.mark.parametrize("ca", ["p256", "ml-dsa-44", "ml-dsa-65"])
def test_sidecars_get_ml_dsa_and_ecdsa_certificates_of_one_ca(ca):
    with contextlib.ExitStack() as stack:
        pair = Pair(stack, caller_by_token=True, key=ca, caller={"key": "ML_DSA_44"})
        serve(pair)
        assert [side.status()["certificate_key"] for side in (pair.caller, pair.api)] == ["ML-DSA-44", "ECDSA P-256"]
        for setting, text in [("ML_DSA_65", "ML-DSA-65"), ("ED25519", "Ed25519")]:
            pair.api.config["policy_agent"]["key"] = setting
            pair.api.write_config()
            wait_until("it has another", lambda: pair.api.status()["certificate_key"] == text, 20)
            serve(pair)


def demand(pair, own, policyd):
    """Says who demands which key exchange of api's sidecar: its own mesh.yaml, and policyd for its workload. None: nothing."""
    before = json.loads((pair.policyd.folder / "fleet/fleet.yaml").read_text())
    fleet = copy.deepcopy(before)
    for workload in fleet["workloads"]:
        workload.pop("key_exchange", None)
        if policyd is not None:
            workload["key_exchange"] = policyd
    if fleet != before:
        pair.policyd.apply(fleet)
    pair.api.config["settings"].pop("key_exchange", None)
    if own is not None:
        pair.api.config["settings"]["key_exchange"] = own
    pair.api.write_config()


def is_refused(host, port):
    """Whether a caller without ML-KEM is, before anybody asks for its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ecdh_curve("prime256v1")
    with connect((host, port)) as sock:
        try:
            context.wrap_socket(sock).close()
        except ssl.SSLError as error:
            assert "HANDSHAKE_FAILURE" in str(error), error
            return True
    return False


# What mesh.yaml says, what policyd says, what holds, and by whom.
DEMANDS = [(None, "POST_QUANTUM", "POST_QUANTUM", "policy agent"), ("ANY", "POST_QUANTUM", "POST_QUANTUM", "policy agent"),
           ("ANY", "ANY", "ANY", "mesh.yaml and policy agent"), ("POST_QUANTUM", "ANY", "POST_QUANTUM", "mesh.yaml"),
           ("POST_QUANTUM", "POST_QUANTUM", "POST_QUANTUM", "mesh.yaml and policy agent"), (None, None, "ANY", "default")]


def test_policyd_demands_post_quantum_key_exchange_of_a_workload_s_sidecars_and_mesh_yaml_can_only_demand_more():
    with contextlib.ExitStack() as stack:
        pair = Pair(stack)
        serve(pair)
        host, port = pair.api.address(pair.api.config["inbound_ports"][0]["listen"])
        for own, policyd, holds, by in DEMANDS:
            demand(pair, own, policyd)
            seen = {}

            def is_in_force():
                seen.update(pair.api.status())
                return (seen.get("key_exchange"), seen.get("key_exchange_by")) == (holds, by)
            wait_until(f"{(holds, by)} is in force where mesh.yaml says {own} and policyd {policyd}", is_in_force, 20)
            assert pair.api.metric("tabard_post_quantum_demanded") == (holds == "POST_QUANTUM")
            mark = pair.api.mark()
            serve(pair)
            assert pair.api.wait_conn(mark)["group"] == "X25519MLKEM768"
            assert is_refused(host, port) == (holds == "POST_QUANTUM"), (own, policyd)
