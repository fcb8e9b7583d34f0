"""Values marked secret are found nowhere but in the files that they are meant for."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
from ansible.constants import DEFAULT_VAULT_ID_MATCH
from ansible.parsing.vault import VaultEditor, VaultLib, VaultSecret

from aiprov.lab import HostSpec, Lab
from tests.lab.commands import Said, Site, contents, site

pytestmark = pytest.mark.lab

HOSTS = {"pyinfra": "secretpyinfra", "ansible": "secretansible"}
"""A host for each engine."""

BASE, CONTAINERD, OTHER = "b4se-proxy-W0rd", "c0ntainerd-proxy-W0rd", "0ther-vaulted-W0rd"
WRONG = "wr0ng-sudo-W0rd"

MEANT_FOR: Mapping[str, tuple[str, str]] = {
    "/etc/apt/apt.conf.d/91aiprov-proxy": (BASE, "600"),
    "/etc/environment": (BASE, "644"),
    "/etc/systemd/system/containerd.service.d/aiprov-proxy.env": (CONTAINERD, "600"),
}
"""Which secret may be where. Every login reads /etc/environment."""

PROXY_NAMES = ("http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=")
"""A login's environment, and a daemon's, hold the proxy: that is what it is set for."""

SEARCH = """
import json, os, subprocess, sys
words = [word.encode() for word in json.load(sys.stdin)]
def found(data):
    return [word.decode() for word in words if word in data]
for top in "/etc /root /home /tmp /var /run /srv /opt /dev/shm /usr/local".split():
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.isfile(path) or os.path.islink(path):
                continue
            try:
                mode = format(os.stat(path).st_mode & 0o777, "o")
                data = open(path, "rb").read()
            except FileNotFoundError:
                continue  # it was there for a moment
            for word in found(data):
                print(path, word, mode)
log = subprocess.run(["journalctl", "--output=export", "--all"], stdout=subprocess.PIPE).stdout
for word in found(log):
    print("journal", word, 0)
"""


class Watcher(threading.Thread):
    """Looks, as long as it runs, at the arguments and variables of every process.

    The machine sees its own processes and those of its lab hosts.
    """

    def __init__(self, words: list[str]) -> None:
        super().__init__()
        self._words = [word.encode() for word in words]
        self._ended = threading.Event()
        self.seen: set[str] = set()
        self.programs: set[str] = set()

    def run(self) -> None:
        while not self._ended.is_set():
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    self._look(place)
                except OSError:
                    continue  # it has ended

    def _look(self, place: Path) -> None:
        arguments = (place / "cmdline").read_bytes()
        variables = (place / "environ").read_bytes().split(b"\0")
        self.programs.add(arguments.partition(b"\0")[0].decode(errors="replace"))
        names = tuple(name.encode() for name in PROXY_NAMES)
        told = [line for line in variables if not line.startswith(names)]
        for text in (arguments, *told):
            if any(word in text for word in self._words):
                self.seen.add(text.decode(errors="replace"))

    def end(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def watched(words: list[str]) -> Iterator[Watcher]:
    watcher = Watcher(words)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.end()


@pytest.fixture(scope="module")
def vaulted(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host for each engine, reached as ops; all that is secret lies in a vault."""
    own = Lab(lab_root / "secrets")
    own.up([HostSpec(name=name) for name in HOSTS.values()])
    folder = tmp_path_factory.mktemp("secrets")
    made = site(own, folder / "site", {})
    made.set(
        {
            "aiprov_roles": ["base", "containerd"],
            "containerd_source": "distribution",
            "ansible_user": "ops",
            "ansible_become": True,
        }
    )
    made.set(
        {
            "base_https_proxy": f"http://me:{BASE}@192.0.2.1:3128",
            "containerd_https_proxy": f"http://me:{CONTAINERD}@192.0.2.1:3128",
            "ansible_become_password": own.ops_password,
            "something_else": OTHER,
        },
        "lab",
    )
    (folder / "word").write_text("the vault's own word\n")
    secret = VaultSecret(b"the vault's own word")
    file = made.folder / "group_vars" / "lab.yml"
    VaultEditor(VaultLib([(DEFAULT_VAULT_ID_MATCH, secret)])).encrypt_file(str(file), secret)
    yield made
    own.down()


@pytest.mark.parametrize("engine", HOSTS)
def test_secrets_are_nowhere_else(vaulted: Site, monkeypatch: pytest.MonkeyPatch, engine: str):
    host, home = HOSTS[engine], vaulted.folder.parent / f"home-{engine}"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(home))
    sudo = vaulted.lab.ops_password
    words = [BASE, CONTAINERD, OTHER, sudo, WRONG]
    with watched(words) as watcher:
        said = all_verbs(vaulted, host, engine, home)
    assert not watcher.seen
    assert any("sudo" in program for program in watcher.programs), "nothing was seen at all"
    for name, one in said.items():
        assert not [word for word in words if word in one.out + one.err], name
    assert said["refused"].code == 1
    assert said["apply"].code == 0, said["apply"].out + said["apply"].err
    assert said["last plan"].code == 0
    history = vaulted.folder.parent / "history.sqlite3"
    controllers = chain(contents(home), contents(Path("/dev/shm")))
    for path, data in chain(controllers, [(history, history.read_bytes())]):
        assert not [word for word in words if word.encode() in data], path
    assert recorded(vaulted) > 3
    told = vaulted.lab.ssh(host, "systemctl show --all containerd.service", user="ops").stdout
    assert CONTAINERD.encode() not in told, "systemd tells every user"
    assert on_host(vaulted.lab, host, words) == {
        f"{path} {word} {mode}" for path, (word, mode) in MEANT_FOR.items()
    }


def all_verbs(vaulted: Site, host: str, engine: str, home: Path) -> dict[str, Said]:
    key = ("--vault-password-file", str(vaulted.folder.parent / "word"))
    limited = (*key, "--limit", host)
    said = {"show": vaulted.aiprov("inventory", "show", *limited)}
    said |= {"check": vaulted.aiprov("inventory", "check", "--json", *limited)}
    vaulted.set({"ansible_become_password": WRONG}, host)
    said["refused"] = vaulted.aiprov("apply", "-vv", "--engine", engine, *limited)
    (vaulted.folder / "host_vars" / f"{host}.yml").unlink()
    said["plan"] = vaulted.aiprov("plan", "-vv", *limited)
    said["plan --json"] = vaulted.aiprov("plan", "--json", *limited)
    said["render"] = vaulted.aiprov("render", "ansible", "base", "--host", host, *key)
    said["apply"] = vaulted.aiprov("apply", "-vv", "--engine", engine, *limited)
    said["report"] = vaulted.report("-v", "--html", str(home / "page.html"))
    said["xml"] = vaulted.report("--json", "--junit", str(home / "run.xml"))
    vaulted.lab.run(host, ["sh", "-c", "echo >> /etc/apt/apt.conf.d/91aiprov-proxy"])
    said["drift"] = vaulted.aiprov("drift", "--json", *limited)
    said["again"] = vaulted.aiprov("apply", "--json", "--engine", engine, *limited)
    said["last plan"] = vaulted.aiprov("plan", *limited)
    return said


def recorded(vaulted: Site) -> int:
    with sqlite3.connect(vaulted.folder.parent / "history.sqlite3") as database:
        return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])


def on_host(lab: Lab, host: str, words: list[str]) -> set[str]:
    """Where on the host the words are: path, word and mode."""
    script = ["/usr/bin/python3", "-c", SEARCH]
    found = lab.run(host, script, stdin=json.dumps(words).encode(), timeout=300).stdout
    return set(found.decode().splitlines())
