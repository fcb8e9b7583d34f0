"""Follows the cluster's Nodes for good, and has ``kube-routes`` keep this node's network by them.

``kube-nodes --node NAME --pods NETWORK… [--mtu BYTES]``. It asks the API with the kubelet's own
certificate (/etc/kubernetes/kubelet.conf), so it waits where this host is no member yet. Until the
cluster lets kubelets list Nodes (from 1.32 on they may read their own only), ``kube-routes`` is
told of this node alone: it gets its CNI network and no routes. While the API is away, what was
known stays as it is. Python 3.6.
"""

import argparse
import base64
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Dict, Iterator, List, Tuple
from urllib.parse import quote, urlsplit

ROOT = os.environ.get("AIPROV_TEST_ROOT", "/")
"""Another root, for tests only."""

KUBECONFIG = "/etc/kubernetes/kubelet.conf"
BINDING = "aiprov:kube-routes"
ROUTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kube-routes")
RESYNC_S = 30.0
"""So often the host is looked at, though no Node changes: firewalls are reloaded."""

WATCH_S = 240

Nodes = Dict[str, Dict[str, Any]]


def told(text: str) -> None:
    """Say it at once: the journal is read while this runs."""
    print(text, flush=True)


def read(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        with open(os.path.join(ROOT, path.lstrip("/")), encoding="utf-8") as source:
            return source.read()
    except FileNotFoundError:
        return ""


# ---------------------------------------------------------------- the API, as the kubelet


class RefusedError(Exception):
    """The API's answer is an error: its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def kubeconfig() -> Dict[str, str]:
    """The scalar fields of a kubeconfig with one cluster and one user, as kubeadm writes it."""
    found = {}
    for line in read(KUBECONFIG).splitlines():
        name, colon, value = line.strip(" -").partition(":")
        if colon and value.strip():
            found[name] = value.strip().strip("\"'")
    return found


def credentials(fields: Dict[str, str]) -> ssl.SSLContext:
    """TLS as the kubelet does it. The certificate is read anew each time: it is rotated."""
    if "certificate-authority-data" in fields:
        authority = base64.b64decode(fields["certificate-authority-data"]).decode()
    else:
        authority = read(fields.get("certificate-authority", ""))
    context = ssl.create_default_context(cadata=authority)
    # Python 3.13 asks more of certificates than Go does: an older cluster's CA need not have it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if "client-certificate" in fields:
        key = fields.get("client-key", fields["client-certificate"])
        context.load_cert_chain(fields["client-certificate"], key)
        return context
    # `kubeadm init` leaves the certificate within the file until the kubelet has one of its own.
    with tempfile.NamedTemporaryFile() as pem:
        for name in ("client-certificate-data", "client-key-data"):
            pem.write(base64.b64decode(fields.get(name, "")) + b"\n")
        pem.flush()
        context.load_cert_chain(pem.name)
    return context


class Api:
    """One connection to the cluster's API."""

    def __init__(self) -> None:
        fields = kubeconfig()
        server = urlsplit(fields.get("server", ""))
        if server.scheme != "https" or not server.hostname:
            raise OSError(f"{KUBECONFIG} names no https server yet")
        self._connection = http.client.HTTPSConnection(
            server.hostname, server.port or 443, timeout=10, context=credentials(fields)
        )

    def _open(self) -> None:
        self._connection.connect()
        _keep_alive(self._connection.sock)

    def get(self, path: str, timeout: float = 10) -> http.client.HTTPResponse:
        """The answer to a question, not read yet."""
        if self._connection.sock is None:  # not yet, or closed by the other side
            self._open()
        self._connection.sock.settimeout(timeout)
        self._connection.request("GET", path, headers={"Accept": "application/json"})
        answer = self._connection.getresponse()
        if answer.status != 200:
            text = answer.read(4096).decode("utf-8", "replace")
            raise RefusedError(answer.status, _message(text))
        return answer

    def document(self, path: str) -> Dict[str, Any]:
        found: Dict[str, Any] = json.loads(self.get(path).read().decode())
        return found

    def close(self) -> None:
        self._connection.close()


def _keep_alive(sock: socket.socket) -> None:
    """A peer that went without a word is noticed within half a minute, not after hours."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200]


def listed(api: Api) -> "Tuple[Nodes, str]":
    """All Nodes, a page at a time, and the version of the list that a watch goes on from."""
    nodes, more = {}, ""  # type: Nodes, str
    while True:
        page = api.document(
            "/api/v1/nodes?limit=250" + (f"&continue={quote(more)}" if more else "")
        )
        nodes.update((item["metadata"]["name"], brief(item)) for item in page["items"])
        more = page["metadata"].get("continue", "")
        if not more:
            return nodes, str(page["metadata"]["resourceVersion"])


def brief(node: Dict[str, Any]) -> Dict[str, Any]:
    """What matters of a Node: where it is, and which networks its pods have."""
    spec = node.get("spec", {})
    cidrs = spec.get("podCIDRs") or [spec["podCIDR"]] if spec.get("podCIDR") else []
    addresses = [
        item["address"]
        for item in node.get("status", {}).get("addresses", [])
        if item.get("type") == "InternalIP"
    ]
    return {"cidrs": cidrs, "addresses": addresses}


def events(api: Api, version: str) -> "Iterator[Tuple[str, Dict[str, Any]]]":
    """What changes, from a version on: kind and Node, until the API ends the answer."""
    query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={version}"
    answer = api.get("/api/v1/nodes?" + query, timeout=WATCH_S + 30)
    while True:
        line = answer.readline()
        if not line:
            return
        event = json.loads(line.decode())
        if event["type"] == "ERROR":
            code = event["object"].get("code", 500)
            raise RefusedError(int(code), str(event["object"].get("message", "")))
        yield event["type"], event["object"]


class Watcher(threading.Thread):
    """Follows the cluster's Nodes for good. What is known stays known while the API is away."""

    def __init__(self, node: str) -> None:
        super().__init__(daemon=True)
        self.changed = threading.Event()
        self.nodes = {}  # type: Nodes
        self.complete = False  # all Nodes have been read, and are followed since
        self.trouble = ""
        self._node = node
        self._version = ""

    def run(self) -> None:
        delay = 1.0
        while True:
            try:
                self._follow()
                delay = 1.0
                time.sleep(1)  # nothing is missed: the next watch goes on where this one ended
                continue
            except RefusedError as refusal:
                if refusal.status != 410:  # then what was known is too old to go on from
                    self._say(self._refusal(refusal))
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self._say(f"the API does not answer: {error}")
            self._version = ""
            time.sleep(delay * random.uniform(0.5, 1))  # noqa: S311  spreads a whole cluster
            delay = min(delay * 2, 15)

    def _follow(self) -> None:
        """One connection: the list, where there is none to go on from, then what changes."""
        api = Api()
        try:
            if not self._version:
                own = api.document("/api/v1/nodes/" + quote(self._node))
                self._publish(dict(self.nodes, **{self._node: brief(own)}))
                nodes, self._version = listed(api)
                self.complete = True
                self._publish(nodes)
                told(f"{len(nodes)} nodes are known")
                self._say("")
            for kind, node in events(api, self._version):
                metadata = node["metadata"]
                self._version = str(metadata["resourceVersion"])
                if kind == "DELETED":
                    rest = {
                        name: self.nodes[name] for name in self.nodes if name != metadata["name"]
                    }
                    self._publish(rest)
                elif kind != "BOOKMARK":
                    self._publish(dict(self.nodes, **{metadata["name"]: brief(node)}))
        finally:
            api.close()

    def _publish(self, nodes: Nodes) -> None:
        if nodes != self.nodes:
            self.nodes = nodes
            self.changed.set()

    def _refusal(self, refusal: RefusedError) -> str:
        if refusal.status == 403:
            return (
                "the cluster does not let kubelets list Nodes yet, so other nodes' pods are not "
                f"reached (ClusterRoleBinding {BINDING}): {refusal}"
            )
        if refusal.status == 404:
            return f"the cluster has no Node {self._node}"
        return f"the API refuses: {refusal}"

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            if trouble:
                told(trouble)
            self.trouble = trouble
            self.changed.set()


# ---------------------------------------------------------------- the host, through kube-routes


def hand_over(watcher: Watcher, node: str, pods: List[str], mtu: int) -> None:
    """Tell ``kube-routes`` what is known. What it says goes to the journal as it is."""
    known: Dict[str, Any] = {"node": node, "pods": pods, "mtu": mtu}
    known.update(nodes=watcher.nodes, complete=watcher.complete, trouble=watcher.trouble)
    given = json.dumps(known).encode()
    try:
        subprocess.run([sys.executable, ROUTES, "apply"], input=given, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        told("kube-routes did not end within 120 s")


def main(arguments: List[str]) -> int:
    """Runs until it is told to end. Routes stay: a restart must not interrupt pods."""
    parser = argparse.ArgumentParser(
        prog="kube-nodes", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--node", required=True)
    parser.add_argument("--pods", required=True, action="append", metavar="NETWORK")
    parser.add_argument("--mtu", type=int, default=0, metavar="BYTES")
    given = parser.parse_args(arguments)
    ended = threading.Event()
    watcher = Watcher(given.node)

    def end(*_: Any) -> None:
        ended.set()
        watcher.changed.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    watcher.start()
    while watcher.is_alive():
        watcher.changed.wait(RESYNC_S)
        watcher.changed.clear()
        if ended.is_set():
            return 0
        hand_over(watcher, given.node, given.pods, given.mtu)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
