# SPDX-License-Identifier: Apache-2.0
"""A policyd whose CA is of ML-DSA or of ECDSA, and sidecars that ask it for keys of either."""
import contextlib

import pytest

from mesh import wait_until
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
