"""What kube-routes makes of the Nodes, with ip and iptables of the test's own.

On a real kernel: tests/lab/test_kube_network.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aiprov.programs import kube_routes
from tests.processes.called import called
from tests.pythons import needed

STANDIN = Path(__file__).parent / "network_standin.py"
TOOLS = ("ip", "iptables", "ip6tables", "iptables-restore", "ip6tables-restore")
CONFIG = "etc/cni/net.d/10-aiprov-bridge.conflist"

UPLINK = {
    "ifname": "eth0",
    "mtu": 9000,
    "addr_info": [
        {"local": "10.0.0.1", "prefixlen": 24},
        {"local": "fd00::1", "prefixlen": 64},
    ],
}
KNOWN: dict[str, Any] = {
    "node": "n1",
    "pods": ["10.244.0.0/16", "fd01::/56"],
    "mtu": 0,
    "complete": True,
    "trouble": "",
    "nodes": {
        "n1": {
            "cidrs": ["10.244.1.0/24", "fd01:0:0:1::/64"],
            "addresses": ["10.0.0.1", "fd00::1"],
        },
        "n2": {
            "cidrs": ["10.244.2.0/24", "fd01:0:0:2::/64"],
            "addresses": ["10.0.0.2", "fd00::2"],
        },
    },
}


class Host:
    """A host: its files, its kernel's tables, and the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = sys.executable
        self.state_file = folder / "state.json"
        (folder / "bin").mkdir()
        for tool in TOOLS:
            program = folder / "bin" / tool
            program.write_text(f"#!{sys.executable} -IS\n" + STANDIN.read_text())
            program.chmod(0o755)
        self.change(
            links=[{"ifname": "lo", "mtu": 65536, "addr_info": []}, UPLINK],
            routes={"-4": {}, "-6": {}},
            iptables={"POSTROUTING": ["-m comment --comment kube -j KUBE-POSTROUTING"]},
            ip6tables={"POSTROUTING": []},
            router="10.0.0.254",
        )

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text()) if self.state_file.exists() else {}

    def change(self, **values: Any) -> None:
        self.state_file.write_text(json.dumps({**self.state, **values}))

    def run(self, *words: str, known: Any = None) -> tuple[int, str]:
        env = {
            "PATH": str(self.folder / "bin"),
            "AIPROV_TEST_ROOT": str(self.folder),
            "STANDIN_STATE": str(self.state_file),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }
        return called([self.python, kube_routes.__file__, *words], env, json.dumps(known))

    def apply(self, **changes: Any) -> str:
        status, said = self.run("apply", known={**KNOWN, **changes})
        assert status == 0, said
        return said

    def config(self) -> dict[str, Any]:
        return json.loads((self.folder / CONFIG).read_text())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def nodes(**changes: Any) -> dict[str, Any]:
    return {**KNOWN["nodes"], **changes}


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_a_node_gets_routes_nat_and_its_cni_network(host: Host, version: str):
    python = needed(version)
    host.python = python
    host.apply()
    assert host.state["routes"] == {
        "-4": {"10.244.2.0/24": "10.0.0.2"},
        "-6": {"fd01:0:0:2::/64": "fd00::2"},
    }
    assert host.state["iptables"]["AIPROV-PODS"] == [
        "-d 10.244.0.0/16 -j RETURN",
        "-d 224.0.0.0/4 -j RETURN",
        "-j MASQUERADE --random-fully",
    ]
    assert host.state["iptables"]["POSTROUTING"][-1] == "-s 10.244.0.0/16 -j AIPROV-PODS"
    assert host.state["ip6tables"]["POSTROUTING"] == ["-s fd01::/56 -j AIPROV-PODS"]
    bridge, portmap = host.config()["plugins"]
    assert bridge["mtu"] == 9000  # the uplink's
    assert bridge["ipMasq"] is False
    assert bridge["ipam"]["ranges"] == [
        [{"subnet": "10.244.1.0/24"}],
        [{"subnet": "fd01:0:0:1::/64"}],
    ]
    assert portmap["snat"] is True
    assert host.run("check") == (0, "")
    assert host.run("wait") == (0, "")


def test_the_second_time_nothing_is_done(host: Host):
    assert host.apply() != ""
    before = host.state
    assert host.apply() == ""
    assert host.state == before


def test_an_mtu_that_is_given_is_taken(host: Host):
    host.apply(mtu=1400)
    assert host.config()["plugins"][0]["mtu"] == 1400


def test_routes_of_nodes_that_are_gone_go_and_moved_ones_follow(host: Host):
    third = {"cidrs": ["10.244.3.0/24"], "addresses": ["10.0.0.3"]}
    host.apply(nodes=nodes(n3=third))
    host.apply(nodes=nodes(n2={"cidrs": ["10.244.2.0/24"], "addresses": ["10.0.0.22"]}))
    assert host.state["routes"] == {"-4": {"10.244.2.0/24": "10.0.0.22"}, "-6": {}}


def test_what_someone_changed_is_told_and_put_right(host: Host):
    host.apply()
    state = host.state
    state["routes"]["-4"] = {"10.244.9.0/24": "10.0.0.9"}
    state["iptables"]["AIPROV-PODS"].pop()
    host.change(**state)
    (host.folder / CONFIG).unlink()
    assert host.run("check") == (
        1,
        "/etc/cni/net.d/10-aiprov-bridge.conflist is not what this node's pod network needs\n"
        "route to 10.244.2.0/24 is via nothing, not 10.0.0.2\n"
        "route to 10.244.9.0/24 is via 10.0.0.9, not nothing\n"
        "NAT of pods' IPv4 traffic is not as it should be\n",
    )
    host.apply()
    assert host.run("check") == (0, "")


PROBLEMS = {
    "behind a router": (
        {"nodes": nodes(n3={"cidrs": ["10.244.3.0/24"], "addresses": ["192.0.2.3"]})},
        "node n3 (192.0.2.3) is not in this node's network segment, but behind 10.0.0.254: the "
        "network `bridge` needs all nodes in one network segment",
    ),
    "without an address of that kind": (
        {"nodes": nodes(n3={"cidrs": ["fd01:0:0:3::/64"], "addresses": ["10.0.0.3"]})},
        "node n3 has no IPv6 address to reach fd01:0:0:3::/64 by",
    ),
    "without a network of its own": (
        {"nodes": nodes(n1={"cidrs": [], "addresses": ["10.0.0.1"]})},
        "node n1 has no network for its pods yet",
    ),
    "not a node yet": (
        {"nodes": {}, "complete": False, "trouble": "the API does not answer: refused"},
        "the API does not answer: refused",
    ),
    "may not list": (
        {"nodes": {"n1": KNOWN["nodes"]["n1"]}, "complete": False, "trouble": "403: forbidden"},
        "403: forbidden",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_stands_in_the_way_is_told_once_and_asked_for(host: Host, name: str):
    known, problem = PROBLEMS[name]
    assert problem in host.apply(**known)
    assert host.apply(**known) == ""  # it was told
    status, said = host.run("check")
    assert status == (1 if known.get("complete", True) else 2)  # what is not known yet is no "no"
    assert problem in said
    status, said = host.run("wait", "--timeout", "0")
    assert status == 2
    assert problem in said
    assert "hint: " in said


def test_nodes_that_are_not_known_yet_keep_their_routes(host: Host):
    """A kube-nodes that has just started, or may not list any more, knows this node alone."""
    host.apply()
    host.apply(nodes={"n1": KNOWN["nodes"]["n1"]}, complete=False, trouble="403: forbidden")
    assert host.state["routes"]["-4"] == {"10.244.2.0/24": "10.0.0.2"}


def test_an_api_that_is_away_changes_nothing(host: Host):
    host.apply()
    assert host.apply(trouble="the API does not answer: refused") == ""
    assert host.run("check") == (0, "")


def test_what_is_half_changed_is_not_looked_at(host: Host):
    """Routes are laid before they are written down: in between, they differ."""
    host.apply()
    whole = host.state["routes"]
    folder = os.open(host.folder / "run/aiprov", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    host.change(routes={"-4": {}, "-6": {}})
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(host.run, "check")
        with pytest.raises(TimeoutError):
            asked.result(timeout=0.5)
        host.change(routes=whole)
        os.close(folder)
        assert asked.result(timeout=30) == (0, "")


def test_a_node_that_is_not_reached_at_all_is_told(host: Host):
    host.change(router=None)
    said = host.apply(nodes=nodes(n3={"cidrs": ["10.244.3.0/24"], "addresses": ["192.0.2.3"]}))
    assert "RTNETLINK answers: Network is unreachable" in said


def test_nobody_follows_the_nodes(host: Host):
    code, said = host.run("check")
    assert (code, said[:23]) == (2, "kube-nodes does not run")  # nobody has told it the Nodes yet
    host.apply()
    state = host.folder / "run/aiprov/kube-routes.json"
    old = json.loads(state.read_text())
    state.write_text(json.dumps({**old, "written": old["written"] - 300}))
    code, said = host.run("check")
    assert (code, said[:23]) == (1, "kube-nodes does not run")


def test_everything_is_taken_away_and_twice_is_once(host: Host):
    before = host.state
    host.apply()
    host.change(links=[*host.state["links"], {"ifname": "cni0"}])
    assert host.run("remove")[0] == 0
    assert host.state == before
    assert not (host.folder / CONFIG).exists()
    assert host.run("remove") == (0, "")


def test_a_host_without_iptables_is_told(host: Host):
    (host.folder / "bin/iptables").unlink()
    assert "iptables is not installed" in host.apply()
    assert host.run("check")[0] in (1, 2)
