"""The playbooks of a cluster's life: programs stand in, and every host is this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiprov import collection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """#!{python} -S
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
state = json.load(open(os.path.join(here, "state.json")))
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open(os.path.join(here, "log"), "a") as log:
    log.write(" ".join(words) + "\\n")
told = state.get(words[1], {{}})
with open(os.path.join(here, "log")) as log:
    if log.read().splitlines().count(" ".join(words)) <= told.get("away", 0):
        sys.exit(75)
sys.stdout.write(told.get("out", ""))
sys.stderr.write(told.get("err", ""))
sys.exit(told.get("rc", 0))
"""


class Site:
    """An inventory of local hosts, and the programs' folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.programs = folder, folder / "lib"
        self.programs.mkdir()
        for name in ("kube-admin", "kube-reset"):
            (self.programs / name).write_text(PROGRAM.format(python=sys.executable))
            (self.programs / name).chmod(0o755)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {name: {} for name in ("cp1", "cp2", "gpu1", "Gpu2")}
        groups = {
            "kube_control_plane": {"hosts": {name: {} for name in ("cp1", "cp2")}},
            "kube_worker": {"hosts": {"gpu1": {}, "Gpu2": {}}},
        }
        variables = {**local, "kubernetes_version": "1.36.4", "ansible_become": False}
        text = json.dumps({"all": {"hosts": hosts, "vars": variables, "children": groups}})
        (folder / "hosts.yml").write_text(text)
        self.answers: dict[str, Any] = {"version": {"out": "{}"}}
        self.nodes = {
            name: {"name": name, "version": "1.36.4", "api_version": None, "ready": True,
                   "schedulable": True}
            for name in ("cp1", "cp2", "gpu1", "gpu2")
        }  # fmt: skip

    def play(self, book: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        collection.link(ROOT)
        self.answers.setdefault("nodes", {"out": json.dumps({"nodes": list(self.nodes.values())})})
        (self.programs / "state.json").write_text(json.dumps(self.answers))
        extra = json.dumps({"aiprov_programs": str(self.programs), **more})
        inventory = str(self.folder / "hosts.yml")
        return subprocess.run(
            [
                *(sys.executable, "-m", "ansible", "playbook", "-i", inventory),
                *(*words, "-e", extra, f"playbooks/{book}.yml"),
            ],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200,
            env={**os.environ, "ANSIBLE_CONFIG": "ansible.cfg", "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def log(self) -> list[str]:
        """What the programs were asked to do, without questions."""
        file = self.programs / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line not in ("kube-admin version", "kube-admin nodes")]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_nodes_leave_one_after_the_other(site: Site) -> None:
    done = site.play("remove_node", "--limit", "gpu1,Gpu2", aiprov_drain_timeout="90")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.log() == [
        "kube-admin drain gpu1 --timeout 90",
        "kube-admin delete gpu1",
        "kube-reset reset",
        "kube-admin drain gpu2 --timeout 90",
        "kube-admin delete gpu2",
        "kube-reset reset",
    ]


def test_a_dead_host_is_not_asked(site: Site) -> None:
    site.answers["delete"] = {"out": "gpu1 is not in the cluster any more\n"}
    done = site.play("remove_node", "--limit", "gpu1", aiprov_unreachable_ok="true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.log() == ["kube-admin delete gpu1"]
    assert "changed=1" in done.stdout


def test_what_cannot_be_drained_stays_and_so_do_those_after_it(site: Site) -> None:
    site.answers["drain"] = {"rc": 2, "err": "kube-cluster: pod a/b is kept by c\nhint: d\n"}
    done = site.play("remove_node", "--limit", "gpu1,Gpu2")
    assert done.returncode != 0
    assert "pod a/b is kept by c" in done.stdout
    assert site.log() == ["kube-admin drain gpu1 --timeout 600"]


@pytest.mark.parametrize("book", ["remove_node", "reset"])
def test_hosts_have_to_be_named(site: Site, book: str) -> None:
    done = site.play(book)
    assert done.returncode != 0
    assert "--limit HOST" in done.stdout
    assert site.log() == []


@pytest.mark.parametrize(("status", "resets"), [(1, 1), (0, 0)])
def test_a_host_is_reset_where_there_is_something(site: Site, status: int, resets: int) -> None:
    site.answers["clean"] = {"rc": status}
    done = site.play("reset", "--limit", "gpu1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.log().count("kube-reset reset") == resets
    assert f"changed={resets}" in done.stdout


def test_without_a_control_plane_nothing_is_done(site: Site) -> None:
    site.answers["version"] = {"rc": 2, "err": "no route"}
    done = site.play("remove_node", "--limit", "gpu1")
    assert done.returncode != 0
    assert "no control plane answers" in done.stdout
    assert site.log() == []


def test_control_planes_whose_api_is_away_are_asked_again(site: Site) -> None:
    site.answers["version"]["away"] = 3  # both of them, and one of them once more
    done = site.play("remove_node", "--limit", "gpu1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kube-admin delete gpu1" in site.log()


def test_nodes_that_have_the_version_are_passed_over_and_freed(site: Site) -> None:
    site.answers["uncordon"] = {"out": "it takes pods again\n"}
    done = site.play("upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.log() == [f"kube-admin uncordon {name}" for name in ("cp1", "cp2", "gpu1", "gpu2")]


def test_the_first_that_fails_ends_it(site: Site) -> None:
    for node in site.nodes.values():
        node["version"] = "1.35.2"
    site.answers["drain"] = {"rc": 2, "err": "kube-cluster: pod a/b is kept by c\nhint: d\n"}
    done = site.play("upgrade")
    assert done.returncode != 0
    assert site.log() == ["kube-admin drain cp1 --timeout 600"]
