"""Kubernetes: what cases cannot say. Who is touched, in which order, what is told and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from aiprov import roles
from aiprov.catalog import kubernetes
from aiprov.engines.simulate import simulate
from aiprov.errors import HostError, InventoryError
from aiprov.plan import Desired
from aiprov.planner import plan
from aiprov.resources import AptRepository, Command, Package, Resource, Secret, address
from aiprov.roles import Cluster, Note
from aiprov.united import united
from tests.unit.kubernetes.test_kubeadm import check_fields
from tests.unit.roles.test_role_cases import (
    cluster_of,
    host_of,
    settings_of,
    wanted,
    whole_text,
)

JOIN = "Command[the node belongs to the cluster]"


def case(name: str, workers: int = 2, planes: int = 1, **vars: Any) -> dict[str, Any]:
    """A host of a cluster of so many."""
    hosts = {
        f"c{n}": {"address": f"192.0.2.{n}", "groups": ["kube_control_plane"]}
        for n in range(1, planes + 1)
    }
    hosts |= {
        f"w{n}": {"address": f"198.51.{n // 200}.{n % 200 + 1}", "groups": ["kube_worker"]}
        for n in range(1, workers + 1)
    }
    more = {"kubernetes_endpoint": "k8s.example.org:6443"} if planes > 1 else {}
    return {
        "host": "debian13",
        "facts": {"name": name},
        "cluster": hosts,
        "roles": {"containerd": {"containerd_version": "2.2"}},
        "vars": {"kubernetes_version": "1.36.4", "kubernetes_network": "bridge", **more, **vars},
    }


def made(given: Mapping[str, Any]) -> dict[str, Resource]:
    return {address(item): item for item in wanted("kubernetes", given)}


def notes(given: Mapping[str, Any]) -> list[Note]:
    settings = settings_of("kubernetes", given)
    cluster = replace(cluster_of(given), settings=settings)
    return roles.notes("kubernetes", settings["kubernetes"], host_of(given), cluster)


def test_a_further_worker_changes_nothing_for_the_others():
    for name, planes in (("c1", 1), ("w1", 1), ("c2", 3), ("w2", 3)):
        assert made(case(name, 3, planes)) == made(case(name, 500, planes))


def test_a_node_asks_for_the_addresses_of_control_planes_alone():
    given = case("w1", 500, 3)
    known = cluster_of(given)

    asked: set[str] = set()

    class Watched(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.add(name)
            return super().__getitem__(name)

    hosts = Watched(known.hosts)
    settings = settings_of("kubernetes", given)
    cluster = Cluster(hosts=hosts, groups=known.groups, settings=settings, secrets=known.secrets)
    roles.load("kubernetes").resources(settings["kubernetes"], host_of(given), cluster)
    assert asked <= {"c1", "c2", "c3", "w1"}


def test_only_the_first_control_plane_brings_add_ons():
    assert "Command[add-on gpu]" in made(case("c1", planes=3))
    for name in ("c2", "c3", "w1"):
        assert not [one for one in made(case(name, planes=3)) if "add-on" in one]


SECRET = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "hush-hush"}}
HOLDING: dict[str, dict[str, Any]] = {
    "a Secret": SECRET,
    "a List": {"apiVersion": "v1", "kind": "List", "items": [{"kind": "ConfigMap"}, SECRET]},
    "an object's template": {"kind": "Work", "spec": {"manifests": [SECRET]}},
    "a text": {"kind": "ConfigMap", "data": {"one.yaml": "kind: Secret\ndata: {a: hush-hush}\n"}},
}


@pytest.mark.parametrize("holding", HOLDING.values(), ids=HOLDING)
def test_objects_with_a_secret_anywhere_in_them_are_not_shown(holding: dict[str, Any]):
    given = made(case("c1", kubernetes_manifests={"own": [holding]}))
    content = given["File[/etc/kubernetes/aiprov/manifests/50-own.yaml]"].content
    assert isinstance(content, Secret)
    assert "hush-hush" in content.reveal()
    assert all("hush-hush" in one for one in content.hidden())


def test_objects_without_one_are_shown():
    given = made(case("c1", kubernetes_manifests={"own": [{"kind": "ConfigMap", "data": {}}]}))
    assert "kind: ConfigMap" in given["File[/etc/kubernetes/aiprov/manifests/50-own.yaml]"].content


def test_values_of_charts_are_not_shown():
    values = {"encryption": {"key": "hush-hush"}}
    given = {"kubernetes_network": "cilium", "kubernetes_network_values": values}
    for more, hidden in (({}, ()), (given, ("hush-hush",))):
        recipe = made(case("c1", **more))["File[/etc/kubernetes/aiprov/charts.json]"]
        content = recipe.content
        assert (content.hidden() if isinstance(content, Secret) else ()) == hidden


def test_workers_get_no_authority():
    given = made(case("w1"))
    assert not [one for one in given if "/pki" in one or "init.yaml" in one]
    secret = [one for one in given.values() if isinstance(getattr(one, "content", None), Secret)]
    assert secret == []


def test_the_credential_comes_on_standard_input_and_is_never_shown():
    join = made(case("w1"))[JOIN]
    assert isinstance(join, Command)
    assert join.stdin is not None
    assert "client-key-data" in join.stdin.reveal()
    assert "client-key-data" not in repr(join)


# ---------------------------------------------------------------- what an inventory lacks


def test_a_check_of_the_inventory_tells_what_plans_would_refuse():
    known = cluster_of(case("c1", planes=3))
    assert roles.doubts("kubernetes", known) == []

    def missing() -> NoReturn:
        raise InventoryError("there are no cluster secrets", hint="make them", path="i/secrets")

    even = {"kube_control_plane": ("c1", "c2")}
    count, secrets = roles.doubts("kubernetes", replace(known, groups=even, secrets=missing))
    assert "2 hosts are in kube_control_plane" in count
    assert "use 1, 3 or 5" in count
    assert "i/secrets" in secrets
    assert secrets.endswith("there are no cluster secrets (make them)")


# ---------------------------------------------------------------- for every version

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "dual-stack": {
        "kubernetes_pod_cidrs": ["10.244.0.0/16", "fd00:10:244::/56"],
        "kubernetes_service_cidrs": ["10.96.0.0/16", "fd00:10:96::/112"],
        "kubernetes_node_address": ["192.0.2.1", "2001:db8::1"],
    },
    "rich": {
        "kubernetes_swap": "limited",
        "kubernetes_kubelet_serving_certificates": True,
        "kubernetes_certificate_days": 90,
        "kubernetes_feature_gates": {"DynamicResourceAllocation": True},
        "kubernetes_api_args": {"v": "2", "oidc-issuer-url": "https://id.example.org"},
        "kubernetes_proxy": {"mode": "nftables", "conntrack": {"max_per_core": 0}},
        "kubernetes_timeouts": {"kubelet": "5m0s"},
        "kubernetes_kubelet": {
            "cpu_manager": "static", "reserved_cpus": "0-1", "max_pods": 60,
            "topology_manager": "restricted", "shutdown_grace_period": "60s",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("version", [row.version for row in kubernetes.lines()])
def test_what_kubeadm_reads_has_upstreams_fields_alone(version: str, variant: str):
    chosen = {**VARIANTS[variant], "kubernetes_version": f"{version}.1"}
    given = {**case("c1", **chosen), "roles": {"containerd": {"containerd_version": "2.3"}}}
    if not kubernetes.line(version).accepts("2.3"):
        given["roles"]["containerd"]["containerd_version"] = "2.1"
    there = made(given)
    for name in ("init", "join"):
        file = there[f"File[/etc/kubernetes/aiprov/{name}.yaml]"]
        check_fields(whole_text(file), f"{version}.1")


# ---------------------------------------------------------------- one stage after another


def state_of(items: list[Desired], **installed: str) -> dict[str, Any]:
    state: dict[str, Any] = {"PackageLists": {"age_s": 60}}
    for item in items:
        if isinstance(item.resource, Package):
            name = item.resource.name
            version = item.resource.version or "1.0"
            state[address(item.resource)] = {
                "version": installed.get(name), "hold": False, "candidates": [f"{version}-1.1"],
            }  # fmt: skip
    return state


def stages(given: Mapping[str, Any], **installed: str) -> list[list[str]]:
    """What is changed in each stage, until nothing is left."""
    items = [Desired(role="kubernetes", resource=item) for item in wanted("kubernetes", given)]
    state: Any = state_of(items, **installed)
    found = []
    while not (result := plan("h", items, state)).empty:
        found.append([change.address for change in result.changes])
        state = simulate(result.changes, state)
        assert len(found) < 10
    return found


def test_a_host_joins_when_its_packages_and_its_runtime_are_there():
    found = stages(case("c1"))
    stage = {name: number for number, names in enumerate(found) for name in names}
    assert stage["Service[containerd.service]"] < stage[JOIN]
    assert stage["Package[kubelet]"] < stage[JOIN]
    assert stage["File[/etc/kubernetes/pki/ca.key]"] < stage[JOIN]
    assert stage[JOIN] < stage["Command[add-on network]"]


def test_a_change_of_settings_reaches_a_node_in_one_stage():
    given = case("w1")
    items = [Desired(role="kubernetes", resource=item) for item in wanted("kubernetes", given)]
    state: Any = state_of(items)
    while not (result := plan("h", items, state)).empty:
        state = simulate(result.changes, state)
    changed = case("w1", kubernetes_kubelet={"max_pods": 50})
    items = [Desired(role="kubernetes", resource=item) for item in wanted("kubernetes", changed)]
    result = plan("h", items, state)
    names = [change.address for change in result.changes]
    assert names[-1] == "Command[the node is configured as it should be]"
    assert JOIN not in names
    assert plan("h", items, simulate(result.changes, state)).empty


@pytest.mark.parametrize(
    ("installed", "vars", "hint"),
    [
        ("1.36.4-1.1", {}, None),
        ("1.36.2-1.1", {}, "aiprov cluster upgrade"),
        ("1.35.9-1.1", {}, "aiprov cluster upgrade"),
        ("1.35.9-1.1", {"kubernetes_upgrade": True}, None),
        ("1.34.1-1.1", {"kubernetes_upgrade": True}, "upgrade to 1.35 first"),
        ("1.37.0-1.1", {"kubernetes_upgrade": True}, "never back"),
    ],
)
def test_versions_change_by_an_upgrade_alone(
    installed: str, vars: dict[str, Any], hint: str | None
):
    given = case("w1", **vars)
    items = [Desired(role="kubernetes", resource=item) for item in wanted("kubernetes", given)]
    items = [item for item in items if not isinstance(item.resource, AptRepository)]
    state = state_of(items, kubelet=installed, kubeadm=installed, kubectl=installed)
    if hint is None:
        assert plan("h", items, state)
        return
    with pytest.raises(HostError) as refused:
        plan("h", items, state)
    assert installed.partition("-")[0] in refused.value.message
    assert hint in (refused.value.hint or "")


# ---------------------------------------------------------------- with other roles


def test_the_containerd_role_and_this_one_write_one_file():
    given = {**case("w1"), "roles": {"containerd": {"containerd_version": "2.2"}}}
    both = [
        Desired(role=slug, resource=item)
        for slug in ("containerd", "kubernetes")
        for item in roles.load(slug).resources(
            settings_of("kubernetes", given)[slug],
            host_of(given),
            replace(cluster_of(given), settings=settings_of("kubernetes", given)),
        )
    ]
    (config,) = [
        item.resource
        for item in united(both)
        if address(item.resource) == "File[/etc/containerd/config.toml]"
    ]
    plugins = config.content.values["plugins"]
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"].endswith(
        "pause:3.10.2"
    )
    assert plugins["io.containerd.cri.v1.runtime"]["containerd"]["default_runtime_name"] == "runc"


def test_a_containerd_that_may_be_too_old_is_warned_of():
    given = {**case("w1"), "roles": {"containerd": {}}}
    (warning,) = notes(given)
    assert warning.level == "warning"
    assert "containerd 2.1" in warning.text
    assert 'containerd_version: "2.3"' in warning.text


def test_the_first_control_plane_tells_of_the_network_and_the_others_do_not_repeat_it():
    assert any("NetworkPolicy" in note.text for note in notes(case("c1")))
    assert any("ends on 2026-12-29" in note.text for note in notes(case("c1")))
    assert notes(case("w1")) == []


def test_without_secrets_the_way_to_make_them_is_told():
    given = case("w1")
    settings = settings_of("kubernetes", given)
    cluster = replace(cluster_of(given), settings=settings, secrets=None)
    with pytest.raises(Exception, match="secrets are not known") as refused:
        roles.load("kubernetes").resources(settings["kubernetes"], host_of(given), cluster)
    assert "aiprov cluster secrets" in str(getattr(refused.value, "hint", ""))
