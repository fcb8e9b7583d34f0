"""What the tests of engines share: changes from states that they know, on hosts of the lab."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aiprov.connection import Connection
from aiprov.engines import Outcome
from aiprov.lab import Lab
from aiprov.plan import Change, Desired, HostPlan
from aiprov.planner import plan
from aiprov.resources import Package, Resource
from aiprov.survey.session import open_session, survey_facts, survey_state
from tests.changes import change
from tests.lab import local_archive
from tests.lab.conftest import LabHost

ABSENT = {"type": "absent"}
FILE = {"type": "file", "sha256": "-", "mode": 0o644, "owner": "root", "group": "root"}
RUNS = {"exists": True, "enabled": True, "running": True, "masked": False, "stale": []}


def connection(lab: Lab, name: str, user: str = "root", **given: object) -> Connection:
    """How the lab's inventory says that a host is reached."""
    options = {
        "UserKnownHostsFile": lab.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }
    return Connection(
        name=name,
        address=lab.hosts[name].address,
        user=user,
        private_key_file=str(lab.private_key),
        ssh_args=tuple(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
        **given,  # type: ignore[arg-type]
    )


def statuses(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def write_file(host: LabHost, path: str, text: str) -> None:
    host.run(["sh", "-c", 'cat >"$0"', path], stdin=text.encode())


def until(question: Callable[[], bool], what: str, timeout: float = 180) -> None:
    deadline = time.monotonic() + timeout
    while not question():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


def holds(host: LabHost, *argv: str) -> bool:
    return host.run(argv, check=False).returncode == 0


def archive_on(
    host: LabHost, work: Path, packages: dict[str, tuple[str, ...]], **scripts: str
) -> None:
    """Packages that the host's apt can install, without a key: the repository is not the point."""
    folder = work / "debs"
    local_archive.unsigned(folder, packages, **scripts)
    tar = subprocess.run(["tar", "-C", folder, "-c", "."], check=True, capture_output=True).stdout
    host.run(["mkdir", "-p", "/srv/debs"])
    host.run(["tar", "-C", "/srv/debs", "--no-same-owner", "-xf", "-"], stdin=tar)
    write_file(host, "/etc/apt/sources.list.d/debs.list", "deb [trusted=yes] file:///srv/debs ./\n")
    only = ("-o", "Dir::Etc::sourcelist=sources.list.d/debs.list", "-o", "Dir::Etc::sourceparts=-")
    host.run(["apt-get", *only, "-o", "APT::Get::List-Cleanup=0", "update"])


def package(name: str, version: str, now: str | None = None) -> Change:
    before = {"version": now, "hold": False, "candidates": [version]}
    return change(Package(name=name, version=version), before)


def planned(host: LabHost, resources: Sequence[Resource]) -> HostPlan:
    """What the survey and the planner find to do."""
    session = open_session(connection(host.lab, host.name))
    try:
        facts = survey_facts(session, host.name)
        state = survey_state(session, facts, resources)
    finally:
        session.close()
    return plan(host.name, [Desired(role="every", resource=one) for one in resources], state)
