"""kube-etcd and kube-certificates on a made-up control plane with a kubelet of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.programs.kube_host import COMPONENTS, PACKAGE, Answer, Host, addresses, made
from tests.processes.programs.kube_servers import Authority, Server
from tests.pythons import find

AUTHORITY = Authority()
PYTHONS = [sys.executable, *filter(None, [find("3.6")])]
MANIFESTS = "/etc/kubernetes/manifests"
PORTS = dict(zip(COMPONENTS, (2381, 6443, 10257, 10259), strict=True))
DATA = "/var/lib/etcd"
CONTENT = b"all that the cluster knows".ljust(1024, b".")
SNAPSHOT = CONTENT + hashlib.sha256(CONTENT).digest()

MANIFEST = """spec:
  containers:
  - command:
    - {component}
    - --data-dir={data}
    - --initial-advertise-peer-urls=https://{address}:2380
    - --name=cp1
    image: registry.k8s.io/{component}:3.5.24-0
    livenessProbe:
      httpGet:
        host: {address}
        path: /health
        port: probe-port
    ports:
    - containerPort: {port}
      name: probe-port
"""


class Plane:
    """A control plane. Its kubelet serves a port as long as a manifest lies there."""

    def __init__(self, host: Host, python: str, other: str) -> None:
        self.host, self.python, self.other = host, python, other
        self.stopped: list[str] = []
        self.away: dict[str, int] = {}  # how often a question of etcd's is answered in vain
        self.unheard = False  # what is so answered is done all the same
        host.describe(name="cp1", control_plane=True, worker=False)
        host.members.add("cp1", host.address)
        for name in ("ca.crt", "etcd/ca.crt"):
            host.write(f"/etc/kubernetes/pki/{name}", AUTHORITY.pem)
        certificate, key = AUTHORITY.signed("client", days=3)
        host.write("/etc/kubernetes/pki/etcd/healthcheck-client.crt", certificate)
        host.write("/etc/kubernetes/pki/etcd/healthcheck-client.key", key)
        admin = AUTHORITY.kubeconfig(f"{host.address}:6443", "admin", days=100)
        host.write("/etc/kubernetes/admin.conf", admin)
        for component, port in PORTS.items():
            text = MANIFEST.format(component=component, data=DATA, address=host.address, port=port)
            host.write(f"{MANIFESTS}/{component}.yaml", text)
        host.write(f"{DATA}/member/snap/db", "the old")
        for tool in ("chroot", "ctr"):
            shutil.copy(host.tools / "kubeadm", host.tools / tool)
            host.on[tool] = self.tool
        self.pid = "4242"
        root = f"/proc/{self.pid}/root/usr/local/bin"
        host.write(f"/proc/{self.pid}/cmdline", f"etcd\0--data-dir={DATA}\0--name=cp1")
        for tool in ("etcdctl", "etcdutl"):
            host.write(f"{root}/{tool}")
        self.snapshot = SNAPSHOT
        host.serve(10248, lambda *_: (200, {}))
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._kubelet)
        self.thread.start()
        self.until(lambda: 10259 in host.servers and 2379 in host.servers)

    def until(self, holds: Any) -> None:
        end = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.02)

    def _kubelet(self) -> None:
        while not self.over.wait(0.02):
            for component, port in PORTS.items():
                ports = (2379, port) if component == "etcd" else (port,)
                there = self.host.file(f"{MANIFESTS}/{component}.yaml").exists()
                for one in ports:
                    if there and one not in self.host.servers:
                        self.serve(one)
                    elif not there and one in self.host.servers:
                        self.host.stop(one)
                        self.stopped.append(component)

    def serve(self, port: int) -> None:
        tls = AUTHORITY if port in (2379, 6443) else None
        answer = self.host.objects.answer if port == 6443 else self.etcd
        self.host.serve(port, answer, tls)

    def etcd(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v3/maintenance/snapshot":
            pieces = [self.snapshot[at : at + 700] for at in range(0, len(self.snapshot), 700)]
            lines = [{"result": {"blob": base64.b64encode(one).decode()}} for one in pieces]
            return 200, b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        verb = path.rpartition("/")[2]
        if self.away.get(verb, 0) > 0:
            self.away[verb] -= 1
            if self.unheard:
                self.host.members.answer(method, path, body)
            return 503, {"health": "false", "error": "etcdserver: no leader"}
        return self.host.members.answer(method, path, body)

    def tool(self, argv: list[str], _: str) -> Answer:
        """etcd's own tool, wherever it is run: it makes a folder of the snapshot."""
        words = argv[argv.index("snapshot") + 2 :]
        if "--bump-revision" in words and "etcdctl" in " ".join(argv):
            return 1, "Error: unknown flag: --bump-revision"
        made = words[words.index("--data-dir") + 1]
        source = self.host.file(argv[argv.index("snapshot") + 2])
        self.host.write(f"{made}/member/snap/db", source.read_bytes()[:26].decode())
        return 0, ""

    def run(self, program: str, *words: str, given: bytes = b"", **env: str) -> Any:
        text = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        text += f"from kube.{program} import run; raise SystemExit(run(sys.argv[1:]))"
        return subprocess.run(
            [self.python, "-B", "-c", text, *words], input=given, capture_output=True,
            check=False, timeout=60, env={**self.host.environment(), **env},
        )  # fmt: skip

    def json(self, program: str, *words: str) -> Any:
        done = self.run(program, *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def db(self) -> str:
        return self.host.file(f"{DATA}/member/snap/db").read_text()

    @property
    def kept(self) -> list[Path]:
        return sorted(self.host.file("/var/lib").glob("etcd.aiprov-*/member/snap/db"))

    def close(self) -> None:
        self.over.set()
        self.thread.join()


@pytest.fixture(params=PYTHONS, ids=["newest", "oldest"][: len(PYTHONS)])
def plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    here, there = addresses(2)
    with made(str(request.param), AUTHORITY, here) as host:
        one = Plane(host, str(request.param), there)
        try:
            yield one
        finally:
            one.close()


def inside(plane: Plane, folder: str) -> list[str]:
    return sorted(path.name for path in plane.host.file(folder).iterdir())


def said(done: Any) -> str:
    assert done.returncode == 2, (done.stdout, done.stderr)
    return str(done.stderr.decode())


# ---------------------------------------------------------------- members


def test_members_are_shown_with_what_ails_them(plane: Plane) -> None:
    plane.host.members.add("cp2", plane.other)
    plane.host.members.add("", "127.99.0.1", started=False)
    found = plane.json("etcd", "members")["members"]
    assert [(one["name"], one["healthy"], one["this"]) for one in found] == [
        ("cp1", True, True),
        ("cp2", False, False),
        ("127.99.0.1", False, False),
    ]
    assert plane.other in found[1]["reason"]
    assert found[2]["reason"] == "it has never started"


def beside(plane: Plane, *alive: str) -> None:
    """Members of that name at the other address: healthy, because something answers there."""
    for name in alive:
        plane.host.members.add(name, plane.other)


def test_a_member_is_taken_out(plane: Plane) -> None:
    server = Server(plane.host.root, (plane.other, 2379), plane.etcd, AUTHORITY)
    beside(plane, "cp2", "cp3")
    done = plane.run("etcd", "remove", "cp3")
    server.stop()
    assert done.returncode == 0, done.stderr
    assert [one.get("name") for one in plane.host.members.list] == ["cp1", "cp2"]
    assert b"warning: 2 members stand no more losses than 1" in done.stdout


AWAY: dict[str, tuple[dict[str, int], bool]] = {
    "the members": ({"list": 2}, False),
    "those that stay": ({"health": 3}, False),
    "the removal": ({"remove": 2}, False),
    "its answer": ({"remove": 1}, True),
    "all": ({"list": 1, "health": 2, "remove": 1}, False),
}


@pytest.mark.parametrize("case", AWAY)
def test_an_etcd_without_a_leader_is_asked_again(plane: Plane, case: str) -> None:
    """As it is for some seconds, when a control plane has just gone."""
    plane.host.describe(name="cp1", control_plane=True, wait_s=20)
    server = Server(plane.host.root, (plane.other, 2379), plane.etcd, AUTHORITY)
    beside(plane, "cp2", "cp3")
    plane.away, plane.unheard = dict(AWAY[case][0]), AWAY[case][1]
    done = plane.run("etcd", "remove", "cp3")
    server.stop()
    assert done.returncode == 0, done.stderr
    assert b"cp3 is no member of etcd any more\nwarning: 2 members" in done.stdout
    assert [one.get("name") for one in plane.host.members.list] == ["cp1", "cp2"]
    assert not any(plane.away.values())


def test_one_that_stays_without_a_leader_is_told(plane: Plane) -> None:
    plane.host.describe(name="cp1", control_plane=True, wait_s=0.2)
    server = Server(plane.host.root, (plane.other, 2379), plane.etcd, AUTHORITY)
    beside(plane, "cp2", "cp3")
    plane.away = {"remove": 10**6}
    text = said(plane.run("etcd", "remove", "cp3"))
    server.stop()
    assert "etcd does not remove cp3: 503" in text
    assert "hint: run it again" in text
    assert len(plane.host.members.list) == 3


def test_members_that_are_not_told_at_once_are_asked_again(plane: Plane) -> None:
    plane.host.describe(name="cp1", control_plane=True, wait_s=20)
    plane.away = {"list": 2}
    assert [one["name"] for one in plane.json("etcd", "members")["members"]] == ["cp1"]


@pytest.mark.parametrize("known", [True, False], ids=["its name", "its address"])
def test_a_member_that_never_started_is_taken_out(plane: Plane, known: bool) -> None:
    """It has no name in etcd yet: the inventory's name leads to its address."""
    peer = {"name": "cp2", "address": "127.99.0.1", "port": 6443}
    plane.host.describe(name="cp1", control_plane=True, peers=[peer])
    plane.host.members.add("", "127.99.0.1", started=False)
    done = plane.run("etcd", "remove", "cp2" if known else "127.99.0.1")
    assert done.returncode == 0, done.stderr
    assert [one.get("name") for one in plane.host.members.list] == ["cp1"]


def test_one_that_is_none_is_no_failure(plane: Plane) -> None:
    done = plane.run("etcd", "remove", "gpu1")
    assert (done.returncode, done.stdout) == (0, b"gpu1 is no member of etcd\n")


REMOVALS = {
    "the last": ((), "cp1", "only member"),
    "its own": (("cp2",), "cp1", "own member"),
    "the quorum": (("cp2", "cp3"), "cp3", "could not decide anything: 1 of the 2"),
}


@pytest.mark.parametrize("case", REMOVALS)
def test_what_etcd_cannot_spare_stays(plane: Plane, case: str) -> None:
    others, name, why = REMOVALS[case]
    beside(plane, *others)
    text = said(plane.run("etcd", "remove", name))
    assert why in text
    assert "hint: " in text
    assert len(plane.host.members.list) == 1 + len(others)


# ---------------------------------------------------------------- snapshots


def test_a_snapshot_is_what_etcd_gave(plane: Plane) -> None:
    path = plane.host.root / "copy.db"
    done = plane.run("etcd", "snapshot", "/copy.db")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == SNAPSHOT
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(done.stdout)["bytes"] == len(SNAPSHOT)
    assert plane.run("etcd", "snapshot", "-").stdout == SNAPSHOT


def test_a_snapshot_that_was_cut_off_is_none(plane: Plane) -> None:
    plane.snapshot = SNAPSHOT[:-5]
    text = said(plane.run("etcd", "snapshot", "/copy.db"))
    assert "no whole snapshot" in text
    assert not list(plane.host.root.glob("copy.db*"))


def test_without_etcd_there_is_no_snapshot(plane: Plane) -> None:
    plane.close()  # its kubelet would serve etcd's port again
    plane.host.stop(2379)
    assert "gives no snapshot" in said(plane.run("etcd", "snapshot", "-"))


# ---------------------------------------------------------------- restoring


def restored(plane: Plane) -> None:
    assert plane.db == "all that the cluster knows"
    assert [path.read_text() for path in plane.kept] == ["the old"]
    assert inside(plane, MANIFESTS) == [f"{one}.yaml" for one in COMPONENTS]
    assert inside(plane, DATA) == ["member"]
    assert ["systemctl", "restart", "kubelet"] in plane.host.called


def test_a_control_plane_begins_again_from_a_snapshot(plane: Plane) -> None:
    done = plane.run("etcd", "restore", "-", given=SNAPSHOT)
    assert done.returncode == 0, done.stderr
    restored(plane)
    assert set(plane.stopped) == set(COMPONENTS)
    tool = next(argv for argv in plane.host.called if argv[0] == "chroot")
    assert tool[1:3] == [str(plane.host.file("/proc/4242/root")), "/usr/local/bin/etcdutl"]
    assert tool[tool.index("--initial-cluster") + 1] == f"cp1=https://{plane.host.address}:2380"
    assert "--bump-revision" in tool


def test_an_older_etcd_has_another_tool_with_fewer_flags(plane: Plane) -> None:
    plane.host.file("/proc/4242/root/usr/local/bin/etcdutl").unlink()
    plane.host.write("/copy.db")
    (plane.host.root / "copy.db").write_bytes(SNAPSHOT)
    assert plane.run("etcd", "restore", "/copy.db").returncode == 0
    restored(plane)
    assert (plane.host.root / "copy.db").exists()


def test_an_etcd_that_does_not_run_lends_its_image(plane: Plane) -> None:
    plane.host.file("/proc/4242/cmdline").unlink()
    assert plane.run("etcd", "restore", "-", given=SNAPSHOT).returncode == 0
    restored(plane)
    tool = next(argv for argv in plane.host.called if argv[0] == "ctr")
    assert "registry.k8s.io/etcd:3.5.24-0" in tool


MOMENTS = {
    "before it is stopped": "stop",
    "between the folders": "change",
    "before its start": "start",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_that_was_cut_off_is_run_again(plane: Plane, moment: str) -> None:
    """As it is after a kill at that moment: the run after it ends where it would have."""
    host = plane.host
    made, mark = f"{DATA}/aiprov-restored", f"{DATA}/aiprov-restored.json"
    host.write(f"{made}/member/snap/db", "all that the cluster knows")
    host.write(mark, json.dumps({"sha256": hashlib.sha256(CONTENT).hexdigest()}))
    host.on["chroot"] = host.on["ctr"] = lambda *_: (1, "it is not asked again")
    if moment != "before it is stopped":
        host.file("/etc/kubernetes/aiprov/stopped").mkdir(parents=True)
        for component in COMPONENTS:
            host.file(f"{MANIFESTS}/{component}.yaml").rename(
                host.file(f"/etc/kubernetes/aiprov/stopped/{component}.yaml")
            )
        host.file("/var/lib/etcd.aiprov-20261121T000000Z").mkdir()
        host.file(f"{DATA}/member").rename(
            host.file("/var/lib/etcd.aiprov-20261121T000000Z/member")
        )
    if moment == "before its start":
        host.file(f"{made}/member").rename(host.file(f"{DATA}/member"))
    done = plane.run("etcd", "restore", "-", given=SNAPSHOT)
    assert done.returncode == 0, done.stderr
    restored(plane)


def test_joining_does_not_meddle_with_one_that_was_cut_off(plane: Plane) -> None:
    plane.host.write("/etc/kubernetes/kubelet.conf", AUTHORITY.kubeconfig("127.0.0.1:1", "node"))
    stopped = plane.host.file("/etc/kubernetes/aiprov/stopped")
    stopped.mkdir(parents=True)
    plane.host.file(f"{MANIFESTS}/etcd.yaml").rename(stopped / "etcd.yaml")
    text = said(plane.run("node", "join"))
    assert "etcd were stopped by a run that was cut off" in text
    assert "aiprov cluster restore FILE" in text


def test_what_is_damaged_touches_nothing(plane: Plane) -> None:
    text = said(plane.run("etcd", "restore", "-", given=SNAPSHOT[:-1] + b"x"))
    assert "no whole snapshot" in text
    assert plane.db == "the old"
    assert plane.stopped == []


def test_there_are_never_two_clusters(plane: Plane) -> None:
    plane.host.describe(
        name="cp1", control_plane=True,
        peers=[{"name": "cp2", "address": plane.other, "port": 6443}],
    )  # fmt: skip
    server = Server(plane.host.root, (plane.other, 2380), plane.etcd)
    text = said(plane.run("etcd", "restore", "-", given=SNAPSHOT))
    server.stop()
    assert "etcd still runs on cp2" in text
    assert "aiprov cluster reset -l cp2" in text
    assert plane.stopped == []


def test_what_etcds_tool_refuses_is_said_and_nothing_stopped(plane: Plane) -> None:
    plane.host.on["chroot"] = lambda *_: (1, "Error: snapshot missing hash")
    text = said(plane.run("etcd", "restore", "-", given=SNAPSHOT))
    assert "snapshot missing hash" in text
    assert "the control plane is as it was" in text
    assert plane.stopped == []


# ---------------------------------------------------------------- certificates


def test_certificates_are_shown_with_their_days(plane: Plane) -> None:
    found = {one["name"]: one for one in plane.json("certificates", "certificates")["certificates"]}
    assert set(found) == {"ca", "etcd/ca", "etcd/healthcheck-client", "admin.conf"}
    assert (found["ca"]["authority"], found["ca"]["days_left"]) == (True, 3649)
    assert (found["admin.conf"]["authority"], found["admin.conf"]["days_left"]) == (False, 99)
    assert found["etcd/healthcheck-client"]["days_left"] == 2


def test_what_has_read_the_old_certificates_starts_anew(plane: Plane) -> None:
    done = plane.run("certificates", "renew")
    assert done.returncode == 0, done.stderr
    assert plane.host.kubeadm() == ["certs renew all"]
    assert list(dict.fromkeys(plane.stopped)) == list(COMPONENTS)
    assert inside(plane, MANIFESTS) == [f"{one}.yaml" for one in COMPONENTS]


def test_renewing_that_was_cut_off_is_run_again(plane: Plane) -> None:
    stopped = plane.host.file("/etc/kubernetes/aiprov/stopped")
    stopped.mkdir(parents=True)
    plane.host.file(f"{MANIFESTS}/etcd.yaml").rename(stopped / "etcd.yaml")
    assert plane.run("certificates", "renew").returncode == 0
    assert inside(plane, MANIFESTS) == [f"{one}.yaml" for one in COMPONENTS]
