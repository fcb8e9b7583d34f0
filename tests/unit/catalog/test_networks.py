"""The catalog's pod networks: which version is taken, and what is said of one that is not there."""

from __future__ import annotations

import pytest

from aiprov.catalog import networks
from aiprov.errors import CatalogError, UnsupportedError

CHOSEN = [
    ("cilium", "1.36.4", None, "1.20.0"),
    ("cilium", "1.33.1", None, "1.20.0"),  # tested with both: the newest
    ("cilium", "1.32.1", None, "1.19.6"),
    ("cilium", "1.37.0", None, "1.20.0"),  # tested with none: the newest
    ("calico", "1.34.2", "3.31.7", "3.31.7"),
    ("flannel", "1.20.2", None, "0.28.9"),
]


@pytest.mark.parametrize(("name", "kubernetes", "asked", "version"), CHOSEN)
def test_the_version(name: str, kubernetes: str, asked: str | None, version: str):
    assert networks.pod_network(name, kubernetes, asked).version == version


def test_a_version_without_a_row_is_refused_with_the_nearest():
    with pytest.raises(CatalogError) as refused:
        networks.pod_network("cilium", "1.36.4", "1.20.1")
    assert "did you mean 1.20.0? versions are 1.19.6, 1.20.0" in (refused.value.hint or "")


def test_where_the_cni_plugins_are():
    assert networks.cni_plugins("kubernetes", "redhat").folder == "/opt/cni/bin"
    assert networks.cni_plugins("distribution", "debian").folder == "/usr/lib/cni"
    assert networks.cni_plugins("distribution", "redhat").folder == "/usr/libexec/cni"
    with pytest.raises(UnsupportedError):
        networks.cni_plugins("distribution", "suse")


def test_kube_vip_has_a_version_and_an_image():
    row = networks.kube_vip()
    assert row.image.endswith("/kube-vip")
    assert row.version.count(".") == 2
