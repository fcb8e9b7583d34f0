"""A made-up host of a made-up cluster, with a kubeadm that does what kubeadm would."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.processes.programs.kube_host import COMPONENTS, Answer, Host
from tests.processes.programs.kube_servers import Authority, Server

AUTHORITY = Authority()
OTHER = Authority("another")
STARTED = "/etc/kubernetes/aiprov/started.json"


@dataclass
class Cluster:
    """This host, and another one that may be a control plane of its cluster."""

    host: Host
    elsewhere: str
    planes: list[Server]

    @property
    def peers(self) -> list[dict[str, object]]:
        return [{"name": "two", "address": self.elsewhere, "port": 6443}]

    def lives(self, authority: Authority = AUTHORITY) -> None:
        """The other host runs an API server and an etcd member."""
        objects, members = self.host.objects, self.host.members
        members.add("two", self.elsewhere)
        for port, answer in ((6443, objects.answer), (2379, members.answer)):
            where = (self.elsewhere, port)
            self.planes.append(Server(self.host.root, where, answer, authority))

    def dies(self) -> None:
        """The other host runs nothing any more."""
        while self.planes:
            self.planes.pop().stop()

    def worker(self, **other: object) -> None:
        self.host.describe(endpoint=f"{self.elsewhere}:6443", **other)
        self.host.on["kubeadm"] = self.kubeadm

    def control_plane(self, **other: object) -> None:
        """This host is a control plane, with the authorities' files."""
        host = self.host
        values = {"control_plane": True, "worker": False, "peers": self.peers, **other}
        host.describe(**values)
        for name in ("ca.crt", "etcd/ca.crt"):
            host.write(f"/etc/kubernetes/pki/{name}", AUTHORITY.pem)
        host.write("/etc/kubernetes/manifests/kube-vip.yaml", "ours")
        host.on["kubeadm"] = self.kubeadm

    @property
    def credential(self) -> str:
        return AUTHORITY.kubeconfig(f"{self.elsewhere}:6443", "system:bootstrap:aiprov")

    # what kubeadm does

    def kubeadm(self, argv: list[str], _: str) -> Answer:
        words = " ".join(argv[1:])
        if words.startswith("version"):
            return 0, "v1.36.4\n"
        if words.startswith("init phase kubeconfig admin"):
            self.admin(self.elsewhere)
        elif words.startswith("init phase certs"):
            self.etcd_client()
        elif words.startswith("reset"):
            self.reset()
        elif words.startswith("init"):
            self.admin(self.host.address)
            self.control()
            self.kubelet(self.host.address)
            return 0, "kubeadm join --token abcdef.0123456789abcdef\n"
        elif words.startswith("join"):
            self.joins()
        return 0, ""

    def joins(self) -> None:
        """A join that works: with the credential in its file, which only root reads."""
        file = self.host.file("/run/aiprov/kubernetes/bootstrap.conf")
        assert "system:bootstrap:aiprov" in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        if json.loads(self.host.file("/etc/kubernetes/aiprov/node.json").read_text())[
            "control_plane"
        ]:
            self.control()
        self.kubelet(self.elsewhere)

    def admin(self, address: str) -> None:
        text = AUTHORITY.kubeconfig(f"{address}:6443", "kubernetes-admin")
        self.host.write("/etc/kubernetes/admin.conf", text)

    def etcd_client(self) -> None:
        certificate, key = AUTHORITY.signed("kube-etcd-healthcheck-client")
        self.host.write("/etc/kubernetes/pki/etcd/healthcheck-client.crt", certificate)
        self.host.write("/etc/kubernetes/pki/etcd/healthcheck-client.key", key)

    def control(self) -> None:
        host = self.host
        self.etcd_client()
        for name in COMPONENTS:
            host.write(f"/etc/kubernetes/manifests/{name}.yaml", "image: x:v1.36.4\n")
        host.members.add("one", host.address)
        host.serve(6443, host.objects.answer, AUTHORITY)
        host.serve(2379, host.members.answer, AUTHORITY)
        host.write("/var/lib/etcd/member/wal", "")

    def kubelet(self, server: str, days: float = 1) -> None:
        host = self.host
        text = AUTHORITY.kubeconfig(f"{server}:6443", "system:node:one", days)
        host.write("/etc/kubernetes/kubelet.conf", text)
        host.objects.node("one", host.address)
        role = {"node-role.kubernetes.io/control-plane": ""}
        if 6443 in host.servers:
            host.objects.kept["/api/v1/nodes/one"]["metadata"]["labels"] = role
        if 10248 not in host.servers:
            host.serve(10248, lambda *_: (200, {}))

    def reset(self) -> None:
        """As kubeadm does: the kubelet and all pods are gone, and all manifests."""
        for port in (6443, 2379, 10248):
            self.host.stop(port)
        for path in self.host.file("/etc/kubernetes/manifests").glob("*"):
            path.unlink()
        for name in ("kubelet", "bootstrap-kubelet"):
            self.host.file(f"/etc/kubernetes/{name}.conf").unlink(missing_ok=True)


def member(cluster: Cluster) -> None:
    """This host is a member, the program says so, and nothing secret is left."""
    assert cluster.host.run("node", "joined") == (0, "", "")
    assert not cluster.host.file(STARTED).exists()
    assert not cluster.host.file("/run/aiprov/kubernetes/bootstrap.conf").exists()
