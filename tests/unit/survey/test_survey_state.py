"""State from the agent's answers: pure functions over raw text, and what is asked for it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiprov.diff import reason
from aiprov.errors import SurveyError
from aiprov.plain_files import sysctl_file
from aiprov.resources import (
    Absent,
    BootedWith,
    Command,
    File,
    KernelArgument,
    KernelModule,
    Link,
    Merge,
    Package,
    PathExists,
    Reboot,
    Resource,
    Secret,
    Service,
    Succeeds,
    Sysctl,
    UpToDate,
    User,
)
from aiprov.survey.facts import Facts, facts_from
from aiprov.survey.state import candidates_request, kernel, state_from, state_request

HOSTS = Path(__file__).parent / "hosts"


def facts(name: str) -> Facts:
    return facts_from(json.loads((HOSTS / f"{name}.json").read_text())["answer"], "h")


DEBIAN, ROCKY = facts("debian12"), facts("rocky9")


def one(resource: Resource, host: Facts = DEBIAN, **answer: Any) -> Any:
    """The state of one resource from an answer of which only parts are given."""
    whole: dict[str, Any] = {"paths": {}, "lists": [], "ctimes": {}, "commands": {}, **answer}
    return next(iter(state_from(host, [resource], whole, answer.get("offers", {})).values()))


# ---------------------------------------------------------------- what is asked


def test_nothing_is_asked_that_nobody_wants() -> None:
    assert state_request(DEBIAN, []) == {"ask": "state", "manager": "dpkg"}


def test_text_is_asked_for_unless_it_is_the_wanted_one_or_a_secrets() -> None:
    plain, secret = File(path="/a", content="x"), File(path="/b", content=Secret("y"))
    merge = File(path="/c", content=Merge(format="json", values={}))
    service = Service(name="s.service", restart_on=("/a", "/b"))
    paths = state_request(DEBIAN, [plain, secret, merge, service])["paths"]
    digest = hashlib.sha256(b"x").hexdigest()
    assert paths["/a"] == {"read": True, "send": True, "sha256": digest}
    assert paths["/b"] == {"read": True, "send": False, "sha256": None}
    assert paths["/c"] == {"read": True, "send": True, "sha256": None}
    assert paths["/a.aiprov-previous"]["send"]
    assert not paths["/b.aiprov-previous"]["send"]
    assert "y" not in json.dumps(state_request(DEBIAN, [secret]))


def test_two_wishes_for_one_path_are_both_served() -> None:
    both = [File(path="/a", content="x"), File(path="/a", content="y"), Absent(path="/a")]
    assert state_request(DEBIAN, both)["paths"]["/a"] == {
        "read": True,
        "send": True,
        "sha256": None,
    }


def test_only_packages_that_are_not_as_wanted_are_looked_up() -> None:
    wanted = [
        Package(name="there"),
        Package(name="right", version="29.4"),
        Package(name="old", version="30"),
        Package(name="missing"),
        Package(name="unwanted", absent=True),
    ]
    found = {"there": ["1", False], "right": ["5:29.4.3-1", False], "old": ["5:29.4.3-1", True]}
    answer = {"packages": found, "lists_age": 5}
    request = candidates_request(DEBIAN, wanted, answer)
    assert request == {"ask": "candidates", "manager": "dpkg", "packages": ["missing", "old"]}
    assert candidates_request(DEBIAN, wanted, {**answer, "lists_age": None}) is None
    assert candidates_request(DEBIAN, wanted[:2], answer) is None


# ---------------------------------------------------------------- services


def unit(**changed: str) -> str:
    fields = {
        "Id": "s.service",
        "LoadState": "loaded",
        "UnitFileState": "enabled",
        "ActiveState": "active",
        "NeedDaemonReload": "no",
        "ActiveEnterTimestampMonotonic": "100000000",
        **changed,
    }
    return "".join(f"{key}={value}\n" for key, value in fields.items())


def service(text: str, ctime: float | None = None, kept: float | None = None, **wanted: Any) -> Any:
    # The host has been up for 150 s, the unit for 50 s.
    return one(
        Service(name="s.service", restart_on=("/c",), **wanted),
        units=[0, text, ""],
        clock=[1000.0, 150.0],
        ctimes={"/c": ctime, "/c.aiprov-previous": kept},
        paths={"/c.aiprov-previous": {"type": "absent"}},
    )


@pytest.mark.parametrize(
    ("ctime", "stale"),
    [(None, []), (949.0, []), (951.0, ["/c"]), (1000.0, ["/c"]), (1001.0, [])],
)
def test_stale(ctime: float | None, stale: list[str]) -> None:
    assert service(unit(), ctime)["stale"] == stale
    assert service(unit(ActiveState="inactive"), ctime)["stale"] == []


def test_a_file_that_went_after_the_unit_started_is_a_change() -> None:
    """Its former version lies beside its place until the unit runs without it."""
    assert service(unit(), None, 951.0)["stale"] == ["/c"]
    assert service(unit(), None, 949.0)["stale"] == []
    assert service(unit(), 949.0, 951.0)["stale"] == []
    asked = state_request(DEBIAN, [Service(name="s.service", restart_on=("/c",))])
    assert asked["ctimes"] == ["/c", "/c.aiprov-previous"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, (True, True, True, False)),
        ({"UnitFileState": "disabled", "ActiveState": "failed"}, (True, False, False, False)),
        ({"UnitFileState": "enabled-runtime"}, (True, False, True, False)),
        ({"UnitFileState": "indirect"}, (True, False, True, False)),
        ({"ActiveState": "activating"}, (True, True, False, False)),
        ({"ActiveState": "reloading"}, (True, True, True, False)),
        ({"LoadState": "masked", "UnitFileState": "masked"}, (True, False, True, True)),
        ({"LoadState": "not-found", "UnitFileState": "", "ActiveState": "inactive"}, (False,) * 4),
    ],
)
def test_units(changed: dict[str, str], expected: tuple[bool, ...]) -> None:
    found = service(unit(**changed))
    assert (found["exists"], found["enabled"], found["running"], found["masked"]) == expected


def test_what_cannot_be_enabled_is_as_wanted() -> None:
    assert service(unit(UnitFileState="static"), enabled=True)["enabled"] is True
    assert service(unit(UnitFileState="static"), enabled=False)["enabled"] is False


def test_no_systemd_is_an_error_with_its_words() -> None:
    answer = {"units": [1, "", "Failed to connect to bus: Host is down\n"], "clock": [0, 0]}
    with pytest.raises(SurveyError, match=r"s\.service: Failed to connect to bus"):
        one(Service(name="s.service"), **answer)


# ---------------------------------------------------------------- files, kernel, questions, users


def test_files() -> None:
    raw = {"type": "file", "mode": 0o644, "owner": "root", "group": "root"}
    same = {**raw, "sha256": hashlib.sha256(b"x").hexdigest(), "content": None}
    assert one(File(path="/a", content="x"), paths={"/a": same})["content"] == "x"
    other = {**raw, "sha256": "y", "content": "other"}
    assert one(File(path="/a", content="x"), paths={"/a": other})["content"] == "other"
    assert one(File(path="/a", content="x"), paths={"/a": {"type": "absent"}}) == {
        "type": "absent",
        "mode": 0,
        "owner": "",
        "group": "",
        "sha256": "",
        "content": None,
    }
    link = {"type": "link", "target": "/b"}
    assert one(Link(path="/a", target="/c"), paths={"/a": link}) == link
    with pytest.raises(SurveyError, match="/a cannot be read: Permission denied"):
        one(File(path="/a", content="x"), paths={"/a": {"error": "Permission denied"}})


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("vm", "vm"),
    ],
)
def test_sysctl_paths(key: str, path: str) -> None:
    assert kernel.sysctl_path(key) == path


def test_sysctls() -> None:
    resource = Sysctl(key="net.ipv4.tcp_rmem", value="4096 131072 6291456")
    path = sysctl_file(resource).path
    text = "# ours\nnet.ipv4.tcp_rmem = 1 2 3\n"
    answer: dict[str, Any] = {"sysctls": {"net/ipv4/tcp_rmem": "4096\t131072\t6291456\n"}}
    for raw, at_boot in (({"type": "absent"}, None), ({"type": "file", "content": text}, "1 2 3")):
        found = one(resource, paths={path: raw}, **answer)
        assert found == {"value": "4096 131072 6291456", "at_boot": at_boot}
    assert one(resource, paths={path: {"type": "absent"}}, sysctls={"net/ipv4/tcp_rmem": None}) == {
        "value": None,
        "at_boot": None,
    }


@pytest.mark.parametrize(
    ("lines", "wanted", "unwanted"),
    [
        (["/vmlinuz ro quiet", "/vmlinuz ro quiet single"], True, True),
        (["/vmlinuz ro quiet", "/old ro"], False, True),
        (["/vmlinuz ro quieter"], False, False),
    ],
)
def test_kernel_arguments(lines: list[str], wanted: bool, unwanted: bool) -> None:
    grubby = "".join(f'index=0\nkernel="/boot/vmlinuz"\nargs="{line}"\n' for line in lines)
    for absent, expected in ((False, wanted), (True, unwanted)):
        resource = KernelArgument(argument="quiet", absent=absent)
        assert one(resource, grub=lines)["at_boot"] is expected
        assert one(resource, ROCKY, grubby=[0, grubby, ""])["at_boot"] is expected


@pytest.mark.parametrize("answer", [[None, "", ""], [1, "", "no boot loader"], [127, "", ""]])
def test_a_boot_loader_that_does_not_answer_is_no_menu_without_the_argument(answer: Any) -> None:
    with pytest.raises(SurveyError, match="the kernels' arguments are not known"):
        one(KernelArgument(argument="quiet", absent=True), ROCKY, grubby=answer)


def ask(question: Any, **answer: Any) -> bool:
    done = one(Command(name="c", argv=("x",), unless=question), **answer)["done"]
    renamed = {key.replace("Command[", "Reboot["): value for key, value in answer.items()}
    if isinstance(question, BootedWith):
        assert one(Reboot(name="c", unless=question), **renamed) == {"needed": not done}
    return bool(done)


def test_questions() -> None:
    for rc, expected in ((0, True), (1, False), (127, False)):
        results = {"Command[c]": [rc, "", ""]}
        assert ask(Succeeds(argv=("x",)), commands=results) is expected
    with pytest.raises(SurveyError, match="nvidia-smi -L did not end in time"):
        ask(Succeeds(argv=("nvidia-smi", "-L")), commands={"Command[c]": [None, "", ""]})
    here, gone = {"/p": {"type": "link"}}, {"/p": {"type": "absent"}}
    assert ask(PathExists(path="/p"), paths=here)
    assert not ask(PathExists(path="/p"), paths=gone)
    assert ask(PathExists(path="/p", absent=True), paths=gone)
    hidden = {"/p": {"error": "Permission denied"}}
    for absent in (False, True):
        with pytest.raises(SurveyError, match="/p cannot be read: Permission denied"):
            ask(PathExists(path="/p", absent=absent), paths=hidden)
    newer = UpToDate(output="/o", inputs=("/a", "/b"))
    assert ask(newer, ctimes={"/o": 2.0, "/a": 2.0, "/b": None})
    assert not ask(newer, ctimes={"/o": 2.0, "/a": 2.5, "/b": None})
    assert not ask(newer, ctimes={"/o": None, "/a": None, "/b": None})
    assert ask(BootedWith(argument="a=1"), cmdline="ro a=1 quiet\n")
    assert not ask(BootedWith(argument="a=1"), cmdline="ro a=10\n")


def test_users() -> None:
    accounts = {
        "users": {"ops": ["1000", "1000", "/home/ops", "/bin/bash", "ops"]},
        "member_of": {"ops": ["sudo", "docker"]},
    }
    assert one(User(name="ops"), accounts=accounts) == {
        "exists": True,
        "uid": 1000,
        "group": "ops",
        "groups": ["docker", "ops", "sudo"],
        "home": "/home/ops",
        "shell": "/bin/bash",
    }
    assert not one(User(name="none"), accounts=accounts)["exists"]


@given(answer=st.dictionaries(st.sampled_from(["paths", "units", "clock"]), st.none() | st.text()))
def test_nonsense_is_an_error_that_names_the_host(answer: dict[str, Any]) -> None:
    with pytest.raises(SurveyError, match=r"^h: "):
        state_from(DEBIAN, [File(path="/a", content=""), Service(name="s.service")], answer, {})


@pytest.mark.parametrize("kind", [Command, Reboot])
def test_what_a_question_says_is_what_differs(kind: type[Command] | type[Reboot]) -> None:
    more: Any = {"argv": ("x",)} if kind is Command else {}
    asked = kind(name="c", unless=Succeeds(argv=("x",)), **more)

    def said(rc: int, out: str) -> Any:
        return one(asked, commands={f"{kind.__name__}[c]": [rc, out, "noise"]}).get("said")

    assert said(1, "node cp1: not Ready\n\x1b[1mtaint is missing\n") == [
        "node cp1: not Ready",
        "taint is missing",
    ]
    assert said(1, "") is None
    assert said(0, "all is well") is None


@pytest.mark.parametrize(
    ("rc", "err", "said"),
    [
        (2, "kube-admin: 10.0.0.1:6443: timed out\nhint: see readyz\n", "timed out"),
        (2, "", "it does not say why"),
        (None, "", "it did not end in time"),
    ],
)
def test_a_question_that_cannot_be_answered_is_no_answer(
    rc: int | None, err: str, said: str
) -> None:
    waits = Command(name="c", argv=("x",), unless=Succeeds(argv=("y",), patience_s=60))
    state = one(waits, commands={"Command[c]": [rc, "noise", err]})
    assert (state["done"], state["untold"]) == (False, True)
    assert said in state["said"][0]
    assert reason(waits, state, {"done": True}).startswith("there is no telling: ")


@pytest.mark.parametrize("rc", [1, 127])
def test_a_plain_no_is_one_whatever_is_on_standard_error(rc: int) -> None:
    waits = Command(name="c", argv=("x",), unless=Succeeds(argv=("y",), patience_s=60))
    state = one(waits, commands={"Command[c]": [rc, "no such node\n", "noise"]})
    assert state == {"done": False, "said": ["no such node"]}


@pytest.mark.parametrize(
    ("host", "more", "remedy"),
    [
        ("ubuntu2404", {}, "apt-get install linux-modules-extra-{kernel}"),
        ("rocky9", {}, "dnf install kernel-modules-extra-{kernel}"),
        ("debian12", {}, "linux-image-amd64 and reboot"),
        ("ubuntu2404", {"kernels": ("99.0.0-1-generic",)}, "reboot the host: kernel 99.0.0-1"),
    ],
)
def test_a_module_that_the_kernel_has_not_has_a_remedy(
    host: str, more: dict[str, Any], remedy: str
) -> None:
    module = KernelModule(name="ip-vs")
    path = "/etc/modules-load.d/aiprov-ip-vs.conf"
    about = replace(facts(host), **{"kernels": (), **more})

    def state(there: bool | None) -> Any:
        absent = {path: {"type": "absent"}}
        return one(module, about, modules={"ip_vs": there}, paths=absent)

    assert state(None)["missing_from"] == about.kernel
    assert remedy.format(kernel=about.kernel) in state(None)["remedy"]
    assert state(False) == {"loaded": False, "at_boot": False}
    assert state(True) == {"loaded": True, "at_boot": False}
