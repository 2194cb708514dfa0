# SPDX-License-Identifier: Apache-2.0
"""The client of the API server, as policyd uses it, against a real one."""
import base64
import os
import re
import signal
import subprocess

import pytest

from daemon import wait_until
from install import ROOT

pytestmark = pytest.mark.cluster


class Follower:
    """A process that follows collections and says what it is told (follow.c)."""

    def __init__(self, kube, folder, *paths, server="10.200.0.1:6443"):
        self.log = folder / "follow.log"
        self.token = folder / "token"
        config = kube.json("config", "view", "--raw")
        (folder / "ca.crt").write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
        self.process = kube.start(str(ROOT / "bazel-bin/tests/kubernetes/follow"), server, str(self.token), str(folder / "ca.crt"),
                                  *paths, stdout=self.log.open("w"), stderr=subprocess.STDOUT)

    def says(self, pattern, **more):
        return wait_until(lambda: re.search(pattern, self.log.read_text(), re.M), f"it says {pattern}", **more)

    def told(self, what, path):
        """The names that it was told of: what is put or delete."""
        return re.findall(rf"^{what} {re.escape(path)} (\S+) ", self.log.read_text(), re.M)

    def stats(self):
        """Numbers by name, of the first collection."""
        done = len(re.findall("^stats", self.log.read_text(), re.M))
        # The process that entered the network runs in the follower's place.
        os.kill(self.process.pid, signal.SIGUSR1)
        wait_until(lambda: len(re.findall("^stats", self.log.read_text(), re.M)) > done, "it says its statistics")
        last = re.findall("^stats .*", self.log.read_text(), re.M)[-1]
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", last)}


@pytest.fixture
def account(namespace):
    """A service account that may read ConfigMaps of its namespace."""
    namespace("create", "serviceaccount", "reader")
    namespace("create", "role", "reader", "--verb=get,list,watch", "--resource=configmaps")
    return namespace


def allow(namespace):
    namespace("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace.namespace}:reader")


@pytest.fixture
def follow(kube, tmp_path):
    begun = []

    def begin(*paths, token):
        (tmp_path / "token").write_text(token)
        begun.append(Follower(kube, tmp_path, *paths))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.terminate()
        one.process.wait(timeout=20)


def test_a_wrong_token_and_missing_rights_are_named_and_made_good(account, follow):
    path = f"/api/v1/namespaces/{account.namespace}/configmaps"
    follower = follow(path, token="a.b.c")
    follower.says(r'what=\S+ error="list: status 401 Unauthorized: ')
    follower.token.write_text(account("create", "token", "reader"))
    follower.says(r'what=\S+ error="list: status 403 Forbidden: configmaps is forbidden: User ')
    assert not follower.told("put", path)
    allow(account)
    follower.says(f"^synced {path} ")
    assert f"{account.namespace}/kube-root-ca.crt" in follower.told("put", path)
    assert follower.log.read_text().count("status 403") == 1, "each reason is logged once"


def config_maps(num):
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"one-{number}"}} for number in range(num)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def test_nothing_is_lost_while_the_api_server_is_gone(own_cluster, account, follow):
    path = f"/api/v1/namespaces/{account.namespace}/configmaps"
    allow(account)
    account.apply(config_maps(450))  # three pages of a list
    follower = follow(path, token=account("create", "token", "reader"))
    follower.says(f"^synced {path} ")
    assert len([name for name in follower.told("put", path) if "/one-" in name]) == 450
    account("delete", "configmap", "one-7")
    follower.says(rf"^delete {path} {account.namespace}/one-7 ")
    lists = follower.stats()["lists"]
    own_cluster.lose_api_server()
    follower.says("objects are not followed")
    own_cluster.resume("kube-apiserver")
    account("delete", "configmap", "one-8")
    account("create", "configmap", "last")
    follower.says(rf"^delete {path} {account.namespace}/one-8 ")
    follower.says(rf"^put {path} {account.namespace}/last ")
    names = follower.told("put", path)
    assert len(names) == len(set(names)), "nothing was told twice"
    now = follower.stats()
    assert now["objects"] == len(names) - 2
    assert now["lists"] <= lists + 1, "one list at most: a server that starts has forgotten what was before (410)"
