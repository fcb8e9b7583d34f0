"""Who gets a serving certificate: real requests by openssl, a cluster of the test's own."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aiprov.programs import kube_approve
from tests.processes.called import called
from tests.pythons import needed

KUBECTL = """\
#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(__file__).parent
words = [word for word in sys.argv[1:] if not word.startswith("--request-timeout")]
assert words[:2] == ["--kubeconfig", str(here / "etc/kubernetes/admin.conf")], words
if words[2] == "get":
    print((here / (words[3] + ".json")).read_text())
elif words[2:4] == ["certificate", "approve"]:
    with (here / "approved").open("a") as out:
        print(words[4], file=out)
else:
    sys.exit("unknown")
"""
USAGES = ["digital signature", "key encipherment", "server auth"]
NODES = {
    "w1": [("Hostname", "w1"), ("InternalIP", "192.0.2.31"), ("InternalIP", "2001:db8::31")],
    "w2": [("Hostname", "w2"), ("InternalIP", "192.0.2.32")],
}
OWN = "DNS:w1,IP:192.0.2.31"


@pytest.fixture(params=["3.6", "3.12"])
def python(request: pytest.FixtureRequest) -> str:
    return needed(request.param)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    argv = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


def request_for(key: Path, subject: str, names: str) -> str:
    """A request's text in base64, as the API has it."""
    argv = ["openssl", "req", "-new", "-key", str(key), "-subj", subject]
    argv += ["-addext", f"subjectAltName={names}"] if names else []
    made = subprocess.run(argv, check=True, capture_output=True).stdout
    return base64.b64encode(made).decode()


def asked(key: Path, name: str = "csr-1", **given: Any) -> dict[str, Any]:
    """A request by w1 for itself, or with what is given otherwise."""
    subject = given.pop("subject", "/O=system:nodes/CN=system:node:w1")
    names = given.pop("names", OWN)
    status = given.pop("status", {})
    spec = {
        "signerName": "kubernetes.io/kubelet-serving",
        "username": "system:node:w1",
        "groups": ["system:nodes", "system:authenticated"],
        "usages": USAGES,
        "request": request_for(key, subject, names),
        **given,
    }
    return {"metadata": {"name": name}, "spec": spec, "status": status}


class Cluster:
    """A control plane with kubectl, whose cluster has these nodes and requests."""

    def __init__(self, folder: Path, python: str, *requests: dict[str, Any], **nodes: Any) -> None:
        self.folder, self.python = folder, python
        (folder / "kubectl").write_text(KUBECTL)
        (folder / "kubectl").chmod(0o755)
        (folder / "etc/kubernetes").mkdir(parents=True)
        (folder / "etc/kubernetes/admin.conf").write_text("")
        self.has("certificatesigningrequests", list(requests))
        self.has("nodes", [
            {"metadata": {"name": name},
             "status": {"addresses": [{"type": kind, "address": where} for kind, where in there]}}
            for name, there in (nodes or NODES).items()
        ])  # fmt: skip

    def has(self, what: str, items: list[dict[str, Any]]) -> None:
        (self.folder / f"{what}.json").write_text(json.dumps({"items": items}))

    def run(self) -> tuple[int, str, list[str]]:
        """The exit status, what was said, and what was approved."""
        env = {"PATH": f"{self.folder}:/usr/bin:/bin", "AIPROV_TEST_ROOT": str(self.folder)}
        status, said = called([self.python, kube_approve.__file__, "once"], env)
        approved = self.folder / "approved"
        return status, said, approved.read_text().split() if approved.exists() else []


@pytest.mark.parametrize("names", [OWN, "DNS:w1", "IP:192.0.2.31,IP:2001:db8::31"])
def test_a_node_gets_what_is_its_own(tmp_path: Path, python: str, key: Path, names: str):
    code, said, approved = Cluster(tmp_path, python, asked(key, names=names)).run()
    assert (code, approved) == (0, ["csr-1"])
    assert said == "approved csr-1 of system:node:w1\n"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"names": "DNS:w1,IP:192.0.2.32"}, "192.0.2.32 is not the node's"),
        ({"names": "DNS:kubernetes.default"}, "kubernetes.default is not the node's"),
        ({"names": "DNS:w1,URI:spiffe://x"}, "it is for spiffe://x"),
        ({"names": ""}, "it is for no name and no address"),
        ({"subject": "/O=system:nodes/CN=system:node:w2"}, "is not the node's own"),
        ({"subject": "/O=system:masters/CN=system:node:w1"}, "is not the node's own"),
        ({"subject": "/O=system:nodes/O=system:masters/CN=system:node:w1"}, "not the node's own"),
        ({"username": "jane"}, "jane is no node"),
        ({"groups": ["system:authenticated"]}, "system:node:w1 is no node"),
        ({"username": "system:node:w9"}, "there is no node w9"),
        ({"usages": [*USAGES, "client auth"]}, "usages client auth"),
        ({"usages": ["digital signature"]}, "usages digital signature"),
    ],
)
def test_everything_else_is_left_and_said(
    tmp_path: Path, python: str, key: Path, given: dict[str, Any], why: str
):
    right = asked(key, "csr-2")
    code, said, approved = Cluster(tmp_path, python, asked(key, **given), right).run()
    assert (code, approved) == (0, ["csr-2"])
    assert f"left csr-1 of {given.get('username', 'system:node:w1')}: " in said
    assert why in said


def test_an_address_that_two_nodes_claim_is_nobodys(tmp_path: Path, python: str, key: Path):
    nodes = {**NODES, "w2": [("Hostname", "w2"), ("InternalIP", "192.0.2.31")]}
    _, said, approved = Cluster(tmp_path, python, asked(key), **nodes).run()
    assert approved == []
    assert "192.0.2.31 is w2's too" in said


def test_another_nodes_name_is_its_own_whatever_a_node_says(tmp_path: Path, python: str, key: Path):
    nodes = {**NODES, "w1": [*NODES["w1"], ("Hostname", "w2")]}
    _, said, approved = Cluster(tmp_path, python, asked(key, names="DNS:w2"), **nodes).run()
    assert approved == []
    assert "w2 is w2's too" in said


@pytest.mark.parametrize(
    "given",
    [
        {"signerName": "kubernetes.io/kube-apiserver-client-kubelet"},
        {"status": {"conditions": [{"type": "Denied"}]}},
        {"status": {"certificate": "LS0t"}},
    ],
)
def test_what_is_decided_or_anothers_is_not_looked_at(
    tmp_path: Path, python: str, key: Path, given: dict[str, Any]
):
    assert Cluster(tmp_path, python, asked(key, **given)).run() == (0, "", [])


def test_a_host_that_is_no_control_plane_yet_has_nothing_to_do(tmp_path: Path, python: str):
    cluster = Cluster(tmp_path, python)
    (tmp_path / "etc/kubernetes/admin.conf").unlink()
    code, said, _ = cluster.run()
    assert (code, said) == (0, "this host is no control plane of a cluster yet\n")


def test_an_api_that_does_not_answer_is_told(tmp_path: Path, python: str):
    cluster = Cluster(tmp_path, python)
    (tmp_path / "certificatesigningrequests.json").unlink()
    code, said, _ = cluster.run()
    assert code == 2
    assert "hint: " in said
