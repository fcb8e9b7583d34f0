"""The program that follows Nodes, against an HTTPS API of the test's own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiprov.programs import kube_nodes
from tests.processes.programs.nodes_api import Api, Authority, node, served
from tests.pythons import needed

ROUTES = """\
import sys
with open({path!r}, "a") as kept:
    kept.write(sys.stdin.read() + "\\n")
"""
"""In place of kube-routes: keeps what it is handed."""


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def api() -> Api:
    made = Api()
    for number in (1, 2, 3):
        name = f"n{number}"
        made.nodes[name] = node(name, f"10.244.{number}.0/24", f"10.0.0.{number}")
    return made


class Host:
    """A host with a kubelet: its files, and the program that runs there."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self.authority = folder, authority
        self.conf = folder / "etc/kubernetes/kubelet.conf"
        self.pem = folder / "kubelet.pem"
        self.handed = folder / "handed"
        self.conf.parent.mkdir(parents=True)
        (folder / "bin").mkdir()
        shutil.copy(kube_nodes.__file__, folder / "bin/kube-nodes")
        (folder / "bin/kube-routes").write_text(ROUTES.format(path=str(self.handed)))
        self.process: subprocess.Popen[str] | None = None

    def member(self, port: int) -> None:
        """Make it a node, as kubeadm and the kubelet do."""
        self.pem.write_text(self.authority.signed("system:node:n1"))
        self.conf.write_text(
            "apiVersion: v1\nclusters:\n- cluster:\n"
            f"    certificate-authority-data: {data(self.authority.pem)}\n"
            f"    server: https://127.0.0.1:{port}\n  name: kubernetes\n"
            "users:\n- name: default-auth\n  user:\n"
            f"    client-certificate: {self.pem}\n    client-key: {self.pem}\n"
        )

    def start(self, version: str = "3.12") -> None:
        python = needed(version)
        self.process = subprocess.Popen(
            [python, self.folder / "bin/kube-nodes", "--node", "n1", "--pods", "10.244.0.0/16"],
            stdout=(self.folder / "log").open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "AIPROV_TEST_ROOT": str(self.folder)},
            text=True,
        )

    def known(self) -> dict[str, Any]:
        """What kube-routes was handed last."""
        lines = self.handed.read_text().splitlines() if self.handed.exists() else []
        return json.loads(lines[-1]) if lines else {}

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            known = self.known()
            if known and holds(known):
                return known
            assert self.process
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError(f"{self.known()}\n{(self.folder / 'log').read_text()}")

    def said(self) -> str:
        return (self.folder / "log").read_text()


def data(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def host(tmp_path: Path, authority: Authority) -> Iterator[Host]:
    made = Host(tmp_path, authority)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def port(api: Api, authority: Authority, tmp_path: Path) -> Iterator[int]:
    with served(api, authority, tmp_path) as number:
        yield number
        api.events.put(None)


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_nodes_are_listed_and_followed(host: Host, api: Api, port: int, version: str):
    host.member(port)
    host.start(version)
    known = host.until(lambda known: known["complete"])
    assert known["node"] == "n1"
    assert known["pods"] == ["10.244.0.0/16"]
    assert known["trouble"] == ""
    assert sorted(known["nodes"]) == ["n1", "n2", "n3"]  # the third is on the second page
    assert known["nodes"]["n2"] == {"cidrs": ["10.244.2.0/24"], "addresses": ["10.0.0.2"]}
    assert api.clients[0] == "system:node:n1"

    api.events.put({"type": "ADDED", "object": node("n4", "10.244.4.0/24", "10.0.0.4")})
    host.until(lambda known: "n4" in known["nodes"])
    moved = node("n2", "10.244.2.0/24", "10.0.0.22")
    api.events.put({"type": "MODIFIED", "object": moved})
    host.until(lambda known: known["nodes"]["n2"]["addresses"] == ["10.0.0.22"])
    api.events.put({"type": "DELETED", "object": node("n3", "10.244.3.0/24")})
    host.until(lambda known: "n3" not in known["nodes"])


def test_a_watch_goes_on_where_the_last_one_ended(host: Host, api: Api, port: int):
    host.member(port)
    host.start()
    host.until(lambda known: known["complete"])
    host.pem.write_text(host.authority.signed("rotated"))  # as the kubelet does
    bookmark = {"metadata": {"resourceVersion": "250"}}
    api.events.put({"type": "BOOKMARK", "object": bookmark})
    api.events.put(None)
    api.events.put({"type": "ADDED", "object": node("n4", "10.244.4.0/24", "10.0.0.4")})
    host.until(lambda known: "n4" in known["nodes"])
    watches = [path for path in api.asked if "watch=1" in path]
    assert [path.rpartition("=")[2] for path in watches] == ["100", "250"]
    assert api.clients[-1] == "rotated"
    assert sum("limit=" in path for path in api.asked) == 2  # two pages, once


def test_a_version_that_is_gone_is_listed_anew(host: Host, api: Api, port: int):
    host.member(port)
    host.start()
    host.until(lambda known: known["complete"])
    del api.nodes["n3"]
    gone = {"code": 410, "message": "too old resource version"}
    api.events.put({"type": "ERROR", "object": gone})
    host.until(lambda known: "n3" not in known["nodes"])


def test_a_kubelet_that_may_not_list_nodes_gets_its_own_network(host: Host, api: Api, port: int):
    api.may_list = False
    host.member(port)
    host.start()
    known = host.until(lambda known: "ClusterRoleBinding aiprov:kube-routes" in known["trouble"])
    assert list(known["nodes"]) == ["n1"]
    assert not known["complete"]
    api.may_list = True
    host.until(lambda known: known["complete"] and len(known["nodes"]) == 3)


def test_a_host_that_is_no_node_yet_is_waited_for(host: Host, api: Api, port: int):
    host.start()
    known = host.until(lambda known: "names no https server yet" in known["trouble"])
    assert known["nodes"] == {}
    host.member(port)
    host.until(lambda known: known["complete"])


def test_what_is_known_stays_while_the_api_is_away(
    host: Host, api: Api, authority: Authority, tmp_path: Path
):
    with served(api, authority, tmp_path) as number:
        host.member(number)
        host.start()
        host.until(lambda known: known["complete"])
        api.events.put(None)
    known = host.until(lambda known: "the API does not answer" in known["trouble"])
    assert known["complete"]
    assert len(known["nodes"]) == 3
    with served(api, authority, tmp_path, number):
        host.until(lambda known: known["trouble"] == "")
        api.events.put(None)


def test_connections_that_are_closed_after_each_answer_are_opened_again(
    host: Host, api: Api, port: int
):
    api.closes = True
    host.member(port)
    host.start()
    host.until(lambda known: known["complete"] and len(known["nodes"]) == 3)
    assert "the API" not in host.said()


def test_it_ends_when_it_is_told_to(host: Host, api: Api, port: int):
    host.member(port)
    host.start()
    host.until(lambda known: known["complete"])
    assert host.process
    host.process.terminate()
    assert host.process.wait(timeout=30) == 0
