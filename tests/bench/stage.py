"""The lab's hosts, their inventories, and the commands that are compared on them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from aiprov import app, collection
from aiprov.diff import text_of
from aiprov.lab import HostSpec, Lab, down
from aiprov.lab.machine import Process
from aiprov.merge import merged
from aiprov.resources import File, Merge, Resource
from aiprov.survey.facts import Facts
from tests.bench import ordinary, plain
from tests.bench.measure import BenchError, Command, Sample, once

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
LABS = Path(tempfile.gettempdir()) / "aiprov-bench"

SETTINGS = {
    "aiprov_roles": ["base", "containerd", "docker"],
    "containerd_source": "distribution",
    "docker_source": "distribution",
    "docker_log_max_size": "50m",
    "base_packages": ["curl", "jq", "htop", "rsync"],
    "base_sysctls": {
        "net.ipv4.ip_forward": "1",
        "vm.max_map_count": "262144",
        "net.ipv4.conf.all.rp_filter": "2",
    },
    "base_limits": [{"domain": "*", "item": "memlock", "value": "unlimited"}],
    # A host has many names in some inventories here, so its /etc/hosts cannot list them.
    "base_manage_etc_hosts": False,
}
"""What the hosts are to be: an ordinary container host of Debian 12's own packages."""


@dataclass(kw_only=True)
class Stage:
    """A lab and a folder of files for the peers."""

    lab: Lab
    files: Path
    say: Callable[[str], None]
    env: dict[str, str] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files.mkdir(exist_ok=True)
        # Nothing that lies around on this machine may change what is measured.
        kept = {
            name: value
            for name, value in os.environ.items()
            if "ANSIBLE" not in name and name != "PYTHONDONTWRITEBYTECODE"
        }
        self.env = {
            **kept,
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "AIPROV_HISTORY": str(self.files / "history.sqlite3"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.files / "cp"),
            "ANSIBLE_NOCOLOR": "1",
        }
        collection.link(ROOT)

    # ------------------------------------------------------------ hosts

    def up(self, names: Sequence[str]) -> None:
        """Bring plain hosts up, next to those that are there."""
        self.lab.up(
            [HostSpec(name=name, variables={"base_hostname": name}) for name in names],
            variables=SETTINGS,
        )
        for name in names:
            # A hundred names of few hosts log in at once; sshd would turn some away.
            path = "/etc/ssh/sshd_config.d/bench.conf"
            self.lab.run(name, ["tee", path], stdin=b"MaxStartups 500\nMaxSessions 500\n")
            self.lab.run(name, ["systemctl", "reload", "ssh.service"])

    def converge(self, names: Sequence[str]) -> Sample:
        """Bring hosts to the end state by aiprov."""
        self.say(f"converging {', '.join(names)}")
        sample = once(
            [*AIPROV, "apply", "-i", str(self.lab.inventory), "-l", ",".join(names)],
            cwd=ROOT,
            env=self.env,
        )
        if sample.exit_code != 0:
            raise BenchError(f"hosts did not converge:\n{sample.output}")
        return sample

    def inventory(self, name: str, count: int, hosts: Sequence[str]) -> Path:
        """An inventory of ``count`` names, which are these hosts in turn."""
        known = self.lab.hosts
        document = yaml.safe_load(self.lab.inventory.read_text(encoding="utf-8"))
        entries = {}
        for number in range(count):
            host = hosts[number % len(hosts)]
            alias = host if number < len(hosts) else f"{host}-{number}"
            entries[alias] = {"ansible_host": known[host].address, "base_hostname": host}
        document["all"]["children"] = {"bench": {"hosts": entries}}
        path = self.files / f"{name}.yml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    def converged(self, count: int) -> list[str]:
        """So many hosts that are what they are to be; made on first need."""
        missing = [f"bench{number}" for number in range(len(self.ready), count)]
        if missing:
            self.up(missing)
            self.converge(missing)
            self.ready += missing
        return self.ready[:count]

    @contextmanager
    def fresh(self, name: str, *, lists: bool) -> Iterator[str]:
        """A plain host for one purpose, with today's package lists or with none."""
        self.up([name])
        if not lists:
            self.lab.run(name, ["find", "/var/lib/apt/lists", "-type", "f", "-delete"])
        yield name
        self.lab.remove(name)

    def resources(self, host: str) -> list[Resource]:
        """What the roles want of a converged host, files with their whole content."""
        request = app.Request(sources=(str(self.lab.inventory),), limit=host)
        (job,) = app.jobs(request)
        ((_, facts),) = app.facts(request)
        if not isinstance(facts, Facts):
            raise facts
        return [self._whole(host, item.resource) for item in job.wants(facts).desired]

    def _whole(self, host: str, item: Resource) -> Resource:
        if not isinstance(item, File):
            return item
        if isinstance(item.content, Merge):
            now = self.lab.run(host, ["cat", item.path]).stdout.decode()
            return replace(item, content=merged(item.content, now))
        return replace(item, content=text_of(item))

    # ------------------------------------------------------------ commands

    def write_peers(self, host: str) -> tuple[int, int]:
        """The playbook and the deploy for a host's end state; how many resources and tasks."""
        resources = self.resources(host)
        text = ordinary.playbook(resources, host)
        (self.files / "ordinary.yml").write_text(text, encoding="utf-8")
        (self.files / "deploy.py").write_text(plain.deploy(resources, host), encoding="utf-8")
        return len(resources), ordinary.task_count(text)

    def commands(self, inventory: Path, count: int) -> list[Command]:
        """All that are compared, for a run over all hosts of an inventory that changes nothing."""
        return [
            self.aiprov("apply", inventory, count),
            self.aiprov("plan", inventory, count),
            self.ansible("ansible-playbook playbooks/site.yml", SITE, inventory, count),
            self.pyinfra(inventory, count),
            self.ansible("ordinary Ansible tasks", self.files / "ordinary.yml", inventory, count),
        ]

    def aiprov(self, verb: str, inventory: Path, count: int) -> Command:
        """``aiprov VERB`` that finds nothing to do."""

        def valid(sample: Sample) -> str | None:
            if sample.exit_code == 0 and f" {count} unchanged" in sample.output:
                return None
            return f"exit status {sample.exit_code}, or not {count} hosts unchanged"

        forks = ("--forks", str(FORKS))
        argv = (*AIPROV, verb, "-i", str(inventory), *forks)
        return Command(name=f"aiprov {verb}", argv=argv, cwd=ROOT, env=self.env, valid=valid)

    def ansible(self, name: str, play: Path, inventory: Path, count: int) -> Command:
        """``ansible-playbook`` with a recap of no changes."""
        argv = ("ansible-playbook", "-i", str(inventory), "--forks", str(FORKS), str(play))

        def valid(sample: Sample) -> str | None:
            recap = re.findall(r"changed=(\d+) +unreachable=(\d+) +failed=(\d+)", sample.output)
            if sample.exit_code == 0 and recap == [("0", "0", "0")] * count:
                return None
            return f"exit status {sample.exit_code}, recap {recap}"

        return Command(
            name=name, argv=argv, cwd=ROOT, env=self.env, valid=valid, after=self.hang_up
        )

    def pyinfra(self, inventory: Path, count: int) -> Command:
        """``pyinfra`` with results of no changes."""
        place = inventory.with_suffix(".py")
        document = yaml.safe_load(inventory.read_text(encoding="utf-8"))
        text = plain.inventory(document["all"], known_hosts=str(self.lab.known_hosts))
        place.write_text(text, encoding="utf-8")

        def valid(sample: Sample) -> str | None:
            total = re.search(r"Grand total +(\S+) +(\S+) +(\S+) +(\S+)", sample.output)
            if sample.exit_code == 0 and total and total[2] == total[3] == "-":
                return None
            return f"exit status {sample.exit_code}, totals {total and total[0]}"

        return Command(
            name="plain pyinfra",
            argv=("pyinfra", "-y", str(place), str(self.files / "deploy.py")),
            cwd=self.files,
            env=self.env,
            valid=valid,
        )

    def hang_up(self) -> None:
        """End the connections that Ansible keeps open, so that every run makes its own."""
        for socket in (self.files / "cp").glob("*"):
            subprocess.run(
                ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "host"],
                check=False,
                capture_output=True,
            )


AIPROV = (sys.executable, "-m", "aiprov")
SITE = ROOT / "playbooks" / "site.yml"
FORKS = 32


@contextmanager
def stage(say: Callable[[str], None]) -> Iterator[Stage]:
    """A stage with no hosts yet. All of it is gone afterwards, and what a killed run left too."""
    _sweep()
    own = Process.of(os.getpid())
    if own is None:
        raise BenchError("this process is not in /proc")
    place = LABS / f"{own.pid}-{own.start}"
    place.mkdir(parents=True)
    lab = Lab(place / "lab")
    held = Stage(lab=lab, files=place / "files", say=say)
    try:
        yield held
    finally:
        held.hang_up()
        _remove(place)


def _sweep() -> None:
    for place in LABS.glob("*-*"):
        pid, _, start = place.name.partition("-")
        if not Process(int(pid), int(start)).alive():
            _remove(place)


def _remove(place: Path) -> None:
    down(place / "lab")
    shutil.rmtree(place)
