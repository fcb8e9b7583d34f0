"""Role cases: ``tests/roles/<slug>/<case>.yml`` says what settings and a host give.

host        a file of ``tests/hosts``
facts       fields of the host that are other than in its file
gpus        NVIDIA's devices on its PCI bus: PCI id -> how many (switches have ids, too)
adapters    other devices on its PCI bus: PCI id -> class
vars        the role's settings
roles       the settings of the host's other roles, by role
cluster     the inventory's hosts: name -> address, or its address, groups and variables; with
            groups, the hosts of a Kubernetes cluster, which has its secrets
resources   resources that are there: their address, and the fields that matter. ``owned`` is the
            part of a Merge's values; ``golden`` a file with the whole text, ``onto`` one with what
            is there before; ``secret`` a text that is never shown; ``lines`` are among the text's
only        true: there are no others, and they come in this order
absent      addresses that are not there
error       what the role refuses, with ``hint``; ``invalid``: what its settings refuse
skip        the reason why the host has no use for the role
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from aiprov import roles
from aiprov.catalog.gpus import is_switch
from aiprov.cluster_secrets import LoadedSecrets, make
from aiprov.engines.simulate import simulate
from aiprov.errors import AiprovError, UnsupportedError
from aiprov.merge import merged
from aiprov.plan import Desired
from aiprov.planner import plan
from aiprov.resources import Absent, Merge, Package, Resource, Secret, address
from aiprov.roles import Cluster, ClusterHost, RoleVars
from aiprov.survey.facts import Facts, Interface, PciDevice
from aiprov.united import united

TESTS = Path(__file__).parents[2]
SLUGS = roles.slugs()
CONTAINERS = ("base", "containerd", "docker")
CASES = sorted(path for slug in SLUGS for path in (TESTS / "roles" / slug).glob("*.yml"))
HOSTS = ("debian12", "debian13", "ubuntu2204", "ubuntu2404", "ubuntu2604", "rhel8", "rhel9",
         "rhel10", "rocky8", "rocky9", "alma10")  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def host(name: str) -> Facts:
    return Facts(**read(TESTS / "hosts" / f"{name}.yml"))


def host_of(case: Mapping[str, Any]) -> Facts:
    """The host of a case, with its GPUs and adapters."""
    facts = {name: _tuples(value) for name, value in case.get("facts", {}).items()}
    if "interfaces" in facts:
        facts["interfaces"] = tuple(_interface(one) for one in facts["interfaces"])
    found = replace(host(case["host"]), **facts)
    ids = [name for name, many in case.get("gpus", {}).items() for _ in range(many)]
    devices = tuple(nvidia_device(number, name) for number, name in enumerate(ids, 1))
    adapters = (
        PciDevice(address=f"0001:{n:02x}:00.0", vendor=i[:4], device=i[5:], class_code=code)
        for n, (i, code) in enumerate(case.get("adapters", {}).items(), 1)
    )
    return replace(found, pci_devices=(*found.pci_devices, *devices, *adapters))


def nvidia_device(number: int, pci_id: str) -> PciDevice:
    """A PCI function of NVIDIA's, as the survey reads it."""
    vendor, device = pci_id.split(":")
    switch = is_switch(vendor, device, "068000")
    return PciDevice(
        address=f"0000:{number:02x}:00.0",
        vendor=vendor,
        device=device,
        class_code="068000" if switch else "030200",
    )


def _interface(values: Mapping[str, Any]) -> Interface:
    return Interface(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def cluster_of(case: Mapping[str, Any]) -> Cluster:
    given = case.get("cluster", {}).items()
    hosts = {
        name: ClusterHost(name=name, **(one if isinstance(one, dict) else {"address": one}))
        for name, one in given
    }
    groups: dict[str, list[str]] = {}
    for host in hosts.values():
        for group in host.groups:
            groups.setdefault(group, []).append(host.name)
    return Cluster(hosts=hosts, groups=groups, secrets=cluster_secrets if groups else None)


@cache
def cluster_secrets() -> LoadedSecrets:
    """One cluster's secrets for all cases: keys take their time, and texts have to be the same."""
    now = datetime(2026, 11, 21, tzinfo=UTC)
    token, key = Secret("abcdef.0123456789abcdef"), Secret(f"{'A' * 43}=")
    secrets = replace(make(now), bootstrap_token=token, encryption_key=key)
    return LoadedSecrets(secrets=secrets, now=now)


def settings_of(slug: str, case: Mapping[str, Any]) -> dict[str, RoleVars]:
    """The settings of all the host's roles."""
    given = {**case.get("roles", {}), slug: case.get("vars", {})}
    return {name: roles.load(name).Vars(**values) for name, values in given.items()}


def wanted(slug: str, case: Mapping[str, Any]) -> list[Resource]:
    settings = settings_of(slug, case)
    cluster = replace(cluster_of(case), settings=settings)
    return roles.load(slug).resources(settings[slug], host_of(case), cluster)


def case_id(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", CASES, ids=case_id)
def test_case(path: Path):
    case, slug = read(path), path.parent.name
    if "invalid" in case:
        with pytest.raises(ValidationError) as invalid:
            wanted(slug, case)
        assert case["invalid"] in str(invalid.value)
    elif "error" in case:
        role = roles.load(slug)
        assert role.unsuitable(role.Vars(**case.get("vars", {})), host_of(case)) is None
        with pytest.raises(AiprovError) as refused:
            wanted(slug, case)
        assert case["error"] in refused.value.message
        assert case["hint"] in (refused.value.hint or "")
    elif "skip" in case:
        role, facts = roles.load(slug), host_of(case)
        settings = role.Vars(**case.get("vars", {}))
        outside = roles.outside(slug, settings, facts, cluster_of(case))
        assert (role.unsuitable(settings, facts) or outside) == case["skip"]
    else:
        check_resources(path, case, wanted(slug, case))


def check_resources(path: Path, case: Mapping[str, Any], resources: list[Resource]) -> None:
    by_address = {address(resource): resource for resource in resources}
    assert len(by_address) == len(resources), "an address is there twice"
    for expected in case["resources"]:
        assert expected["address"] in by_address, list(by_address)
        check_resource(path, expected, by_address[expected["address"]])
    for name in case.get("absent", ()):
        assert name not in by_address
    if case.get("only"):
        assert list(by_address) == [expected["address"] for expected in case["resources"]]


def check_resource(path: Path, expected: Mapping[str, Any], resource: Resource) -> None:
    for name, value in expected.items():
        match name:
            case "address" | "onto":
                pass
            case "owned":
                assert part_of(value, plain(resource.content.values)), resource.content.values
            case "golden":
                folder = path.parent / "golden"
                before = (folder / expected["onto"]).read_text() if "onto" in expected else None
                assert whole_text(resource, before) == (folder / value).read_text()
            case "secret":
                assert resource.content.reveal() == value
            case "lines":
                lines = whole_text(resource).splitlines()
                assert [line for line in value if line not in lines] == []
            case _:
                assert name in {field.name for field in fields(resource)}, name
                assert plain(getattr(resource, name)) == value


def plain(value: Any) -> Any:
    """As YAML has it: lists for tuples."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def part_of(expected: Any, found: Any) -> bool:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return all(key in found and part_of(item, found[key]) for key, item in expected.items())
    return bool(expected == found)


def whole_text(resource: Any, before: str | None = None) -> str:
    content = resource.content
    if isinstance(content, Merge):
        return merged(content, before)
    return content.reveal() if isinstance(content, Secret) else content


# ---------------------------------------------------------------- what holds for every case

GIVING = [path for path in CASES if "resources" in read(path)]


@pytest.mark.parametrize("path", GIVING, ids=case_id)
def test_same_again(path: Path):
    assert wanted(path.parent.name, read(path)) == wanted(path.parent.name, read(path))


@pytest.mark.parametrize("path", GIVING, ids=case_id)
def test_is_plain_data_without_secrets(path: Path):
    def by_fields(value: Any) -> Any:
        # Not dataclasses.asdict: it opens a Secret.
        if isinstance(value, Secret):
            return repr(value)
        return {field.name: getattr(value, field.name) for field in fields(value)}

    case = read(path)
    resources = wanted(path.parent.name, case)
    text = json.dumps(resources, default=by_fields)
    for secret in case.get("secrets", ()):
        assert secret not in text
        assert secret not in repr(resources)


@pytest.mark.parametrize("path", GIVING, ids=case_id)
def test_converges(path: Path):
    desired = [Desired(role="r", resource=item) for item in wanted(path.parent.name, read(path))]
    converge(desired)


def converge(desired: list[Desired], requires: Mapping[str, Any] | None = None) -> int:
    """Plan and simulate until nothing is left; the number of stages."""
    state: Any = {"PackageLists": {"age_s": 60}}
    for item in desired:
        if isinstance(item.resource, Package):
            candidate = f"{item.resource.at_least or item.resource.version or '1.0'}-1"
            state[address(item.resource)] = {
                "version": None, "hold": False, "candidates": [candidate],
            }  # fmt: skip
    for stage in range(10):
        result = plan("h", desired, state, requires=requires)
        if result.empty:
            return stage
        assert result.changes, f"nothing to do, yet unknown: {result.unknown}"
        state = simulate(result.changes, state)
    pytest.fail(f"still to do: {[change.reason for change in result.changes]}")


@pytest.mark.parametrize("slug", SLUGS)
def test_requirements_exist(slug: str):
    assert roles.order([slug])[-1] == slug
    assert roles.order(iter([slug])) == roles.order([slug])


# ---------------------------------------------------------------- the roles together


def together(name: str, settings: Mapping[str, Mapping[str, Any]]) -> list[Desired]:
    return [
        Desired(role=slug, resource=item)
        for slug in roles.order(CONTAINERS)
        for item in wanted(slug, {"host": name, "vars": settings.get(slug, {})})
    ]


def sources(containerd: str, docker: str) -> dict[str, dict[str, str]]:
    return {"containerd": {"containerd_source": containerd}, "docker": {"docker_source": docker}}


@pytest.mark.parametrize("name", HOSTS)
def test_all_roles_converge_together(name: str):
    requires = {"docker": ("containerd",)}
    assert converge(together(name, {}), requires) <= 2
    if host(name).family == "debian":
        distribution = together(name, sources("distribution", "distribution"))
        assert converge(distribution, requires) <= 2


@pytest.mark.parametrize("name", HOSTS[:5])
@pytest.mark.parametrize(
    ("containerd", "docker"), [("docker", "distribution"), ("distribution", "docker")]
)
def test_different_sources_are_refused(name: str, containerd: str, docker: str):
    with pytest.raises(UnsupportedError, match="wanted differently by roles containerd and docker"):
        united(together(name, sources(containerd, docker)))


@pytest.mark.parametrize("slug", CONTAINERS)
def test_a_proxy_that_is_unset_goes(slug: str):
    proxied = wanted(slug, {"host": "debian12", "vars": {f"{slug}_http_proxy": "http://p:3128"}})
    plain = wanted(slug, {"host": "debian12", "vars": {}})
    written = {item.path for item in proxied if "proxy" in getattr(item, "path", "")}
    assert written
    assert written <= {item.path for item in plain if isinstance(item, Absent)}


def test_a_mistaken_proxy_does_not_show_its_password():
    role = roles.load("docker")
    with pytest.raises(ValidationError) as invalid:
        role.Vars(docker_http_proxy="socks://me:hunter2@proxy")
    assert "hunter2" not in str(invalid.value)
