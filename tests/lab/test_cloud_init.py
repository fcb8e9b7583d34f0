"""First boots of real hosts by Debian's own cloud-init, and what the survey then says of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aiprov.connection import Connection
from aiprov.engines.cloud_init import render
from aiprov.engines.cloud_init.image import pristine
from aiprov.lab import HostSpec
from aiprov.lab.access import accepts
from aiprov.lab.build import power_off
from aiprov.plan import Desired, HostPlan
from aiprov.planner import plan
from aiprov.resources import (
    Command,
    File,
    KernelModule,
    Merge,
    PathExists,
    Reboot,
    Resource,
    Service,
    Succeeds,
    address,
)
from aiprov.roles import Cluster, ClusterHost, load
from aiprov.survey import Session
from aiprov.survey.facts import Facts
from aiprov.survey.session import open_session, survey_facts, survey_state
from tests.lab import cloud_boot, every_kind
from tests.lab.conftest import LabHost
from tests.unit.engines.cloud_configs import EVERY, rendered
from tests.unit.engines.cloud_configs import image as image_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]  # more than the waits of a test together

SUITES = ("bookworm", "trixie")
# The lab reaches Debian's packages, not Docker's own repository.
ROLES: dict[str, dict[str, str]] = {
    "base": {"base_time_sync": "none"},  # an image is no container, and time is not its own
    "containerd": {"containerd_source": "distribution"},
    "docker": {"docker_source": "distribution"},
}
HOME = "/var/lib/aiprov"
MARK = "/var/lib/aiprov-boot-before"


def _reboot(mark: str) -> list[Resource]:
    """A reboot that is needed once: while the host is in the boot that is noted in ``mark``."""
    noted = ("sh", "-c", f"! cmp -s /proc/sys/kernel/random/boot_id {mark}")
    note = ("cp", "/proc/sys/kernel/random/boot_id", mark)
    return [
        Command(name=f"note {mark}", argv=note, unless=PathExists(path=mark)),
        Reboot(name=f"leave {mark}", unless=Succeeds(argv=noted)),
    ]


# cloud-init makes the first one, the program itself those that follow.
REBOOTS = [
    *_reboot(MARK),
    *_reboot(f"{MARK}-2"),
    Command(
        name="after both",
        argv=("touch", "/var/lib/aiprov-after"),
        unless=PathExists(path="/var/lib/aiprov-after"),
    ),
]


def connection(host: LabHost) -> Connection:
    options = {
        "UserKnownHostsFile": host.lab.known_hosts,
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }
    return Connection(
        name=host.name,
        address=host.address,
        user="root",
        private_key_file=str(host.lab.private_key),
        ssh_args=tuple(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
    )


def session_with(host: LabHost) -> Session:
    """A first boot that goes on after a reboot may be done before sshd is there."""
    cloud_boot.until(lambda: accepts(host.address), "sshd to be there", 300)
    return open_session(connection(host))


def facts_of(host: LabHost) -> Facts:
    session = session_with(host)
    try:
        return survey_facts(session, host.name)
    finally:
        session.close()


def desired(resources: Sequence[Resource]) -> list[Desired]:
    return [Desired(role="test", resource=item) for item in resources]


def left_to_do(host: LabHost, wanted: Sequence[Desired]) -> HostPlan:
    """What the pipeline would still plan for the host."""
    session = session_with(host)
    try:
        facts = survey_facts(session, host.name)
        state = survey_state(session, facts, [item.resource for item in wanted])
    finally:
        session.close()
    return plan(host.name, wanted, state)


def assert_empty(made: HostPlan) -> None:
    assert [(change.address, change.reason) for change in made.changes] == []
    assert [(item.address, item.until) for item in made.unknown] == []


def image(make_host, suite: str = "bookworm") -> LabHost:
    host = make_host(suite=suite)
    cloud_boot.install_cloud_init(host)
    return host


def statuses(result) -> dict[str, str]:
    return {step["address"]: step["status"] for step in result["steps"]}


@pytest.mark.parametrize("suite", SUITES)
def test_every_kind_is_surveyed_with_an_empty_plan(make_host, tmp_path, suite):
    host = image(make_host, suite)
    scenario = every_kind.scenario(tmp_path)
    host.run(["tar", "-xf", "-", "-C", "/"], stdin=scenario.archive)
    for argv in scenario.prepare:
        host.run(argv)
    wanted = desired([*_possible(host, scenario.key), *REBOOTS])
    user_data = render(wanted, facts_of(host), allow_secrets=True)
    cloud_boot.put(host, "/root/user-data", user_data)
    assert "Valid" in host.text("cloud-init", "schema", "-c", "/root/user-data")
    _accepts_every_kind(host)

    cloud_boot.boot(host, user_data)
    result = cloud_boot.ended(host)

    assert result["status"] == "done", result
    assert "first-boot.steps.json" not in host.text("ls", HOME).split()
    assert set(statuses(result).values()) == {"done"}
    boots = {host.text("cat", MARK), host.text("cat", f"{MARK}-2"), host.lab.boot_id(host.name)}
    assert len(boots) == 3
    assert_empty(left_to_do(host, wanted))
    assert every_kind.SECRET not in host.text("cat", cloud_boot.LOG)
    assert every_kind.SECRET not in host.text("cat", cloud_boot.RESULT)
    cloud_boot.until(lambda: _no_unit(host), "the program to remove its unit, its last file", 300)
    assert host.text("ls", HOME) == "first-boot.json"


def _no_unit(host: LabHost) -> bool:
    return host.run(["systemctl", "cat", "aiprov-first-boot"], check=False).returncode != 0


def _accepts_every_kind(host: LabHost) -> None:
    """What both families come to is valid for this cloud-init, and it does object to nonsense."""
    path = "/root/asked"
    for family, resources in EVERY.items():
        cloud_boot.put(host, path, rendered(resources, image_of(family)))
        assert "Valid" in host.text("cloud-init", "schema", "-c", path)
    cloud_boot.put(host, path, "#cloud-config\nruncmd: [{no: command}]\n")
    assert host.run(["cloud-init", "schema", "-c", path], check=False).returncode != 0


def _possible(host: LabHost, key: str) -> list[Resource]:
    """Every kind that this host can have: no module can be loaded where none is shown."""
    resources = every_kind.resources(host.name, key=key)
    if host.run(["test", "-d", "/sys/module"], check=False).returncode == 0:
        return resources
    return [item for item in resources if not isinstance(item, KernelModule)]


@pytest.mark.parametrize(("suite", "system"), [("bookworm", "debian-12"), ("trixie", "debian-13")])
def test_the_roles_are_surveyed_with_an_empty_plan(make_host, suite, system):
    """Rendered without a look at the host, planned again with its own facts."""
    host = image(make_host, suite)

    unseen = pristine(system, "x86_64", name=host.name)
    cloud_boot.boot(host, render(_roles(host, unseen), unseen))
    result = cloud_boot.ended(host)

    assert result["status"] == "done", result
    assert_empty(left_to_do(host, _roles(host, facts_of(host))))
    assert host.text("systemctl", "is-active", "docker", "containerd") == "active\nactive"
    assert "status: done" in host.text("cloud-init", "status", "--wait")


def _roles(host: LabHost, facts: Facts) -> list[Desired]:
    cluster = Cluster(hosts={host.name: ClusterHost(name=host.name, address=host.address)})
    wanted = []
    for slug, settings in ROLES.items():
        role = load(slug)
        resources = role.resources(role.Vars(**settings), facts, cluster)
        wanted += [Desired(role=slug, resource=item) for item in resources]
    return wanted


def test_a_power_loss_in_the_middle_is_survived(make_host):
    host = image(make_host)
    once = "/var/lib/aiprov-times"
    resources = [
        Command(
            name="first",
            argv=("sh", "-c", f"echo once >>{once}"),
            unless=PathExists(path="/no/such/path"),
        ),
        Command(
            name="slow",
            argv=("sh", "-c", "sleep 8; touch /var/lib/aiprov-slow"),
            unless=PathExists(path="/var/lib/aiprov-slow"),
        ),
        File(path="/etc/aiprov-last", content="x\n"),
    ]
    cloud_boot.boot(host, render(desired(resources), facts_of(host)))
    cloud_boot.until(lambda: _is_done(host, "Command[first]"), "the first step", 300)
    power_off(host.lab.folder, host.lab.folder.read_host(host.name))
    host.lab.up([HostSpec(name=host.name)])
    result = cloud_boot.ended(host)

    assert result["status"] == "done", result
    assert host.text("cat", once) == "once"
    assert host.text("cat", "/etc/aiprov-last") == "x"


def _is_done(host: LabHost, name: str) -> bool:
    steps = cloud_boot.result(host).get("steps", ())
    return any(step["address"] == name and step["status"] == "done" for step in steps)


def test_a_configuration_that_breaks_its_service_is_put_back(make_host):
    host = image(make_host)
    config, unit = "/etc/aiprov-daemon.conf", "aiprov-daemon.service"
    cloud_boot.put(host, config, "good\n")
    start = f"/bin/sh -c 'grep -q good {config} && exec sleep infinity'"
    body = f"[Service]\nExecStart={start}\n[Install]\nWantedBy=multi-user.target\n"
    cloud_boot.put(host, f"/etc/systemd/system/{unit}", body)
    host.run(["systemctl", "enable", "--now", unit])
    wanted = desired(
        [
            File(path=config, content="broken\n"),
            Service(name=unit, enabled=True, running=True, restart_on=(config,)),
            File(path="/etc/aiprov-never", content="x\n"),
        ]
    )

    cloud_boot.boot(host, render(wanted, facts_of(host)))
    result = cloud_boot.ended(host)

    assert result["status"] == "failed"
    assert f"put back {config}, it runs with them again" in result["steps"][1]["message"]
    assert result["steps"][2]["status"] == "not run"
    assert host.text("cat", config) == "good"
    assert host.text("systemctl", "is-active", unit) == "active"
    status = host.run(["cloud-init", "status", "--wait"], check=False).stdout.decode()
    assert "status: error" in status
    boot = host.lab.boot_id(host.name)
    host.lab.reboot(host.name)
    assert host.lab.boot_id(host.name) != boot
    assert cloud_boot.result(host)["status"] == "failed"


def test_foreign_keys_survive_a_first_boot(make_host):
    host = image(make_host)
    cloud_boot.put(host, "/etc/both.json", '{"foreign": [1, 2]}\n')
    cloud_boot.put(host, "/etc/both.toml", "# kept\nforeign = 1\n\n[a]\nb = 'c'\n")
    wanted = desired(
        [
            File(path="/etc/both.json", content=Merge(format="json", values={"ours": {"k": 1}})),
            File(path="/etc/both.toml", content=Merge(format="toml", values={"a": {"ours": True}})),
        ]
    )
    cloud_boot.boot(host, render(wanted, facts_of(host)))
    assert cloud_boot.ended(host)["status"] == "done"
    assert_empty(left_to_do(host, wanted))
    assert "# kept\nforeign = 1\n" in host.text("cat", "/etc/both.toml")
    assert '"foreign"' in host.text("cat", "/etc/both.json")
    assert [address(item.resource) for item in wanted] == list(statuses(cloud_boot.result(host)))
