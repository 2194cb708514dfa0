# SPDX-License-Identifier: Apache-2.0
"""What wants a cluster is marked `cluster`. One cluster serves a whole run; it is started for the run and ended after it, unless
TABARD_CLUSTER names the folder of one that runs, or KUBECONFIG the cluster of somebody."""
import os
import re
import secrets
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import install  # noqa: E402
import programs  # noqa: E402
from cluster import Cluster  # noqa: E402
from kube import ExistingCluster, Kube, Refused, chosen_cluster  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--yes", action="store_true", help="Tabard may be installed in the cluster that KUBECONFIG names")


def pytest_configure(config):
    config.addinivalue_line("markers", "cluster: needs a Kubernetes cluster")


def pytest_collection_modifyitems(items):
    """What installs Tabard itself, or needs none, comes before what shares the one that is installed for the whole run."""
    items.sort(key=lambda item: "mesh" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def cluster(request):
    """The cluster, ready."""
    try:
        chosen = chosen_cluster(yes=request.config.getoption("--yes"))
    except Refused as refusal:
        pytest.fail(str(refusal))
    if isinstance(chosen, ExistingCluster):
        yield chosen
        return
    reason = programs.why_not()
    if reason:
        pytest.skip(reason)
    programs.build()
    kept = bool(os.environ.get("TABARD_CLUSTER"))
    if not kept:
        chosen.stop()  # what a run that was killed may have left
        chosen = Cluster(chosen.folder)
    chosen.start()
    yield chosen
    if not kept:
        chosen.stop()


@pytest.fixture(scope="session")
def tabard_image(cluster):
    """The image of this tree's programs, in the cluster."""
    return install.load_image(cluster)


@pytest.fixture(scope="session")
def mesh(kube, tabard_image):
    """Tabard, installed and ready. What is installed already is the tree's own, of a run before: it is brought up to date."""
    install.install(kube)
    yield kube.within(install.SYSTEM)
    if not os.environ.get("TABARD_CLUSTER"):
        install.uninstall(kube)


@pytest.fixture
def own_cluster(cluster):
    """The cluster, for a test that restarts its parts: one that somebody owns is left alone."""
    if isinstance(cluster, ExistingCluster):
        pytest.skip("the cluster that KUBECONFIG names is not restarted")
    return cluster


@pytest.fixture(scope="session")
def kube(cluster):
    return Kube(cluster)


def _namespace_name(request):
    return f"{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:40]}-{secrets.token_hex(3)}"


@pytest.fixture
def namespace(kube, request):
    """A namespace for one test, which ends with it; its name comes no second time."""
    name = _namespace_name(request)
    yield kube.make_namespace(name)
    kube("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def meshed(kube, mesh, request):
    """A namespace in the mesh, for one test."""
    name = _namespace_name(request)
    yield kube.make_namespace(name, **{"tabard.dev/inject": "enabled"})
    kube("delete", "namespace", name, "--wait=false", "--ignore-not-found")
