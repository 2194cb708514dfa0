# SPDX-License-Identifier: Apache-2.0
"""A policyd whose CA is of ML-DSA or of ECDSA, and sidecars that ask it for keys of either."""
import contextlib
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


def test_policyd_demands_post_quantum_key_exchange_of_a_workload_s_sidecars():
    with contextlib.ExitStack() as stack:
        pair = Pair(stack)
        serve(pair)
        fleet = json.loads((pair.policyd.folder / "fleet/fleet.yaml").read_text())
        for workload in fleet["workloads"]:
            workload["key_exchange"] = "POST_QUANTUM"
        mark = pair.api.mark()
        pair.policyd.apply(fleet)
        pair.api.wait_in_force(mark)
        status = pair.api.status()
        assert (status["key_exchange"], status["key_exchange_by"]) == ("POST_QUANTUM", "policy agent")
        assert pair.api.metric("tabard_post_quantum_demanded") == 1
        host, port = pair.api.address(pair.api.config["inbound_ports"][0]["listen"])
        serve(pair)
        assert pair.api.wait_conn(mark)["group"] == "X25519MLKEM768"
        mark = pair.api.mark()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_ecdh_curve("prime256v1")
        with connect((host, port)) as sock, pytest.raises(ssl.SSLError):
            context.wrap_socket(sock, server_hostname="x")
        pair.api.wait_conn(mark, reason="no_shared_group")
