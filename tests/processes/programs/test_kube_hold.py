"""The endpoint's address while a cluster is begun, with kube-vip and kubeadm of the test's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.processes.programs.kube_cluster import AUTHORITY, Cluster, member
from tests.processes.programs.kube_host import Answer, addresses, made
from tests.processes.programs.test_kube_control_plane import first

VIP = "10.0.0.10"


class Address:
    """Which interfaces have the address. ``taken``: kube-vip takes it after so many looks."""

    def __init__(self, cluster: Cluster, taken: int | None) -> None:
        self.at: set[str] = set()
        self.left = taken
        self.during: list[set[str]] = []
        self.kubeadm = cluster.host.on["kubeadm"]
        cluster.host.on |= {"ip": self.ip, "kubeadm": self.begin}

    def ip(self, argv: list[str], _: str) -> Answer:
        if argv[1:3] == ["address", "add"]:
            assert argv[3:] == [f"{VIP}/32", "dev", "lo"]
            self.at.add("lo")
        elif argv[1:3] == ["address", "delete"]:
            assert argv[3:] == [f"{VIP}/32", "dev", "lo"]
            self.at.remove("lo")
        elif self.left is not None and self.during:
            self.left -= 1
            if self.left < 0:
                self.at.add("eth1")
        links = [{"ifname": name, "addr_info": [{"local": VIP}]} for name in sorted(self.at)]
        return 0, json.dumps([{"ifname": "eth0", "addr_info": []}, *links])

    def begin(self, argv: list[str], text: str) -> Answer:
        if argv[1:2] == ["init"]:
            self.during.append(set(self.at))
        return self.kubeadm(argv, text)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    here, there = addresses(2)
    with made(sys.executable, AUTHORITY, here) as host:
        one = Cluster(host, there, [])
        yield one
        one.dies()


def test_the_address_is_here_for_init_and_then_where_kube_vip_has_it(cluster: Cluster):
    first(cluster, endpoint_hold=VIP)
    address = Address(cluster, taken=3)
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    assert address.during == [{"lo"}]
    assert address.at == {"eth1"}
    assert f"{VIP} is on this host's loopback until kube-vip has it" in said
    member(cluster)


def test_a_kube_vip_that_does_not_come_is_told_and_the_address_is_not_left(cluster: Cluster):
    first(cluster, endpoint_hold=VIP)
    address = Address(cluster, taken=None)
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert f"kube-vip has not taken {VIP} within 1 s\nhint: crictl logs" in wrong
    assert address.at == set()


def test_an_init_that_fails_does_not_leave_the_address(cluster: Cluster):
    first(cluster, endpoint_hold=VIP)
    address = Address(cluster, taken=None)
    address.kubeadm = lambda argv, _: (1, "error: it did not work") if "init" in argv else (0, "")
    assert cluster.host.run("node", "join", cluster.credential)[0] == 2
    assert address.at == set()


def test_an_address_that_is_here_already_is_left_alone(cluster: Cluster):
    """An init that is gone on with: kube-vip has it already."""
    first(cluster, endpoint_hold=VIP)
    address = Address(cluster, taken=None)
    address.at = {"eth1"}
    assert cluster.host.run("node", "join", cluster.credential)[0] == 0
    assert address.during == [{"eth1"}]


def test_without_an_address_to_hold_nothing_is_asked(cluster: Cluster):
    first(cluster)
    assert cluster.host.run("node", "join", cluster.credential)[0] == 0
    assert not [argv for argv in cluster.host.called if argv[0] == "ip"]
