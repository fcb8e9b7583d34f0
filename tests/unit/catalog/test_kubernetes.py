"""Kubernetes in the catalog: minor versions, kubeadm's configuration, permitted skew."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.catalog import kubernetes, kubernetes_repositories
from aiprov.errors import CatalogError, UnsupportedError

MINORS = st.integers(20, 40)


def minor(version: str) -> int:
    return int(version.split(".")[1])


def test_every_row_says_where_it_is_from():
    rows = [*kubernetes.all_lines(), *kubernetes.kubeadm_apis(), *kubernetes.features(),
            *kubernetes_repositories.repositories()]  # fmt: skip
    assert all(row.source and isinstance(row.date, date) for row in rows)


def test_the_labs_own_is_known_and_never_proposed():
    assert not kubernetes.line("1.20.2").product
    assert not kubernetes.line("1.21.0").product
    assert kubernetes.lines()[0].version == "1.33"
    with pytest.raises(CatalogError) as refused:
        kubernetes.line("1.22")
    assert "1.20" not in (refused.value.hint or "")


def test_lines_follow_one_another():
    minors = [minor(row.version) for row in kubernetes.lines()]
    assert minors == list(range(minors[0], minors[-1] + 1))


@pytest.mark.parametrize("row", kubernetes.all_lines(), ids=lambda row: row.version)
def test_images_are_tags(row: kubernetes.KubernetesLine):
    assert re.fullmatch(r"3\.\d+(\.\d+)?", row.pause)
    assert re.fullmatch(r"3\.\d+\.\d+-\d+", row.etcd)
    assert re.fullmatch(r"v?1\.\d+\.\d+", row.coredns)


def test_the_lab_takes_no_containerd_that_lacks_its_cri():
    assert kubernetes.line("1.20").accepts("1.6.20")
    assert not kubernetes.line("1.20").accepts("2.0.4")


@pytest.mark.parametrize(
    ("version", "api"),
    [
        ("1.15.0", "v1beta2"),
        ("1.20.2", "v1beta2"),
        ("1.21.14", "v1beta2"),
        ("1.22.0", "v1beta3"),
        ("1.30.9", "v1beta3"),
        ("1.31.0", "v1beta4"),
        ("1.37.1", "v1beta4"),
    ],
)
def test_a_version_has_its_configuration(version: str, api: str):
    assert kubernetes.kubeadm_api(version) == api


def test_configurations_leave_no_gap():
    rows = kubernetes.kubeadm_apis()
    for before, after in pairwise(rows):
        assert before.until is not None
        assert minor(after.since) == minor(before.until) + 1


def test_a_version_before_all_configurations_is_refused():
    with pytest.raises(CatalogError, match=r"1\.14\.0 reads no configuration"):
        kubernetes.kubeadm_api("1.14.0")


def test_features_are_in_order_and_named_once():
    rows = kubernetes.features()
    assert [minor(row.since) for row in rows] == sorted(minor(row.since) for row in rows)
    assert len({row.name for row in rows}) == len(rows)


def test_a_feature_is_there_from_its_version_on():
    assert not kubernetes.has("timeouts", "1.30.9")
    assert kubernetes.has("timeouts", "1.31.0")
    with pytest.raises(CatalogError, match="no feature 'warp'"):
        kubernetes.has("warp", "1.36.0")


# ---------------------------------------------------------------- how far versions may differ


@pytest.mark.parametrize(
    ("present", "wanted", "may"),
    [
        ("1.35.2", "1.35.2", True),
        ("1.35.2", "1.35.4", True),
        ("1.35.4", "1.35.2", False),
        ("1.35.4", "1.36.0", True),
        ("1.34.9", "1.36.0", False),
        ("1.36.0", "1.35.9", False),
    ],
)
def test_upgrades(present: str, wanted: str, may: bool):
    assert kubernetes.may_upgrade(present, wanted) is may


def test_a_skipped_minor_is_refused_with_the_way():
    with pytest.raises(UnsupportedError, match=r"from 1\.33\.5 to 1\.36\.4 at once") as refused:
        kubernetes.check_upgrade("1.33.5", "1.36.4")
    assert refused.value.hint == "upgrade to 1.34, 1.35, 1.36.4, one after the other"


def test_a_way_back_is_refused():
    with pytest.raises(UnsupportedError, match=r"back from 1\.36\.4 to 1\.36\.3") as refused:
        kubernetes.check_upgrade("1.36.4", "1.36.3")
    assert "keep kubernetes_version at 1.36.4" in (refused.value.hint or "")


@given(MINORS, MINORS)
def test_the_path_is_made_of_permitted_steps(here: int, there: int):
    present, wanted = f"1.{here}.1", f"1.{there}.3"
    path = kubernetes.upgrade_path(present, wanted)
    if there < here:
        assert path == ()
        return
    assert path[-1] == wanted
    for step in path:
        whole = step if step == wanted else f"{step}.0"
        kubernetes.check_upgrade(present, whole)
        present = whole


@pytest.mark.parametrize(
    ("api", "node", "may"),
    [
        ("1.36.0", "1.36.4", True),
        ("1.36.0", "1.33.0", True),
        ("1.36.0", "1.32.0", False),
        ("1.36.0", "1.37.0", False),
        ("1.26.0", "1.24.0", True),
        ("1.27.0", "1.24.0", False),
        ("1.28.0", "1.25.0", True),
    ],
)
def test_kubelets(api: str, node: str, may: bool):
    assert kubernetes.kubelet_may(api, node) is may
    if may:
        kubernetes.check_kubelet(api, node)
        return
    with pytest.raises(UnsupportedError) as refused:
        kubernetes.check_kubelet(api, node)
    assert node in refused.value.message
    assert refused.value.hint


def test_an_old_kubelet_is_told_how_far_to_go():
    with pytest.raises(UnsupportedError, match="more than 3 minor versions older") as refused:
        kubernetes.check_kubelet("1.36.0", "1.31.2")
    assert refused.value.hint == "upgrade the node to 1.33 or later first"


@pytest.mark.parametrize(
    ("family", "version", "path"),
    [
        ("debian", "1.36.4", "core:/stable:/v1.36/deb/"),
        ("redhat", "1.37.0", "core:/stable:/v1.37/rpm/"),
    ],
)
def test_every_minor_has_its_own_repository(family: str, version: str, path: str):
    row = kubernetes_repositories.repository("kubernetes")
    assert row.path(family, version) == path
    assert kubernetes_repositories.signing_key(row.key or "").text


def test_an_unknown_repository_or_key_is_refused():
    for ask in (kubernetes_repositories.repository, kubernetes_repositories.signing_key):
        with pytest.raises(CatalogError, match="'nothing'"):
            ask("nothing")
