"""A plan whose promises have all come true leaves nothing to plan."""

from __future__ import annotations

import pytest

from aiprov.engines.simulate import SimulateEngine, simulate
from aiprov.plan import Desired
from aiprov.planner import plan
from aiprov.resources import (
    Absent,
    AptRepository,
    Command,
    Directory,
    File,
    Group,
    KernelArgument,
    KernelModule,
    Link,
    Merge,
    Package,
    PathExists,
    Reboot,
    Secret,
    Service,
    Sysctl,
    User,
    address,
)

DAEMON = File(
    path="/etc/docker/daemon.json",
    content=Merge(format="json", values={"live-restore": True, "token": Secret("hush")}),
)
EVERYTHING = [
    AptRepository(name="docker", uris=("https://x.example",), suites=("s",), key="KEY"),
    Package(name="docker-ce", version="29.4", hold=True),
    Package(name="nano", absent=True),
    DAEMON,
    Directory(path="/etc/docker/certs.d"),
    Link(path="/etc/link", target="/etc/target"),
    Absent(path="/etc/old.conf"),
    KernelModule(name="overlay"),
    Sysctl(key="net.ipv4.ip_forward", value="1"),
    KernelArgument(argument="iommu=pt"),
    Group(name="ops"),
    User(name="ada", groups=("ops",)),
    Service(name="docker.service", enabled=True, running=True, restart_on=(DAEMON.path,)),
    Command(name="once", argv=("true",), unless=PathExists(path="/x")),
    Reboot(name="end", unless=PathExists(path="/y")),
]
STATE = {
    "PackageLists": {"age_s": 60},
    "AptRepository[docker]": {"files": ["", ""], "fetched": False},
    "Package[docker-ce]": {"version": None, "hold": False, "candidates": []},
    "Package[nano]": {"version": "7", "hold": False, "candidates": []},
    address(DAEMON): {
        "type": "file", "mode": 0o600, "owner": "root", "group": "root",
        "sha256": "0", "content": '{"foreign": 1}',
    },
    "File[/etc/docker/daemon.json.aiprov-previous]": {"type": "absent"},
    "Service[docker.service]": {
        "exists": True, "enabled": True, "running": True, "masked": False,
        "stale": [], "reload_needed": False,
    },
    "Absent[/etc/old.conf]": {"type": "file"},
    "File[/etc/old.conf]": {"type": "file"},
    "User[ada]": {"exists": False, "groups": []},
}  # fmt: skip


def desired(resources):
    return [Desired(role=f"role{i}", resource=item) for i, item in enumerate(resources)]


def converge(resources, state):
    """Plan and simulate, stage after stage; the states seen, the last one twice planned."""
    for _ in range(5):
        made = plan("h", desired(resources), state)
        if made.empty:
            return state
        assert made.changes, "a stage without changes would never end"
        state = simulate(made.changes, state)
        if "Package[docker-ce]" in state:  # what listing the new repository would bring to light
            state["Package[docker-ce]"].setdefault("candidates", [])
            state["Package[docker-ce]"]["candidates"] = ["5:29.4.3-1~debian.12~bookworm"]
    raise AssertionError("never came to rest")


def test_every_kind_comes_to_rest():
    end = converge(EVERYTHING, STATE)
    assert end["Package[docker-ce]"]["version"] == "5:29.4.3-1~debian.12~bookworm"
    assert '"foreign": 1' in end[address(DAEMON)]["content"]
    assert end["File[/etc/old.conf]"]["type"] == "absent"
    assert end["File[/etc/docker/daemon.json.aiprov-previous]"]["type"] == "absent"


UNPINNED = [item for item in EVERYTHING if not getattr(item, "version", None)]


@pytest.mark.parametrize("resource", UNPINNED, ids=address)
def test_each_kind_comes_to_rest_from_nothing(resource):
    converge([resource], {"PackageLists": {"age_s": None}})


def test_the_old_state_is_left_alone():
    before = {"Link[/a]": {"type": "absent"}}
    made = plan("h", desired([Link(path="/a", target="/b")]), before)
    after = simulate(made.changes, before)
    assert before == {"Link[/a]": {"type": "absent"}}
    assert after == {"Link[/a]": {"type": "link", "target": "/b"}}


def test_the_engine_tells_each_change_and_reports_all_done():
    engine, told = SimulateEngine({}), []
    made = plan("h", desired([Group(name="ops"), Group(name="dev")]), {})
    outcomes = engine.apply(made.changes, told.append)
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert told == list(made.changes)
    assert engine.state["Group[dev]"] == {"exists": True}
    assert engine.unsupported(Group(name="ops")) is None
