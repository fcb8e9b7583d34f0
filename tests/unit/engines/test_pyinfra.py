"""What the pyinfra engine sends to a host: cases as data, one runner, one golden file.

After a wanted change: ``python -m tests.unit.engines.test_pyinfra`` writes the golden file anew.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiprov.connection import Connection
from aiprov.diff import digest, wanted
from aiprov.engines import Outcome
from aiprov.engines.pyinfra import PyinfraEngine
from aiprov.errors import UnreachableError
from aiprov.plan import NEWEST, Change
from aiprov.resources import (
    STAGED,
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
    State,
    Sysctl,
    User,
)
from aiprov.survey.transport import Completed
from tests.changes import change

GOLDEN = Path(__file__).with_name("pyinfra_commands.txt")
ABSENT: State = {"type": "absent"}
PRESENT: State = {"type": "file", "sha256": "0", "mode": 0o644, "owner": "root", "group": "root"}
NEW_PACKAGE: State = {"version": None, "hold": False, "candidates": []}
UNIT: State = {"exists": True, "enabled": True, "running": True, "masked": False, "stale": []}
NEVER = PathExists(path="/nowhere")

Answers = Mapping[str, str | tuple[int, str]]

ACTIVE = "Type=notify\nActiveState=active\nSubState=running\nNeedDaemonReload=no\nUptime=9.0 1.0\n"
DEBIAN: Answers = {"for name in apt-get dnf": "/usr/bin/apt-get\n", "command -v grubby": ""}
REDHAT: Answers = {
    "for name in apt-get dnf": "/usr/bin/dnf\n",
    "command -v grubby": "/usr/sbin/grubby\n",
}


class FakeShell:
    """Records what is sent and answers from a table of beginnings of commands."""

    def __init__(self, answers: Answers) -> None:
        self.answers = {"id -u": "0\n", "uname": "Linux\n", **answers}
        self.sent: list[str] = []
        self.given: list[bytes] = []
        self.timeouts_s: list[float] = []

    def run(self, command: str, *, stdin: bytes = b"", timeout_s: float) -> Completed:
        self.sent.append(command)
        self.given.append(stdin)
        self.timeouts_s.append(timeout_s)
        answer = next((a for start, a in self.answers.items() if start in command), "")
        rc, text = answer if isinstance(answer, tuple) else (0, answer)
        return Completed(rc=rc, stdout=text.encode(), stderr=b"")

    def put(self, data: bytes, path: str) -> Completed:
        self.sent.append(f"<write {len(data)} bytes to {path}>")
        return Completed(rc=0, stdout=b"", stderr=b"")

    def close(self) -> None:
        self.sent.append("<close>")


def apply(shell: FakeShell, *changes: Change, name: str = "host") -> list[Outcome]:
    engine = PyinfraEngine(Connection(name=name, address="-"), shell=lambda connection: shell)
    return list(engine.apply(changes, lambda change: None))


CONFIG = File(path="/etc/tool/config.json", content="{}\n", mode=0o640, owner="tool", group="tool")
REPOSITORY = AptRepository(name="vendor", uris=("https://repo.invalid",), suites=("./",), key="K")
DNF = DnfRepository(name="vendor", description="Vendor", baseurl="https://repo.invalid", key="K")
ANSWERED: Answers = {"systemctl show": ACTIVE}


def held(name: str, version: str, now: str, *, hold: bool | None = True) -> Change:
    before = {"version": now, "hold": True, "candidates": [version]}
    return change(Package(name=name, version=version, hold=hold), before)


CASES: dict[str, tuple[Answers, list[Change]]] = {
    "File, new": ({}, [change(CONFIG, ABSENT)]),
    "File, with validation, the former one kept": (
        {},
        [
            change(
                File(path="/etc/sudoers.d/x y", content="z", validate=("visudo", "-cf", STAGED)),
                PRESENT,
                keep_previous=True,
            )
        ],
    ),
    "File, only its mode": ({}, [change(CONFIG, {**PRESENT, "sha256": digest(CONFIG)})]),
    "File, two in one folder": (
        {},
        [change(File(path=f"/etc/{n}", content=Secret(n)), ABSENT) for n in "ab"],
    ),
    "Directory, new": (
        {},
        [change(Directory(path="/srv/a b", mode=0o750, group="adm"), ABSENT)],
    ),
    "Link": ({}, [change(Link(path="/etc/link", target="a file"), PRESENT)]),
    "Absent, file": ({}, [change(Absent(path="/etc/old"), {"type": "file"})]),
    "Absent, file kept": (
        {},
        [change(Absent(path="/etc/old"), {"type": "file"}, keep_previous=True)],
    ),
    "Absent, directory": ({}, [change(Absent(path="/etc/old"), {"type": "directory"})]),
    "KernelModule": ({}, [change(KernelModule(name="br_netfilter"), {})]),
    "Sysctl": ({}, [change(Sysctl(key="net.ipv4.ip_forward", value="1"), {"value": "0"})]),
    "Sysctl, only at boot": ({}, [change(Sysctl(key="vm/x.y", value="1"), {"value": "1"})]),
    "KernelArgument, Debian": (
        DEBIAN,
        [
            change(KernelArgument(argument="iommu=pt"), {"at_boot": False}),
            change(KernelArgument(argument="quiet", absent=True), {"at_boot": True}),
        ],
    ),
    "KernelArgument, RHEL": (
        REDHAT,
        [
            change(KernelArgument(argument="iommu=pt"), {"at_boot": False}),
            change(KernelArgument(argument="quiet", absent=True), {"at_boot": True}),
        ],
    ),
    "Package, Debian: neighbours together": (
        DEBIAN,
        [
            change(Package(name="one"), NEW_PACKAGE, after={"version": NEWEST}),
            change(Package(name="two", hold=True), NEW_PACKAGE, after={"version": "2", "hold": 1}),
            change(Package(name="old", absent=True), {"version": "1", "hold": False}),
        ],
    ),
    "Package, Debian: on hold": (DEBIAN, [held("one", "1", now="2")]),
    "Package, Debian: only the hold": (DEBIAN, [held("one", "1", now="1", hold=False)]),
    "Package, Debian: after an interruption": (
        {**DEBIAN, "dpkg-query": "+ 0001\none half-installed reinstreq\nx half-installed ok\n"},
        [change(Package(name="one"), NEW_PACKAGE, after={"version": NEWEST})],
    ),
    "Package, RHEL": (
        REDHAT,
        [
            held("one", "2-1.el9", now="1-1.el9"),
            change(Package(name="old", absent=True), {"version": "1", "hold": False}),
        ],
    ),
    "AptRepository": (
        DEBIAN,
        [change(REPOSITORY, {"files": ["", ""], "fetched": False})],
    ),
    "AptRepository, only its lists": (
        DEBIAN,
        [
            change(
                REPOSITORY,
                {**wanted(REPOSITORY, {}), "fetched": False},
            )
        ],
    ),
    "DnfRepository": (REDHAT, [change(DNF, {"files": ["", ""]})]),
    "Service, to run and be enabled": (
        {**ANSWERED, "is-enabled": "disabled"},
        [
            change(
                Service(name="a.service", enabled=True, running=True),
                {**UNIT, "enabled": False, "running": False, "reload_needed": True},
            )
        ],
    ),
    "Service, restart": (
        ANSWERED,
        [change(Service(name="a.service", running=True), UNIT, after={"restart": True})],
    ),
    "Service, to mask": (
        ANSWERED,
        [change(Service(name="a.service", masked=True, running=False), UNIT)],
    ),
    "User, new": (
        {},
        [
            change(
                User(name="ops", uid=1500, group="ops", groups=("adm",), shell="/bin/sh"),
                {"exists": False},
            )
        ],
    ),
    "User, system, beside a group of its name": (
        {"getent group": "bot:x:990:\n"},
        [change(User(name="bot", system=True, home="/nonexistent"), {"exists": False})],
    ),
    "User, changed": (
        {},
        [
            change(
                User(name="ops", uid=1500, groups=("adm", "docker"), shell="/bin/sh"),
                {"exists": True, "uid": 1400, "groups": ["adm"], "shell": "/bin/sh"},
            )
        ],
    ),
    "Group, new": ({}, [change(Group(name="crew", gid=70), {"exists": False})]),
    "Group, another id": ({}, [change(Group(name="crew", gid=70), {"exists": True, "gid": 71})]),
    "Command": (
        {},
        [change(Command(name="c", argv=("a b", "$(c)", "'"), unless=NEVER), {"done": False})],
    ),
}


def sent(answers: Answers, changes: list[Change]) -> Iterator[str]:
    shell = FakeShell(answers)
    outcomes = apply(shell, *changes)
    assert [outcome.message for outcome in outcomes] == [""] * len(changes)
    first, *rest, last = shell.sent
    assert (first, last) == ("id -u", "<close>")
    yield from rest


def golden() -> str:
    parts = []
    for title, (answers, changes) in CASES.items():
        lines = "".join(f"    {line}\n" for line in sent(answers, changes))
        parts.append(f"{title}\n{lines}")
    return "\n".join(parts)


@pytest.fixture
def fixed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "01234567")


@pytest.mark.usefixtures("fixed_names")
@pytest.mark.parametrize("title", CASES)
def test_what_is_sent_to_the_host(title: str) -> None:
    sections = dict(
        part.split("\n", 1) for part in GOLDEN.read_text(encoding="utf-8").rstrip().split("\n\n")
    )
    lines = [line.removeprefix("    ") for line in sections[title].splitlines()]
    assert list(sent(*CASES[title])) == lines


def test_the_golden_file_has_these_cases_only() -> None:
    parts = GOLDEN.read_text(encoding="utf-8").rstrip().split("\n\n")
    assert [part.partition("\n")[0] for part in parts] == list(CASES)


# ---------------------------------------------------------------- outcomes


def test_stops_at_the_first_failure() -> None:
    shell = FakeShell({"groupadd b": (9, "groupadd: no\n")})
    outcomes = apply(shell, *(change(Group(name=n), {"exists": False}) for n in "abc"))
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "not run"]
    assert outcomes[1].message == "groupadd b: exit status 9\n    groupadd: no"
    assert shell.sent[-1] == "<close>"


def test_nothing_to_do_touches_nothing() -> None:
    shell = FakeShell({})
    assert apply(shell) == []
    assert shell.sent == []


def test_the_listener_hears_of_each_change_in_order() -> None:
    heard: list[str] = []
    engine = PyinfraEngine(Connection(name="h", address="-"), shell=lambda c: FakeShell(DEBIAN))
    package = {"version": None, "hold": False}
    todo = [change(Package(name=n), package, after={"version": NEWEST}) for n in ("one", "two")] + [
        change(Group(name="g"), {"exists": False})
    ]
    engine.apply(todo, lambda change: heard.append(change.address))
    assert heard == ["Package[one]", "Package[two]", "Group[g]"]


def test_a_lost_connection_is_told_as_the_failure_of_its_change() -> None:
    class Lost(FakeShell):
        def run(self, command: str, *, stdin: bytes = b"", timeout_s: float) -> Completed:
            if command.startswith("groupadd b"):
                raise UnreachableError("h", "the connection was lost", hint="run again")
            return super().run(command, stdin=stdin, timeout_s=timeout_s)

    outcomes = apply(Lost({}), *(change(Group(name=n), {"exists": False}) for n in "abc"))
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "not run"]
    assert outcomes[1].message == "the connection was lost\nhint: run again"


JOIN = Command(
    name="join",
    argv=("kube-node", "join"),
    unless=NEVER,
    stdin=Secret("server: cp1:6443\nkey: hunter22é", parts=(Secret("hunter22é"),)),
)


def test_a_command_is_given_its_secret_on_standard_input_alone() -> None:
    shell = FakeShell({})
    other = change(Command(name="c", argv=("c",), unless=NEVER), {"done": False})
    assert [one.message for one in apply(shell, change(JOIN, {"done": False}), other)] == ["", ""]
    assert shell.sent == ["id -u", "kube-node join", "c", "<close>"]
    assert shell.given == [b"", "server: cp1:6443\nkey: hunter22é".encode(), b""]
    assert shell.timeouts_s[1] >= 30 * 60  # a join takes as long as the cluster does


def test_what_a_command_says_of_its_secret_is_hidden_and_its_way_out_is_the_hint() -> None:
    said = "server: cp1:6443 refuses hunter22é\nhint: make a new one\n"
    (outcome,) = apply(FakeShell({"kube-node": (2, said)}), change(JOIN, {"done": False}))
    assert outcome.message == (
        "kube-node join: exit status 2\n    server: cp1:6443 refuses ***\nhint: make a new one"
    )


def test_a_secret_that_the_host_says_back_is_not_told() -> None:
    shell = FakeShell({"groupadd": (1, "bad line: token=hunter22\n")})
    todo = [
        change(File(path="/etc/a", content=Secret("token=hunter22\n")), ABSENT),
        change(Group(name="g"), {"exists": False}),
    ]
    outcomes = apply(shell, *todo)
    assert "hunter22" not in outcomes[1].message
    assert "bad line: token=***" in outcomes[1].message
    assert not [line for line in shell.sent if "hunter22" in line]


# ---------------------------------------------------------------- threads


def test_twenty_hosts_in_twenty_threads_do_not_mix() -> None:
    """pyinfra's current state is one slot a process; the engine gives each thread its own.

    With threads changed at every chance this fails within a second on pyinfra's own slot.
    """
    interval = sys.getswitchinterval()
    together = threading.Barrier(20)

    def one(number: int) -> tuple[int, list[str], list[str]]:
        shell = FakeShell({})
        todo = [change(Group(name=f"g{n}-of-{number}."), {"exists": False}) for n in range(20)]
        together.wait(timeout=30)
        outcomes = apply(shell, *todo, name=f"host{number}")
        return number, [o.message for o in outcomes], [s for s in shell.sent if "groupadd" in s]

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(20) as pool:
            results = list(pool.map(one, range(20)))
    finally:
        sys.setswitchinterval(interval)
    for number, messages, added in results:
        assert messages == [""] * 20
        assert added == [f"groupadd g{n}-of-{number}." for n in range(20)]


def test_pyinfra_is_imported_with_the_first_change_only() -> None:
    question = "import sys, aiprov.engines.pyinfra; sys.exit('gevent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", question], check=False).returncode == 0


# ---------------------------------------------------------------- unsupported


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (Service(name="docker"), "docker is not a full unit name, such as docker.service"),
        (Group(name="wheel", gid=0), "pyinfra cannot give out the group id 0"),
        (Reboot(name="r", unless=NEVER), None),
        (Service(name="docker.service"), None),
    ],
)
def test_what_pyinfra_cannot_express(resource: Resource, reason: str | None) -> None:
    assert PyinfraEngine(Connection(name="h", address="-")).unsupported(resource) == reason


if __name__ == "__main__":
    secrets.token_hex = lambda nbytes=None: "01234567"
    GOLDEN.write_text(golden(), encoding="utf-8")
