"""Plain routes between pods, and the endpoint's address, on real hosts.

Two hosts are nodes and control planes, a third one is their client. No Kubernetes runs: kube-routes
is told the Nodes, and the API servers are the test's own. Pods are network namespaces that Debian's
CNI plugins are asked for, with the configuration that kube-routes wrote.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiprov import programs
from aiprov.kubernetes import endpoint
from aiprov.kubernetes.endpoint import EndpointSpec, Member
from aiprov.lab import HostSpec, Lab
from aiprov.resources import STAGED, File, Package, Resource, Service, Sysctl
from aiprov.survey.facts import Facts, Interface
from tests.processes.programs.nodes_api import Authority
from tests.unit.kubernetes.nodes import node

pytestmark = pytest.mark.lab

NODES = ("plane-a", "plane-b")
CLIENT = "client"
SUITES = {"plane-a": "bookworm", "plane-b": "trixie", CLIENT: "bookworm"}
PORT = 8443
ROUTES = programs.path("kube-routes")
CONFLIST = "/etc/cni/net.d/10-aiprov-bridge.conflist"

API_SERVER = """\
import http.server, ssl, sys
class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
server = http.server.ThreadingHTTPServer(("0.0.0.0", 6443), Api)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/api.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
ASK = """\
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
print(urllib.request.urlopen(sys.argv[1], timeout=3, context=context).read().decode())
"""
SHOW_CLIENT = """\
import socket
with socket.create_server(("", 9000)) as listening:
    while True:
        connection, client = listening.accept()
        connection.sendall(client[0].encode())
        connection.close()
"""
"""A pod or a host that answers with the address it sees its client at."""
CLIENT_SEEN = """\
import socket, sys
print(socket.create_connection((sys.argv[1], 9000), timeout=3).recv(100).decode())
"""


class Host:
    """A host of the lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.address = lab.hosts[name].address

    def run(self, *argv: str, given: str | None = None) -> tuple[int, str]:
        text = None if given is None else given.encode()
        done = self.lab.run(self.name, argv, stdin=text, check=False)
        return done.returncode, (done.stdout + done.stderr).decode()

    def must(self, *argv: str, given: str | None = None) -> str:
        status, said = self.run(*argv, given=given)
        assert status == 0, f"{self.name}: {argv}: {said}"
        return said.strip()

    def install(self, *packages: str) -> None:
        words = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq")
        self.must(*words, "--no-install-recommends", *packages)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.must("mkdir", "-p", str(Path(path).parent))
        self.must("tee", path, given=text)
        self.must("chmod", f"{mode:o}", path)

    def service(self, name: str, *argv: str) -> None:
        """Something that runs in the background, as a unit that systemd ends with the host."""
        self.must("systemd-run", f"--unit={name}", *argv)

    @property
    def facts(self) -> Facts:
        found = json.loads(self.must("ip", "-j", "address", "show", "dev", "host0"))[0]
        own = [f"{one['local']}/{one['prefixlen']}" for one in found["addr_info"]]
        interface = Interface(name="host0", mtu=found["mtu"], addresses=tuple(own))
        made = node("debian 12")
        return Facts(**{**vars(made), "name": self.name, "interfaces": (interface,)})

    def realise(self, resources: Sequence[Resource]) -> None:
        """Make resources so, in their order: what an engine does, for the kinds that are here."""
        for one in resources:
            match one:
                case Package(name=name):
                    self.install(name)
                case Sysctl(key=key, value=value):
                    self.must("sysctl", "-w", f"{key}={value}")
                case File(path=path, content=str(text), mode=mode, validate=validate):
                    if validate is not None:
                        self.write("/root/staged", text)
                        self.must(
                            *("/root/staged" if word == STAGED else word for word in validate)
                        )
                    self.write(path, text, mode)
                case Service(name=name):
                    self.must("systemctl", "restart", name)


@pytest.fixture(scope="module")
def hosts(lab_root: Path) -> Iterator[dict[str, Host]]:
    lab = Lab(lab_root / "kube-network")
    lab.up([HostSpec(name=name, suite=suite) for name, suite in SUITES.items()])
    found = {name: Host(lab, name) for name in SUITES}
    for name in NODES:
        found[name].must("apt-get", "update", "-qq")
    yield found
    lab.down()


def until(holds: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """What ``holds`` gives, as soon as it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.2)
    raise AssertionError(f"within {seconds} s not: {what}")


# ---------------------------------------------------------------- pods


def known(hosts: dict[str, Host], name: str, **more: dict[str, Any]) -> str:
    """What kube-nodes knows on a node."""
    nodes = {
        one: {"cidrs": [f"10.244.{number}.0/24"], "addresses": [hosts[one].address]}
        for number, one in enumerate(NODES, 1)
    }
    values = {"node": name, "pods": ["10.244.0.0/16"], "mtu": 0, "complete": True, "trouble": ""}
    return json.dumps({**values, "nodes": {**nodes, **more}})


def pod(host: Host) -> str:
    """A pod: a namespace with what the node's CNI configuration gives it. Its address."""
    document = json.loads(host.must("cat", CONFLIST))
    plugin = {**document["plugins"][0], "name": document["name"], "cniVersion": "0.4.0"}
    host.must("ip", "netns", "add", "pod")
    host.must("ip", "netns", "exec", "pod", "ip", "link", "set", "lo", "up")
    said = host.must(
        *("env", "CNI_COMMAND=ADD", "CNI_CONTAINERID=pod", "CNI_NETNS=/run/netns/pod"),
        *("CNI_IFNAME=eth0", "CNI_PATH=/usr/lib/cni", "/usr/lib/cni/bridge"),
        given=json.dumps(plugin),
    )
    return str(ipaddress.ip_interface(json.loads(said)["ips"][0]["address"]).ip)


def test_pods_of_two_nodes_see_each_other_as_they_are(hosts: dict[str, Host]):
    pods = {}
    for name in NODES:
        host = hosts[name]
        host.install("iptables", "containernetworking-plugins")
        for program in programs.program("kube-routes", host.facts):
            if isinstance(program, File):
                host.write(program.path, str(program.content), program.mode)
        host.must("sysctl", "-w", "net.ipv4.ip_forward=1")
        host.must(ROUTES, "apply", given=known(hosts, name))
        assert host.must(ROUTES, "check") == ""
        pods[name] = pod(host)
    first, second = (hosts[name] for name in NODES)
    assert pods[NODES[0]].startswith("10.244.1.")
    inside = ("ip", "netns", "exec", "pod")
    second.service("pod-answers", *inside, "python3", "-c", SHOW_CLIENT)
    second.service("host-answers", "python3", "-c", SHOW_CLIENT)

    def seen(where: str) -> str:
        status, said = first.run(*inside, "python3", "-c", CLIENT_SEEN, where)
        return said.strip() if status == 0 else ""

    # From pod to pod nothing is hidden; what leaves the pods' network has the node's address.
    assert until(lambda: seen(pods[NODES[1]]), "a pod answers") == pods[NODES[0]]
    assert until(lambda: seen(second.address), "the host answers") == first.address


def test_a_host_that_differs_is_told_and_put_right(hosts: dict[str, Host]):
    host = hosts[NODES[0]]
    host.must("ip", "route", "delete", "10.244.2.0/24")
    host.must("iptables", "-t", "nat", "-F", "AIPROV-PODS")
    host.must("ip", "route", "add", "10.99.0.0/24", "via", hosts[NODES[1]].address)
    status, said = host.run(ROUTES, "check")
    assert status == 1
    assert "route to 10.244.2.0/24 is via nothing" in said
    assert "NAT of pods' IPv4 traffic is not as it should be" in said
    host.must(ROUTES, "apply", given=known(hosts, NODES[0]))
    assert host.must(ROUTES, "check") == ""
    far = {"cidrs": ["10.244.9.0/24"], "addresses": ["192.0.2.9"]}
    host.must(ROUTES, "apply", given=known(hosts, NODES[0], far=far))
    assert "node far (192.0.2.9) is not in this node's" in host.run(ROUTES, "check")[1]


def test_everything_is_taken_away(hosts: dict[str, Host]):
    host = hosts[NODES[0]]
    for _ in range(2):
        host.must(ROUTES, "remove")
    assert "proto 242" not in host.must("ip", "route")
    assert "10.99.0.0/24" in host.must("ip", "route"), "a route of someone else's"
    assert "AIPROV" not in host.must("iptables", "-t", "nat", "-S")
    assert "cni0" not in host.must("ip", "link")
    assert host.run("test", "-e", CONFLIST)[0] == 1


# ---------------------------------------------------------------- the endpoint


@pytest.fixture(scope="module")
def address(hosts: dict[str, Host]) -> str:
    """A virtual address in the lab's network, before two API servers."""
    network = ipaddress.ip_interface(hosts[NODES[0]].facts.interfaces[0].addresses[0]).network
    virtual = str(network[-6])
    members = tuple(Member(name=name, addresses=(hosts[name].address,)) for name in NODES)
    spec = EndpointSpec(kind="haproxy", address=virtual, port=PORT, members=members)
    authority = Authority()
    for name in NODES:
        host = hosts[name]
        host.write("/root/api.pem", authority.signed(name))
        host.service("api-server", "python3", "-c", API_SERVER, name)
        host.realise(endpoint.resources(spec, name, host.facts))
    return virtual


def answer(hosts: dict[str, Host], address: str) -> str:
    """Which API server answers the client; empty where none does."""
    status, said = hosts[CLIENT].run("python3", "-c", ASK, f"https://{address}:{PORT}/version")
    return said.strip() if status == 0 else ""


def holders(hosts: dict[str, Host], address: str) -> list[str]:
    return [
        name for name in NODES if hosts[name].must("ip", "-br", "address", "show", "to", address)
    ]


def holder(hosts: dict[str, Host], address: str) -> str:
    """Which host has the address. While it moves, none may have it, or both."""

    def one() -> list[str]:
        found = holders(hosts, address)
        return found if len(found) == 1 else []

    return until(one, "one host has the address")[0]


def test_one_host_has_the_address_and_all_api_servers_answer(hosts: dict[str, Host], address: str):
    until(lambda: answer(hosts, address), "the endpoint answers")
    holder(hosts, address)
    seen: set[str] = set()
    until(lambda: seen.add(answer(hosts, address)) or seen >= set(NODES), "both API servers answer")


def test_an_api_server_that_is_gone_is_not_asked(hosts: dict[str, Host], address: str):
    gone = hosts[NODES[0]]
    gone.must("systemctl", "stop", "api-server")
    until(
        lambda: {answer(hosts, address) for _ in range(4)} == {NODES[1]}, "only the other answers"
    )
    gone.service("api-server", "python3", "-c", API_SERVER, NODES[0])
    until(lambda: answer(hosts, address) == NODES[0], "it is asked again")


def test_the_address_moves_with_haproxy_and_stays_there(hosts: dict[str, Host], address: str):
    before = holder(hosts, address)
    [after] = [name for name in NODES if name != before]
    hosts[before].must("systemctl", "stop", "haproxy")
    until(lambda: holders(hosts, address) == [after], "the address is on the other host")
    until(lambda: answer(hosts, address), "the endpoint answers again")
    hosts[before].must("systemctl", "start", "haproxy")
    alive = (programs.path("kube-endpoint"), "alive", "127.0.0.1", str(PORT))
    until(lambda: hosts[before].run(*alive)[0] == 0, "its haproxy is back")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        assert holder(hosts, address) == after, "the address went back"
        time.sleep(1)
