"""Pods of all nodes reach each other by plain routes, and this node's pods have a CNI network.

apply    make it so for the Nodes that ``kube-nodes`` knows (a document on standard input): a route
         to each other node's pods, the CNI configuration from this node's own networks, and NAT
         for what leaves the pods' networks
check    0: all is as it should be, by the last `apply`; 1: what differs, 2: what is not known yet
wait     until `check` says so; 2 where it does not within --timeout seconds
remove   take away all that was made; kube-nodes must not run any more

All nodes have to be in one network segment: a node behind a router gets no route, and that is told.
Exit status 2 is a failure: message and hint on standard error. To be run as root, Python 3.6.
"""

import argparse
import fcntl
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Set

ROOT = os.environ.get("AIPROV_TEST_ROOT", "/")
"""Another root, for tests only."""

CONFIG = "/etc/cni/net.d/10-aiprov-bridge.conflist"
STATE = "/run/aiprov/kube-routes.json"
PROTOCOL = "242"
"""Marks routes as made here (rtnetlink(7): above RTPROT_STATIC, and of no known daemon's)."""

CHAIN = "AIPROV-PODS"
BRIDGE = "cni0"
IPTABLES = {4: "iptables", 6: "ip6tables"}
STALE_S = 120.0
"""``kube-nodes`` has it made so every 30 s: a state older than this is nobody's any more."""

HINT_SEGMENT = (
    "the network `bridge` needs all nodes in one network segment; let this node be in it too, or "
    "choose flannel, calico or cilium by kubernetes_network"
)

Nodes = Dict[str, Dict[str, Any]]


class TroubleError(Exception):
    """What is wrong, and the way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def at(path: str) -> str:
    return os.path.join(ROOT, path.lstrip("/"))


def write(path: str, text: str) -> None:
    """Write a file whole or not at all."""
    folder = os.path.dirname(at(path))
    os.makedirs(folder, exist_ok=True)
    handle, staged = tempfile.mkstemp(dir=folder, prefix=".aiprov-")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        os.chmod(staged, 0o644)
        os.replace(staged, at(path))
    except OSError:
        os.unlink(staged)
        raise


@contextmanager
def alone() -> "Iterator[None]":
    """Nothing is looked at while it is changed: what is half-done differs from what is wanted."""
    os.makedirs(os.path.dirname(at(STATE)), exist_ok=True)
    folder = os.open(os.path.dirname(at(STATE)), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def read(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        with open(at(path), encoding="utf-8") as source:
            return source.read()
    except FileNotFoundError:
        return ""


def run(*argv: str, given: str = "") -> str:
    """What a program says. Raises ``TroubleError`` where it fails."""
    try:
        done = subprocess.run(  # noqa: UP022  Python 3.6
            argv,
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    except FileNotFoundError:
        raise TroubleError(f"{argv[0]} is not installed", "install its package") from None
    except subprocess.TimeoutExpired:
        why = f"{' '.join(argv)} did not end within 30 s"
        raise TroubleError(why, "the kernel's log may say why") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise TroubleError(f"{' '.join(argv)}: {said}", "see the line above")
    return done.stdout.decode("utf-8", "replace")


# ---------------------------------------------------------------- what should be


class Wanted:
    """What this node should have, from all Nodes, and what stands in the way."""

    def __init__(self, nodes: Nodes, node: str, pods: List[str], mtu: int) -> None:
        self.problems = []  # type: List[str]
        self.routes = {}  # type: Dict[str, str]
        self.config = ""
        links = interfaces()
        own = nodes.get(node)
        if own is None or not own["cidrs"]:
            self.problems.append(
                f"node {node} has no network for its pods yet: does the controller manager give "
                "them out (--allocate-node-cidrs)?"
            )
        else:
            self.config = config(own["cidrs"], mtu or uplink_mtu(own["addresses"], links))
        for name in sorted(nodes):
            if name != node:
                self._reach(name, nodes[name], versions(pods), links)

    def _reach(self, name: str, node: Dict[str, Any], families: Set[int], links: List[Any]) -> None:
        for cidr in node["cidrs"]:
            version = ipaddress.ip_network(cidr).version
            if version not in families:
                continue
            vias = of_family(version, node["addresses"])
            if not vias:
                self.problems.append(f"node {name} has no IPv{version} address to reach {cidr} by")
                continue
            router = behind(vias[0], links)
            if router:
                self.problems.append(
                    f"node {name} ({vias[0]}) is not in this node's network segment, but behind "
                    f"{router}: {HINT_SEGMENT}"
                )
            else:
                self.routes[cidr] = vias[0]


def config(cidrs: List[str], mtu: int) -> str:
    """The CNI configuration of this node's pods.

    No masquerading here: the plugin's would hide pods from the pods of other nodes.
    """
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "mtu": mtu,
        "isDefaultGateway": True,
        "forceAddress": True,  # a node that joins again may be given another network
        "hairpinMode": True,  # a pod reaches itself by its Service
        "ipMasq": False,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": cidr}] for cidr in cidrs]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    document = {"cniVersion": "0.4.0", "name": "aiprov-bridge", "plugins": [bridge, portmap]}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def interfaces() -> List[Any]:
    """The kernel's interfaces with their addresses, without those that pods are at."""
    found = json.loads(run("ip", "-j", "addr", "show") or "[]")
    return [link for link in found if link and link.get("ifname") not in ("lo", BRIDGE)]


def networks(link: Dict[str, Any]) -> "Iterator[Any]":
    items = (item for item in link.get("addr_info", []) if "local" in item)
    return (ipaddress.ip_interface("{local}/{prefixlen}".format(**item)) for item in items)


def uplink_mtu(addresses: List[str], links: List[Any]) -> int:
    """The MTU of the interface that has one of the node's addresses; Ethernet's where none has."""
    for link in links:
        if any(str(interface.ip) in addresses for interface in networks(link)):
            return int(link["mtu"])
    return 1500


def behind(address: str, links: List[Any]) -> str:
    """What lies between this node and an address; empty where it is on the same link."""
    near = (interface.network for link in links for interface in networks(link))
    if any(ipaddress.ip_address(address) in network for network in near):
        return ""
    try:
        found = json.loads(run("ip", "-j", "route", "get", address))
    except TroubleError as trouble:
        return str(trouble)
    return str(found[0].get("gateway") or found[0].get("via", {}).get("host", ""))


# ---------------------------------------------------------------- what is, and making it so


def routes(version: int) -> Dict[str, str]:
    """The routes that were made here, by their network."""
    said = run("ip", f"-{version}", "-j", "route", "show", "proto", PROTOCOL)
    return {
        str(ipaddress.ip_network(item["dst"])): str(item.get("gateway", ""))
        for item in json.loads(said or "[]")
    }


def set_routes(version: int, wanted: Dict[str, str]) -> None:
    """Make the routes of one family what they should be. Routes of others are not touched."""
    present = routes(version)
    lines = [f"route del {old} proto {PROTOCOL}" for old in present if old not in wanted]
    lines += [
        f"route replace {network} via {wanted[network]} proto {PROTOCOL}"
        for network in of_family(version, wanted)
        if present.get(network) != wanted[network]
    ]
    if lines:
        print("\n".join(lines))
        run("ip", f"-{version}", "-force", "-batch", "-", given="\n".join(lines) + "\n")


def of_family(version: int, networks: "Iterable[str]") -> List[str]:
    return [network for network in networks if ipaddress.ip_network(network).version == version]


def nat_rules(pods: List[str], version: int) -> List[str]:
    """The chain that hides pods behind the node, but from other pods and from multicast."""
    kept = [*of_family(version, pods), "224.0.0.0/4" if version == 4 else "ff00::/8"]
    returns = [f"-A {CHAIN} -d {network} -j RETURN" for network in kept]
    return [f"-N {CHAIN}", *returns, f"-A {CHAIN} -j MASQUERADE --random-fully"]


def nat_jumps(pods: List[str], version: int) -> List[str]:
    return [f"-A POSTROUTING -s {network} -j {CHAIN}" for network in of_family(version, pods)]


def nat_table(version: int) -> List[str]:
    """Our lines of the kernel's NAT table."""
    lines = run(IPTABLES[version], "-w", "5", "-t", "nat", "-S").splitlines()
    return [line for line in lines if line.split()[1] == CHAIN or line.endswith(f"-j {CHAIN}")]


def nat_missing(pods: List[str], version: int) -> bool:
    """Whether the kernel's NAT table has not what it should have of ours, or has more."""
    wanted = nat_rules(pods, version) + nat_jumps(pods, version)
    return sorted(nat_table(version)) != sorted(wanted)


def set_nat(pods: List[str], version: int) -> None:
    """Make the NAT rules what they should be, in one step: no packet meets half of them."""
    if nat_missing(pods, version):
        print(f"NAT of IPv{version} traffic that leaves the pods' networks")
        chain = [f":{CHAIN} - [0:0]", *nat_rules(pods, version)[1:]]
        restore(version, chain + nat_undone(version) + nat_jumps(pods, version))


def unset_nat(version: int) -> None:
    if nat_table(version):
        restore(version, [f":{CHAIN} - [0:0]", *nat_undone(version), f"-X {CHAIN}"])


def nat_undone(version: int) -> List[str]:
    return ["-D" + line[2:] for line in nat_table(version) if line.startswith("-A POSTROUTING")]


def restore(version: int, lines: List[str]) -> None:
    text = "\n".join(["*nat", *lines, "COMMIT", ""])
    run(IPTABLES[version] + "-restore", "-w", "5", "--noflush", given=text)


# ---------------------------------------------------------------- verbs


def versions(pods: List[str]) -> "Set[int]":
    """The families of IP that pods have."""
    return {ipaddress.ip_network(network).version for network in pods}


def apply() -> int:
    """Make everything as it should be, as far as it is known, and write down what that is."""
    known = json.load(sys.stdin)
    nodes, pods, trouble = known["nodes"], known["pods"], known["trouble"]
    # Once all nodes are known, an API that is away for a while changes nothing.
    problems = [] if known["complete"] else [trouble or "the Nodes have not been read yet"]
    state = {"format_version": 1, "pods": pods, "routes": None, "config": ""}
    try:
        if nodes:
            wanted = Wanted(nodes, known["node"], pods, known["mtu"])
            problems += wanted.problems
            state.update(config=wanted.config)
            for version in sorted(versions(pods)):
                set_nat(pods, version)
                if known["complete"]:  # else routes of nodes that are not known yet would go
                    state.update(routes=wanted.routes)
                    set_routes(version, wanted.routes)
            if wanted.config and read(CONFIG) != wanted.config:
                write(CONFIG, wanted.config)
                print(f"{CONFIG} is written")
    except TroubleError as error:
        problems.append(str(error))
    before = last_state().get("problems", [])
    print("".join(f"{problem}\n" for problem in problems if problem not in before), end="")
    state.update(problems=problems, complete=known["complete"], written=time.monotonic())
    write(STATE, json.dumps(state, indent=2, sort_keys=True) + "\n")
    return 0


def last_state() -> Dict[str, Any]:
    """What the last `apply` wrote; nothing where none did since the host is up."""
    return dict(json.loads(read(STATE) or "{}"))


def differences() -> "Iterator[str]":
    """What is not as it should be."""
    state = last_state()
    if not state or time.monotonic() - float(state["written"]) > STALE_S:
        yield "kube-nodes does not run: see journalctl -u aiprov-kube-routes"
        return
    yield from state["problems"]
    if not state["config"] or read(CONFIG) != state["config"]:
        yield f"{CONFIG} is not what this node's pod network needs"
    for version in sorted(versions(state["pods"])):
        present = routes(version)
        wanted = present if state["routes"] is None else state["routes"]
        for network in sorted({*of_family(version, wanted), *present}):
            if wanted.get(network) != present.get(network):
                yield (
                    f"route to {network} is via {present.get(network, 'nothing')}, not "
                    f"{wanted.get(network, 'nothing')}"
                )
        if nat_missing(state["pods"], version):
            yield f"NAT of pods' IPv{version} traffic is not as it should be"


def check() -> int:
    found = list(differences())
    print("".join(f"{line}\n" for line in found), end="")
    return (1 if last_state().get("complete") else 2) if found else 0


def wait(seconds: float) -> int:
    until = time.monotonic() + seconds
    while True:
        with alone():
            found = list(differences())
        if not found:
            return 0
        if time.monotonic() >= until:
            raise TroubleError("; ".join(found), "journalctl -u aiprov-kube-routes tells more")
        time.sleep(1)


def remove() -> int:
    """Take away all that was made here; what is not there is left out."""
    for version in (4, 6):
        set_routes(version, {})
        if shutil.which(IPTABLES[version]):
            unset_nat(version)
    if any(link.get("ifname") == BRIDGE for link in json.loads(run("ip", "-j", "link") or "[]")):
        run("ip", "link", "delete", BRIDGE)
    for path in (CONFIG, STATE):
        if os.path.exists(at(path)):
            os.unlink(at(path))
    return 0


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="kube-routes", description=__doc__)
    parser.add_argument("verb", choices=("apply", "check", "wait", "remove"))
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS")
    given = parser.parse_args(arguments)
    verbs = {"apply": apply, "check": check, "remove": remove}
    try:
        if given.verb == "wait":
            return wait(given.timeout)
        with alone():
            return verbs[given.verb]()
    except TroubleError as trouble:
        sys.stderr.write(f"{trouble}\nhint: {trouble.hint}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
