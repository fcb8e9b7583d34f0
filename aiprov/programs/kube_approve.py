"""Kubelets' serving certificates: approve what a kubelet may ask for, and nothing else.

    kube-approve once    look at all requests that wait, approve those that are right

The cluster's CA signs a kubelet's own name and addresses, so that whoever asks a kubelet for logs
or metrics knows whom he speaks to. Kubernetes itself approves no such request, because it cannot
know whose an address is. Here one is approved if the kubelet asks for itself, for names and
addresses that its Node has, none of which another Node has. Others are left for an administrator,
and said.

Sources (read 2026-11-21): kubernetes.io certificate-signing-requests (signer
kubernetes.io/kubelet-serving), kubelet-tls-bootstrapping (client and serving certificates).
"""

import base64
import ipaddress
import json
import os
import re
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Set

CONFIG = os.environ.get("AIPROV_TEST_ROOT", "") + "/etc/kubernetes/admin.conf"
SIGNER = "kubernetes.io/kubelet-serving"
USER, GROUP = "system:node:", "system:nodes"
USAGES = {"digital signature", "key encipherment", "server auth"}
NAMES, ADDRESSES = ("Hostname", "InternalDNS", "ExternalDNS"), ("InternalIP", "ExternalIP")
LIMIT_S = 20


class ApproveError(Exception):
    """It cannot be done: why, and the way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Asked(NamedTuple):
    """What a request is for."""

    subject: str
    names: Set[str]
    addresses: Set[str]
    others: Set[str]


def run(argv: List[str], feed: str = "") -> str:
    """What a command prints. Raises ``ApproveError`` with what it said where it fails."""
    try:
        done = subprocess.run(  # noqa: UP022  Python 3.6 has no capture_output
            argv,
            input=feed.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ApproveError(f"{argv[0]}: {error}", f"is {argv[0]} installed?") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        what = said[-1] if said else str(done.returncode)
        raise ApproveError(f"{argv[0]}: {what}", "see: kubectl get --raw /readyz")
    return done.stdout.decode(errors="replace")


def kubectl(*words: str) -> str:
    """What kubectl says as the cluster's administrator."""
    return run(["kubectl", "--kubeconfig", CONFIG, f"--request-timeout={LIMIT_S}s", *words])


def listed(what: str) -> List[Dict[str, Any]]:
    """All objects of a kind."""
    return list(json.loads(kubectl("get", what, "-o", "json"))["items"])


def waits(request: Dict[str, Any]) -> bool:
    """Whether it is a kubelet's for serving, and nobody has decided about it."""
    decided = request.get("status", {}).get("conditions") or request["status"].get("certificate")
    return request["spec"].get("signerName") == SIGNER and not decided


def asked(request: Dict[str, Any]) -> Asked:
    """What the request's own text asks for, as openssl reads it."""
    text = base64.b64decode(request["spec"]["request"]).decode("ascii", "replace")
    said = run(["openssl", "req", "-noout", "-text", "-nameopt", "RFC2253"], text)
    subject = re.search(r"^\s*Subject:\s*(.*)$", said, re.MULTILINE)
    lines = re.search(r"Subject Alternative Name:[^\n]*\n\s*(.*)$", said, re.MULTILINE)
    names: Set[str] = set()
    addresses: Set[str] = set()
    others: Set[str] = set()
    for word in lines.group(1).split(", ") if lines else []:
        kind, _, value = word.strip().partition(":")
        goal = {"DNS": names, "IP Address": addresses}.get(kind, others)
        goal.add(plain(value) if kind == "IP Address" else value)
    return Asked(subject.group(1).strip() if subject else "", names, addresses, others)


def plain(address: str) -> str:
    """An address in one form: openssl writes IPv6 in full."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def of_node(node: Dict[str, Any], kinds: Any) -> Set[str]:
    """A Node's names or addresses."""
    found = node.get("status", {}).get("addresses") or []
    return {plain(one["address"]) for one in found if one["type"] in kinds}


def objection(request: Dict[str, Any], nodes: List[Dict[str, Any]]) -> Optional[str]:
    """Why the request is not to be approved; None where all is right."""
    spec = request["spec"]
    user = spec.get("username", "")
    if not user.startswith(USER) or GROUP not in (spec.get("groups") or []):
        return f"{user} is no node"
    name = user[len(USER) :]
    node = next((one for one in nodes if one["metadata"]["name"] == name), None)
    if node is None:
        return f"there is no node {name}"
    usages = set(spec.get("usages") or [])
    if "server auth" not in usages or usages - USAGES:
        return f"usages {', '.join(sorted(usages))}"
    want = asked(request)
    if sorted(want.subject.split(",")) != sorted([f"CN={user}", f"O={GROUP}"]):
        return f"the subject {want.subject} is not the node's own"
    if want.others:
        return f"it is for {', '.join(sorted(want.others))}"
    if not (want.names or want.addresses):
        return "it is for no name and no address"
    return strange(want, node, nodes)


def strange(want: Asked, node: Dict[str, Any], nodes: List[Dict[str, Any]]) -> Optional[str]:
    """A name or address that is not the node's, or another one's too."""
    name = node["metadata"]["name"]
    not_its = sorted(want.names - of_node(node, NAMES) - {name})
    not_its += sorted(want.addresses - of_node(node, ADDRESSES))
    if not_its:
        return f"{', '.join(not_its)} is not the node's"
    for other in nodes:
        if other is not node:
            both = want.addresses & of_node(other, ADDRESSES)
            both |= want.names & (of_node(other, NAMES) | {other["metadata"]["name"]})
            if both:
                return f"{', '.join(sorted(both))} is {other['metadata']['name']}'s too"
    return None


def once() -> int:
    """Approve what is right. 0 also where requests are left: they are an administrator's."""
    if not os.path.exists(CONFIG):
        print("this host is no control plane of a cluster yet")
        return 0
    waiting = [request for request in listed("certificatesigningrequests") if waits(request)]
    nodes = listed("nodes") if waiting else []
    for request in waiting:
        name, who = request["metadata"]["name"], request["spec"].get("username", "")
        against = objection(request, nodes)
        if against is None:
            kubectl("certificate", "approve", name)
            print(f"approved {name} of {who}")
        else:
            print(f"left {name} of {who}: {against}")
    return 0


def main(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    if words != ["once"]:
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        return once()
    except ApproveError as error:
        sys.stderr.write(f"{error}\nhint: {error.hint}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
