"""Wishes of every kind, rendered for a first boot and read back."""

from __future__ import annotations

import json

import yaml

from aiprov.engines.cloud_init import render
from aiprov.plan import Desired
from aiprov.resources import (
    STAGED,
    Absent,
    AptRepository,
    BootedWith,
    Command,
    Directory,
    DnfRepository,
    File,
    Group,
    KernelArgument,
    KernelModule,
    Link,
    Merge,
    Package,
    Reboot,
    Service,
    Succeeds,
    Sysctl,
    UpToDate,
    User,
)
from aiprov.survey.facts import Facts

DAEMON = "/etc/docker/daemon.json"
REPOSITORIES = {
    "debian": AptRepository(
        name="vendor", uris=("https://v.example",), suites=("./",), key="KEY\n"
    ),
    "redhat": DnfRepository(name="vendor", description="V", baseurl="https://v.example", key="K\n"),
}


def every_kind(family):
    return [
        File(path="/etc/apt/apt.conf.d/90aiprov", content="Acquire::Retries \"3\";\n# ünïcode\n"),
        REPOSITORIES[family],
        File(path="/etc/hosts", content="127.0.0.1 localhost\n"),
        Package(name="docker-ce", version="29.4", hold=True),
        Package(name="docker-ce-cli", version="29.4", hold=True),
        Package(name="podman", absent=True),
        File(
            path=DAEMON,
            content=Merge(format="json", values={"live-restore": True, "bip": None}),
            validate=("dockerd", "--validate", "--config-file", STAGED),
            delivered_by="docker-ce",
        ),
        File(
            path="/etc/containerd/config.toml",
            content=Merge(format="toml", values={"root": "/data"}, base="version = 2\n"),
        ),
        Directory(path="/srv/data", mode=0o700, owner="ada", group="crew"),
        Link(path="/etc/localtime", target="/usr/share/zoneinfo/UTC"),
        Absent(path="/etc/old.conf"),
        KernelModule(name="br_netfilter"),
        Sysctl(key="net.ipv4.ip_forward", value="1"),
        KernelArgument(argument="iommu=pt"),
        Group(name="crew", gid=4321),
        User(name="ada", uid=4321, group="crew", groups=("adm",), shell="/bin/bash"),
        Service(name="docker.service", enabled=True, running=True, restart_on=(DAEMON,)),
        Command(
            name="cdi",
            argv=("nvidia-ctk", "cdi", "generate"),
            unless=UpToDate(output="/etc/cdi/nvidia.yaml", inputs=("/etc/nvidia.conf",)),
            after=("Package[docker-ce]",),
        ),
        Command(name="ask", argv=("true",), unless=Succeeds(argv=("test", "-e", "/x"))),
        Reboot(name="kernel", unless=BootedWith(argument="iommu=pt"), after=("KernelModule[x]",)),
    ]  # fmt: skip


EVERY = {family: every_kind(family) for family in REPOSITORIES}


def image(family="debian", version="12"):
    return Facts(
        name="h", hostname="h", os_id={"debian": "debian", "redhat": "rocky"}[family],
        os_version=version, os_codename="", os_name="", family=family, architecture="x86_64",
        kernel="", python="", boot_id="", cpus=1, memory_bytes=1,
    )  # fmt: skip


def rendered(resources, facts=None, **options):
    desired = [Desired(role="role", resource=item) for item in resources]
    return render(desired, facts or image(), **options)


def files(text):
    return {entry["path"]: entry for entry in yaml.safe_load(text)["write_files"]}


def steps(text):
    return json.loads(files(text)["/var/lib/aiprov/first-boot.steps.json"]["content"])["steps"]


def addresses(text):
    return [step["address"] for step in steps(text)]
