"""In which order a first boot goes, and what of it cloud-init does itself."""

from __future__ import annotations

import pytest
import yaml

from aiprov.engines.cloud_init.order import in_order
from aiprov.resources import (
    STAGED,
    AptRepository,
    Command,
    File,
    Group,
    Package,
    PathExists,
    Service,
    address,
)
from tests.unit.engines.cloud_configs import (
    EVERY,
    REPOSITORIES,
    addresses,
    files,
    rendered,
    steps,
)

# ---------------------------------------------------------------- what cloud-init does itself


def test_leading_plain_files_are_written_by_cloud_init():
    written = files(rendered(EVERY["debian"]))
    assert written["/etc/apt/sources.list.d/vendor.sources"]["permissions"] == "0644"
    assert written["/etc/apt/keyrings/vendor.asc"]["content"] == "KEY\n"
    assert "File[/etc/apt/apt.conf.d/90aiprov]" not in addresses(rendered(EVERY["debian"]))


@pytest.mark.parametrize(
    "first",
    [
        Package(name="tool"),
        File(path="/x", content="", owner="ada"),
        File(path="/x", content="", validate=("true", STAGED)),
        File(path="/etc/hostname", content="h\n"),
    ],
    ids=address,
)
def test_what_comes_after_anything_else_is_a_step(first):
    text = rendered([first, File(path="/etc/late", content="x\n")])
    assert "/etc/late" not in files(text)
    assert addresses(text)[-1] == "File[/etc/late]"


def test_a_file_that_a_service_reads_is_a_step_so_that_it_can_be_put_back():
    service = Service(name="a.service", running=True, restart_on=("/etc/a",))
    text = rendered([File(path="/etc/a", content="x"), service])
    assert steps(text)[0]["keep_previous"] is True
    assert steps(text)[1]["releases"] == ["/etc/a"]


def test_only_the_last_service_lets_go_of_a_file():
    services = [Service(name=f"{n}.service", running=True, restart_on=("/a",)) for n in "xy"]
    assert [step["releases"] for step in steps(rendered(services))] == [[], ["/a"]]


def test_names_that_are_ours_are_kept_from_cloud_init():
    document = yaml.safe_load(rendered([File(path="/etc/hosts", content="x\n")]))
    assert document["manage_etc_hosts"] is False
    assert "preserve_hostname" not in document
    naming = Command(name="n", argv=("hostnamectl", "x"), unless=PathExists(path="/x"))
    assert yaml.safe_load(rendered([naming]))["preserve_hostname"] is True


# ---------------------------------------------------------------- order


def test_repositories_before_packages_and_lists_between():
    other = AptRepository(name="other", uris=("https://o.example",), suites=("./",))
    wanted = [
        REPOSITORIES["debian"],
        Package(name="a"),
        Package(name="b"),
        other,
        Package(name="c"),
    ]
    found = addresses(rendered(wanted))
    assert found == [
        "PackageLists",
        "Package[a], Package[b]",
        "File[/etc/apt/sources.list.d/other.sources]",
        "PackageLists",
        "Package[c]",
    ]


def test_a_repository_alone_is_listed_too():
    assert addresses(rendered([REPOSITORIES["debian"]])) == ["PackageLists"]


def test_removal_and_installation_are_two_transactions():
    wanted = [Package(name="old", absent=True), Package(name="new"), Package(name="more")]
    found = addresses(rendered(wanted))
    assert found == ["PackageLists", "Package[old]", "Package[new], Package[more]"]


def test_a_delivered_file_comes_after_its_package_and_a_service_after_its_files():
    service = Service(name="d.service", running=True, restart_on=("/etc/d",))
    file = File(path="/etc/d", content="x", delivered_by="d")
    package = Package(name="d")
    assert in_order([service, file, package]) == [package, file, service]
    assert in_order([package, file, service]) == [package, file, service]


def test_a_command_runs_when_its_inputs_change():
    wanted = steps(rendered(EVERY["debian"]))
    cdi = next(step for step in wanted if step["address"] == "Command[cdi]")
    assert cdi["after"] == [
        "Package[docker-ce]",
        "File[/etc/nvidia.conf]",
        "Absent[/etc/nvidia.conf]",
    ]


def test_one_wish_of_two_roles_is_one_step():
    assert addresses(rendered([Group(name="crew"), Group(name="crew")])) == ["Group[crew]"]
