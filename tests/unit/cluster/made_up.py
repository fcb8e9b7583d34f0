"""A made-up cluster: an inventory, and hosts whose programs answer out of a state of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from aiprov.cluster.members import Member, Members, members
from aiprov.cluster.plane import Hosts
from aiprov.errors import UnreachableError
from aiprov.inventory import load
from aiprov.resources import Argv
from aiprov.survey.transport import Completed, OnLine

CONTENT = b"all that is known".ljust(512, b".")
SNAPSHOT = CONTENT + hashlib.sha256(CONTENT).digest()
OLD, NEW = "1.35.2", "1.36.4"


def cluster(folder: Path, *planes: str, workers: Iterable[str] = (), version: str = NEW) -> Members:
    """The members by an inventory that is written there."""
    groups = {"kube_control_plane": planes, "kube_worker": tuple(workers)}
    children = {
        name: {"hosts": {host: {"ansible_connection": "local"} for host in hosts}}
        for name, hosts in groups.items()
    }
    variables = {
        "aiprov_roles": ["base", "kubernetes"],
        "kubernetes_version": version,
        "kubernetes_endpoint": "k8s.example.org:6443",
    }
    text = json.dumps({"all": {"vars": variables, "children": children}})
    (folder / "hosts.yml").write_text(text)
    return members(load([str(folder / "hosts.yml")]))


class MadeUp(Hosts):
    """Hosts that answer. ``dead``: those that do not; ``fails``: what a verb says in vain.

    ``away``: how often a verb of a host finds no API that answers.
    """

    def __init__(self, found: Members, version: str = OLD) -> None:
        super().__init__()
        self.version = version
        self.nodes = {
            member.name: {
                "name": member.name,
                "ready": True,
                "reason": "",
                "schedulable": True,
                "cordoned_by_aiprov": False,
                "roles": ["control-plane"] if member.control_plane else ["worker"],
                "version": version,
                "api_version": version if member.control_plane else None,
                "gpus": {} if member.control_plane else {"nvidia.com/gpu": 8},
                "pods": 3,
            }
            for member in found.everyone
        }
        self.dead: set[str] = set()
        self.fails: dict[tuple[str, str], str] = {}
        self.away: dict[tuple[str, str], int] = {}
        self.asked: list[tuple[str, str]] = []
        self.problems: list[dict[str, str]] = []
        self.days = 300
        self.calls: list[tuple[str, ...]] = []
        self.given = b""
        self.snapshot = SNAPSHOT

    def run(
        self,
        member: Member,
        argv: Argv,
        *,
        stdin: Iterable[bytes] = (),
        into: IO[bytes] | None = None,
        timeout_s: float | None = 0,
        on_line: OnLine | None = None,
    ) -> Completed:
        host = member.host.name
        if host in self.dead:
            raise UnreachableError(host, "no route to host", hint="is it up?")
        program, *words = (argv[0].rpartition("/")[2], *argv[1:])
        about = words[1] if len(words) > 1 else host
        if words and words[0] not in ("version", "nodes", "health", "certificates", "!"):
            self.calls.append((host, program, *words))
        verb = words[0] if words else program
        self.asked.append((verb, host))
        if self.away.get((verb, host), 0) > 0:
            self.away[verb, host] -= 1
            said = b"kube-cluster: kubectl version: etcdserver: no leader\nhint: see readyz\n"
            return Completed(rc=75, stdout=b"", stderr=said)
        if text := self.fails.get((verb, about)):
            return Completed(rc=2, stdout=b"", stderr=text.encode())
        out = json.dumps(self.answer(words, about)).encode() if words else b""
        if into is not None:
            into.write(self.snapshot)
        if on_line is not None:
            on_line("stdout", f"{' '.join(words)} done")
        self.given = b"".join(stdin)
        return Completed(rc=0, stdout=out, stderr=b"")

    def answer(self, words: list[str], about: str) -> dict[str, Any]:
        node = self.nodes.get(about, {})
        match words[0]:
            case "version":
                return {"api": self.version, "cluster": self.version}
            case "nodes":
                return {"nodes": list(self.nodes.values())}
            case "health":
                etcd = [{"name": name, "healthy": True, "reason": ""} for name in self.nodes]
                return {"problems": self.problems, "etcd": etcd[:1]}
            case "certificates":
                end = {"name": "apiserver", "days_left": self.days, "authority": False}
                return {"certificates": [{**end, "valid_until": "2027-01-01T00:00:00Z"}]}
            case "drain":
                node.update(schedulable=False, cordoned_by_aiprov=True)
            case "uncordon":
                node.update(schedulable=True, cordoned_by_aiprov=False)
            case "delete":
                self.nodes.pop(about, None)
        return {}

    def did(self) -> list[str]:
        """What changed anything, as lines."""
        return [" ".join(call).replace("kube-admin ", "") for call in self.calls]
