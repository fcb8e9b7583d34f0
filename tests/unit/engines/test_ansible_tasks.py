"""What each kind of change comes to in Ansible's modules, and what the engine refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from aiprov.engines.ansible.calls import ModuleCall
from aiprov.engines.ansible.render import HIDDEN, render
from aiprov.engines.ansible.tasks import steps, tasks, unsupported
from aiprov.plan import NEWEST, Change
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    Directory,
    DnfRepository,
    File,
    Group,
    KernelArgument,
    KernelModule,
    Link,
    Package,
    PathExists,
    Reboot,
    Resource,
    Secret,
    Service,
    Sysctl,
    User,
)


def change(
    resource: Resource,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **more: Any,
) -> Change:
    return Change(
        role="case",
        resource=resource,
        before=before or {},
        after=after or {},
        reason="a reason",
        **more,
    )


def package(name: str, now: str | None, then: str | None, **hold: bool | None) -> Change:
    before: dict[str, Any] = {"version": now, "hold": hold.get("held", False)}
    after: dict[str, Any] = {"version": then}
    if hold.get("hold") is not None:
        after["hold"] = hold["hold"]
    return change(Package(name=name, absent=then is None), before, after)


def short(calls: list[ModuleCall]) -> list[str]:
    """A call on a line, as one reads it; ``argv`` as the command."""
    lines = []
    for call in calls:
        module = call.module.removeprefix("ansible.builtin.")
        args = dict(call.args)
        argv = args.pop("argv", None)
        words = argv or [f"{key}={value}" for key, value in args.items()]
        if argv and args:
            words = [*argv, f"# {args}"]
        lines.append(" ".join([module, *words]))
    return lines


DPKG = "command dpkg --force-confdef --force-confold --configure -a"
LOCK = "lock_timeout=300 allow_change_held_packages=True"
CONF = "state=present allow_downgrade=True dpkg_options=force-confdef,force-confold"
OWNED = "mode=0644 owner=root group=root"
UP = "command systemctl show --property=ActiveState,NRestarts -- a.service"
NEEDED = PathExists(path="/x")

CASES: dict[str, tuple[Change, list[str]]] = {
    "package, new, exact and held": (
        package("docker-ce", None, "5:29.4.3-1~debian.12", hold=True),
        [DPKG, f"apt name=['docker-ce=5:29.4.3-1~debian.12'] {CONF} {LOCK}",
         "command apt-mark hold docker-ce"],
    ),
    "package, whatever version": (
        package("curl", None, NEWEST), [DPKG, f"apt name=['curl'] {CONF} {LOCK}"],
    ),
    "package, only held": (
        package("curl", "8.1", "8.1", hold=True), ["command apt-mark hold curl"],
    ),
    "package, only released": (
        package("curl", "8.1", "8.1", held=True, hold=False), ["command apt-mark unhold curl"],
    ),
    "package, a hold that nobody manages survives": (
        package("curl", "8.1", "8.2", held=True),
        [DPKG, f"apt name=['curl=8.2'] {CONF} {LOCK}", "command apt-mark hold curl"],
    ),
    "package, removed": (
        package("relic", "1", None), [DPKG, f"apt name=['relic'] state=absent {LOCK}"],
    ),
    "package, put back whatever is pinned": (
        change(Package(name="curl"), {"version": "8.2"}, {"version": "8.1", "hold": True},
               undo=True),
        ["command env DEBIAN_FRONTEND=noninteractive apt-get -y --allow-downgrades "
         "--allow-change-held-packages -o Dpkg::Options::=--force-confdef "
         "-o Dpkg::Options::=--force-confold install -- curl=8.1",
         "command apt-mark hold curl"],
    ),
    "file": (
        change(File(path="/etc/a", content="x\n"), {"type": "absent"}),
        [f"copy content=x\n dest=/etc/a {OWNED}"],
    ),
    "file, validated": (
        change(File(path="/etc/a", content="x", validate=("check", "50%", "--file={staged}"))),
        [f"copy content=x dest=/etc/a {OWNED} validate=check 50%% --file=%s"],
    ),
    "file, validated in words that a shell would take apart": (
        change(File(path="/etc/a", content="x", validate=("sh $HOME", "a 'b'", "{staged}"))),
        [f"copy content=x dest=/etc/a {OWNED} "
         "validate='sh ${AIPROV_DOLLAR}HOME' 'a '\"'\"'b'\"'\"'' %s"],
    ),
    "file, the former one kept": (
        change(File(path="/etc/a", content="x"), {"type": "file"}, keep_previous=True),
        ["command cp --archive --no-target-directory -- /etc/a /etc/a.aiprov-previous.new",
         "command mv --force --no-target-directory -- "
         "/etc/a.aiprov-previous.new /etc/a.aiprov-previous",
         f"copy content=x dest=/etc/a {OWNED}"],
    ),
    "file, in place of an empty directory": (
        change(File(path="/etc/a", content="x"), {"type": "directory"}),
        ["command rmdir -- /etc/a", f"copy content=x dest=/etc/a {OWNED}"],
    ),
    "file, a name that modules would expand": (
        change(File(path="/etc/$HOME", content="x")),
        [f"copy content=x dest=/etc/.aiprov-3fd9f5e72e61e48c {OWNED}",
         "command mv --force --no-target-directory -- /etc/.aiprov-3fd9f5e72e61e48c /etc/$HOME "
         "# {'expand_argument_vars': False}"],
    ),
    "directory": (
        change(Directory(path="/srv/a", mode=0o750, group="adm"), {"type": "absent"}),
        ["file path=/srv/a state=directory mode=0750 owner=root group=adm"],
    ),
    "link, in place of a file": (
        change(Link(path="/srv/a", target="b"), {"type": "file"}),
        ["file path=/srv/a state=absent",
         "file path=/srv/a src=b state=link force=True follow=False"],
    ),
    "absent, a file": (
        change(Absent(path="/srv/a"), {"type": "file"}), ["file path=/srv/a state=absent"],
    ),
    "absent, never a full directory": (
        change(Absent(path="/srv/a"), {"type": "directory"}), ["command rmdir -- /srv/a"],
    ),
    "kernel module": (
        change(KernelModule(name="overlay"), {"loaded": False, "at_boot": False}),
        [f"copy content=overlay\n dest=/etc/modules-load.d/aiprov-overlay.conf {OWNED}",
         "command modprobe -- overlay"],
    ),
    "kernel module, loaded already": (
        change(KernelModule(name="overlay"), {"loaded": True, "at_boot": False}),
        [f"copy content=overlay\n dest=/etc/modules-load.d/aiprov-overlay.conf {OWNED}"],
    ),
    "sysctl, live only": (
        change(Sysctl(key="vm.swappiness", value="1"), {"value": "60", "at_boot": "1"}),
        ["command sysctl -w vm.swappiness=1"],
    ),
    "kernel argument": (
        change(KernelArgument(argument="iommu=pt")),
        ['copy content=GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX iommu=pt"\n '
         f"dest=/etc/default/grub.d/90-aiprov-iommu-pt.cfg {OWNED}",
         "command update-grub"],
    ),
    "kernel argument, taken off": (
        change(KernelArgument(argument="iommu=pt", absent=True)),
        ["file path=/etc/default/grub.d/90-aiprov-iommu-pt.cfg state=absent",
         "command update-grub"],
    ),
    "service, enabled and started": (
        change(
            Service(name="a.service"),
            {"enabled": False, "running": False, "reload_needed": True},
            {"enabled": True, "running": True, "reload_needed": False},
        ),
        ["systemd_service name=a.service daemon_reload=True enabled=True state=started", UP, UP],
    ),
    "service, restarted": (
        change(
            Service(name="a.service"), {"running": True}, {"running": True, "restart": True}
        ),
        ["command systemctl reset-failed -- a.servic[e]",
         "systemd_service name=a.service state=restarted",
         UP, UP],
    ),
    "service, masked and stopped": (
        change(
            Service(name="a.service"),
            {"masked": False, "running": True},
            {"masked": True, "running": False},
        ),
        ["systemd_service name=a.service masked=True state=stopped"],
    ),
    "user": (
        change(User(name="pilot", uid=4, groups=("adm",), home="/home/p", shell="/bin/sh")),
        ["user name=pilot create_home=True uid=4 home=/home/p shell=/bin/sh "
         "groups=['adm'] append=True"],
    ),
    "user, of the system": (
        change(User(name="bot", system=True)), ["user name=bot create_home=False system=True"],
    ),
    "group": (change(Group(name="crew", gid=4)), ["group name=crew gid=4"]),
    "command": (
        change(Command(name="do", argv=("a", "b c"), unless=NEEDED)), ["command a b c"],
    ),
    "command, with what a module would expand": (
        change(Command(name="do", argv=("a", "$HOME"), unless=NEEDED)),
        ["command a $HOME # {'expand_argument_vars': False}"],
    ),
    "reboot": (
        change(Reboot(name="new kernel", unless=NEEDED, timeout_s=60)),
        ["reboot reboot_timeout=60 msg=aiprov: a reason"],
    ),
    "repository, its lists only": (
        change(
            AptRepository(name="r", uris=("http://r",), suites=("s",)),
            {"files": ["1"], "fetched": False},
            {"files": ["1"], "fetched": True},
        ),
        ["command apt-get update --error-on=any "
         "-o Dir::Etc::sourcelist=/etc/apt/sources.list.d/r.sources "
         "-o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_calls(case: str) -> None:
    made, expected = CASES[case]
    assert short(tasks(made, "debian")) == expected


RED_HAT: dict[str, tuple[Change, list[str]]] = {
    "package, exact and locked": (
        package("docker-ce", "3:29.3-1.el9", "3:29.4-1.el9", held=True, hold=True),
        ["command dnf versionlock delete docker-ce",
         "dnf name=['docker-ce-3:29.4-1.el9'] state=present allow_downgrade=True lock_timeout=300",
         "command dnf versionlock add docker-ce"],
    ),
    "kernel argument": (
        change(KernelArgument(argument="iommu=pt", absent=True)),
        ["command grubby --update-kernel=ALL --remove-args=iommu=pt"],
    ),
    "repository": (
        change(DnfRepository(name="r", description="R", baseurl="http://r", gpgcheck=False)),
        ["copy content=[r]\nname=R\nbaseurl=http://r\nenabled=1\ngpgcheck=0\n "
         f"dest=/etc/yum.repos.d/r.repo {OWNED}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RED_HAT)
def test_calls_on_red_hat(case: str) -> None:
    made, expected = RED_HAT[case]
    assert short(tasks(made, "redhat")) == expected


def test_neighbouring_packages_are_one_transaction() -> None:
    found = steps(
        [
            package("a", None, "1"),
            package("b", None, "2", hold=True),
            package("c", "1", None),
            change(Group(name="g")),
            package("d", None, "4"),
        ],
        "debian",
    )
    assert [[one.address for one in step.changes] for step in found] == [
        ["Package[a]", "Package[b]"],
        ["Package[c]"],
        ["Group[g]"],
        ["Package[d]"],
    ]
    assert short(list(found[0].calls))[1:] == [
        f"apt name=['a=1', 'b=2'] {CONF} {LOCK}",
        "command apt-mark hold b",
    ]


def test_a_secret_is_in_no_log_calls_only() -> None:
    made = change(File(path="/etc/token", content=Secret("Zq8secret"), mode=0o600))
    (call,) = tasks(made, "debian")
    assert call.no_log
    assert call.args["content"] == "Zq8secret"
    assert "Zq8secret" not in render([made], "debian")


def test_a_command_is_given_its_secret_by_a_no_log_call() -> None:
    asked = Command(
        name="c", argv=("c",), unless=PathExists(path="/x"), stdin=Secret("Zq8 {{ secret }}")
    )
    (call,) = tasks(change(asked), "debian")
    assert call.no_log
    assert call.args == {"argv": ["c"], "stdin": "Zq8 {{ secret }}", "stdin_add_newline": False}
    (task,) = yaml.safe_load(render([change(asked)], "debian"))
    assert task["no_log"] is True
    assert task["ansible.builtin.command"]["stdin"] == HIDDEN


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        (File(path="/etc/a", content="", validate=("check",)), "exactly once"),
        (File(path="/etc/a", content="", validate=("a", "{staged}", "{staged}")), "exactly once"),
        (File(path="/etc/a", content="", validate=("~/check", "{staged}")), "expand the ~"),
        (File(path="/etc/$x/a", content=""), "expand variables in /etc/$x"),
        (Link(path="/etc/a", target="$x"), "expand variables in $x"),
        (Absent(path="/etc/$x"), "expand variables"),
        (User(name="a", home="/home/$x"), "expand variables"),
    ],
)
def test_refused_while_planning(resource: Resource, why: str) -> None:
    assert why in (unsupported(resource) or "")


def test_supported() -> None:
    assert unsupported(File(path="/etc/$x", content="", validate=("a", "{staged}"))) is None


def test_rendered_tasks_are_tasks() -> None:
    made = [case for case, _ in CASES.values()]
    made.append(change(File(path="/etc/t", content="{{ not a template }}\n")))
    made.append(change(File(path="/etc/s", content=Secret("Zq8secret"))))
    text = render(made, "debian")

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: ("unsafe", node.value))
    loaded = yaml.load(text, Loader)
    assert all({"name"} < set(task) for task in loaded)
    contents = [task["ansible.builtin.copy"]["content"] for task in loaded[-2:]]
    assert contents == [("unsafe", "{{ not a template }}\n"), HIDDEN]
    assert loaded[-1]["no_log"] is True
    waiting = [task for task in loaded if "until" in task]
    assert waiting
    assert all(task["register"] in task["until"] for task in waiting)
