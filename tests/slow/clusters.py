"""A Kubernetes of lab hosts: brought about by the command line, asked by its own kubectl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import yaml

from aiprov.errors import LabError
from aiprov.lab import Lab
from aiprov.lab.machine import until
from tests.lab.commands import Running, Said, Site, left_behind, site

ADMIN = "/etc/kubernetes/admin.conf"
BUSYBOX = "registry.lab/busybox:1"
NOBODY_ANSWERS = (LabError, subprocess.TimeoutExpired)
"""What a question on a host raises that was refused there, or did not end."""
PODS_S = 420
"""For a pod to run: whoever places or starts it may restart, the longer the oftener it did."""
ROLES: dict[str, Any] = {"aiprov_roles": ["kubernetes"], "kubernetes_network": "bridge"}


@dataclass(frozen=True)
class Cluster:
    """A site whose hosts make one cluster."""

    site: Site
    vault: tuple[str, ...]
    variables: dict[str, Any]

    @classmethod
    def of(cls, lab: Lab, folder: Path, **given: Any) -> Cluster:
        """The cluster's site, with its secrets made."""
        folder.mkdir(exist_ok=True)
        password = folder / "vault-password"
        password.write_text("correct horse battery staple")
        made = cls(
            site(lab, folder / "site", {}),
            ("--vault-password-file", str(password)),
            {},
        )
        made.set(**ROLES, **given)
        said = made.aiprov("cluster secrets")
        assert said.code == 0, said.out + said.err
        return made

    @property
    def lab(self) -> Lab:
        return self.site.lab

    @property
    def inventory(self) -> tuple[str, ...]:
        """What every verb is given. The secrets lie in the first: the site's own folder."""
        return ("-i", str(self.site.folder), "-i", str(self.lab.inventory), *self.vault)

    def set(self, **changed: Any) -> None:
        """The variables of all nodes, these among them, from now on."""
        self.variables.update(changed)
        self.site.set(self.variables, "lab_kubernetes")

    def aiprov(self, verb: str, *arguments: str, stdin: str = "") -> Said:
        """Run a verb to its end; one of a group's is both words."""
        words = [*verb.split(), *self.inventory, *arguments]
        return self.site.run(words, stdin)

    def start(self, verb: str, *arguments: str) -> Running:
        """Begin a verb and leave it running."""
        return self.site.start(verb, *self.vault, *arguments)

    def settled(self, *arguments: str, engine: str = "pyinfra") -> None:
        """Hosts are brought to what is wanted, and then nothing is left to do."""
        said = self.aiprov("apply", "--engine", engine, *arguments)
        assert said.code == 0, said.out + said.err
        self.unchanged(*arguments)

    def unchanged(self, *arguments: str) -> None:
        """Nothing is to be done, and nothing of a run is left on any host."""
        plan = self.aiprov("plan", *arguments)
        assert plan.code == 0, plan.out + plan.err
        for host in self.lab.hosts:
            left = left_behind(self.lab, host)
            assert left == "", left

    def kubectl(self, *argv: str, on: str = "cp1", stdin: str = "") -> str:
        """What kubectl says as the cluster's administrator.

        It is asked again where nobody answers: give it only what may be done twice.
        """
        command = ("kubectl", "--kubeconfig", ADMIN, "--request-timeout=10s", *argv)
        told: list[str] = []

        def answered() -> bool:
            done = self.lab.run(on, command, stdin=stdin.encode())
            told.append(done.stdout.decode().strip())
            return True

        waited(answered, f"kubectl {' '.join(argv)}", timeout=120)
        return told[-1]

    def asked(self, *argv: str, on: str = "cp1") -> Any:
        """An object, or a list of them."""
        return json.loads(self.kubectl("get", *argv, "-o", "json", on=on))

    def nodes(self, on: str = "cp1") -> dict[str, bool]:
        """The nodes by name, and whether each is ready."""
        return {
            node["metadata"]["name"]: condition(node, "Ready")
            for node in self.asked("nodes", on=on)["items"]
        }

    def ready(self, *names: str, on: str = "cp1") -> None:
        """Wait until these are the cluster's nodes, and all are ready."""
        wanted = dict.fromkeys(names, True)
        waited(lambda: self.nodes(on) == wanted, f"nodes {names} are ready", timeout=300)

    def well(self) -> Said:
        """Wait until the cluster's own status has nothing to say; what it said."""
        told: list[Said] = []

        def quiet() -> bool:
            told.append(self.aiprov("cluster status"))
            return told[-1].code == 0

        until(quiet, "the cluster is well", timeout=600, every=3)
        return told[-1]

    def create(self, *objects: dict[str, Any], on: str = "cp1") -> None:
        """Make objects as a user does, with kubectl."""
        self.kubectl("apply", "-f", "-", on=on, stdin=yaml.safe_dump_all(objects))

    def finished(self, pod: str, on: str = "cp1") -> str:
        """Wait for the end of a pod that has to succeed; what it printed."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.asked("pod", pod, on=on))
            return phase(found) in ("Succeeded", "Failed")

        waited(ended, f"pod {pod} ends", timeout=PODS_S)
        printed = self.kubectl("logs", pod, on=on)
        assert phase(found) == "Succeeded", printed
        return printed

    def running(self, pod: str, on: str = "cp1") -> dict[str, Any]:
        """Wait until a pod is ready; the pod."""
        found: dict[str, Any] = {}

        def ready() -> bool:
            found.update(self.asked("pod", pod, on=on))
            return condition(found, "Ready")

        waited(ready, f"pod {pod} is ready", timeout=PODS_S)
        return found

    def logins(self, *hosts: str) -> dict[str, int]:
        """How often each host was logged in to, since it booted."""
        asked = ("journalctl", "--boot", "--unit=ssh.service", "--grep=^Accepted", "--quiet")
        return {
            host: len(self.lab.run(host, asked, check=False).stdout.splitlines()) for host in hosts
        }

    @contextmanager
    def requests(self, url: str, *, host: str) -> Iterator[Counted]:
        """Ask a URL again and again from a host, and count what failed."""
        counted, stop = Counted(), Event()
        argv = ("/usr/bin/python3", "-c", _ASK, url)

        def ask() -> None:
            while not stop.is_set():
                try:
                    # Longer than its requests may take: what is lost, it says itself.
                    said = self.lab.run(host, argv, timeout=300).stdout.decode()
                except NOBODY_ANSWERS as error:
                    counted.not_asked.append(str(error))
                    stop.wait(1)
                    continue
                answered, failed = map(int, said.split())
                counted.answered += answered
                counted.failed += failed

        thread = Thread(target=ask)
        thread.start()
        try:
            yield counted
        finally:
            stop.set()
            thread.join()


_ASK = """
import http.client, sys, time, urllib.request
answered = failed = 0
until = time.monotonic() + 5
while time.monotonic() < until and not failed:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=60).read()
        answered += 1
    except (OSError, http.client.HTTPException):
        failed += 1
    time.sleep(0.05)
print(answered, failed)
"""


@dataclass
class Counted:
    """How many requests were answered, and how many were not.

    ``not_asked``: why the host did not ask, now and then: no request was lost by that.
    """

    answered: int = 0
    failed: int = 0
    not_asked: list[str] = field(default_factory=list)


def pod(name: str, *command: str, node: str | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of one container that runs a command of busybox's."""
    container = {"name": "main", "image": BUSYBOX, "command": list(command), **spec}
    container.setdefault("imagePullPolicy", "Never")
    own: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0}
    if node is not None:
        own["nodeSelector"] = {"kubernetes.io/hostname": node}
    own["restartPolicy"] = "Always" if command[0] == "httpd" else "Never"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": own,
    }


def asks(name: str, url: str, *, node: str) -> dict[str, Any]:
    """A pod that prints what a URL answers, once it does.

    A node knows of a pod or a service a moment after the API does, and refuses it until then.
    """
    tries = f'for _ in `seq {PODS_S}`; do timeout 20 wget -qO- "$0" && exit; sleep 1; done; exit 1'
    return pod(name, "sh", "-c", tries, url, node=node)


def service(name: str, port: int) -> dict[str, Any]:
    """A service in front of the pod of that name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }


def waited(question: Callable[[], bool], what: str, *, timeout: float) -> None:
    """Wait as ``until`` does, where a question that nobody answers just now is put again.

    An API server is away for a moment: while etcd elects a leader, or another address is asked.
    """
    unanswered = ""

    def so() -> bool:
        nonlocal unanswered
        unanswered = ""
        try:
            return question()
        except NOBODY_ANSWERS as error:
            unanswered = f" ({error})"
            return False

    try:
        until(so, what, timeout=timeout, every=1)
    except LabError as error:
        raise LabError(error.message + unanswered) from None


def condition(thing: dict[str, Any], name: str) -> bool:
    """Whether a condition of a node or pod is true."""
    conditions = thing.get("status", {}).get("conditions", ())
    return any(one["type"] == name and one["status"] == "True" for one in conditions)


def phase(pod: dict[str, Any]) -> str:
    """Where a pod is in its life."""
    return str(pod.get("status", {}).get("phase", ""))
