"""Nodes are cordoned and tainted, and given back as they were found. Both ways to a cluster."""

from __future__ import annotations

import ipaddress
import json
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aiprov import inventory, patience
from aiprov.actions import kubernetes
from aiprov.actions.acting import Context, act, held, release
from aiprov.actions.model import Limit, Policy
from aiprov.cluster_secrets import kubeconfig, make
from aiprov.errors import UnreachableError, UsageError
from tests.processes.actions.api_server import Api, served
from tests.unit.actions.validations import validation

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
POLICY = Policy(action="kubernetes", limit=Limit(share=1.0))
BAD = validation(w1="failed", w2="ok")
TAINT = {"key": "aiprov.io/unhealthy", "value": "validation", "effect": "NoSchedule"}
OTHER = {"key": "team", "value": "a", "effect": "NoExecute"}
HOSTS = """
all: {hosts: {w1: , w2: , W3: {kubernetes_node_name: gpu-three}}}
kube_control_plane: {hosts: {cp1: {ansible_connection: local}, cp2: {ansible_connection: local}}}
"""


class Setting:
    """An API, and a context in which actions find it."""

    def __init__(self, api: Api, url: str, context: Context) -> None:
        self.api, self.url, self.context = api, url, context


def simple_kubeconfig(path: Path, server: str, **user: Any) -> Path:
    told = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t0", **user}}],
    }
    path.write_text(yaml.safe_dump(told))
    return path


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.05)


@pytest.fixture(params=["kubeconfig", "control plane"])
def setting(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Setting]:
    api = Api("w1", "w2", "gpu-three")
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(HOSTS)
    known = inventory.load([str(hosts)])
    with served(api) as url:
        if request.param == "kubeconfig":
            file = simple_kubeconfig(tmp_path / "kubeconfig", url)
            yield Setting(api, url, Context(inventory=known, kubeconfig=file, clock=lambda: NOW))
        else:
            kubectl = tmp_path / "bin" / "kubectl"
            kubectl.parent.mkdir()
            text = (HERE / "stand_in_kubectl.py").read_text()
            kubectl.write_text(f"#!{sys.executable} -S\n{text}")
            kubectl.chmod(0o755)
            monkeypatch.setenv("PATH", f"{kubectl.parent}:/usr/bin:/bin")
            monkeypatch.setenv("STAND_IN_API", url)
            yield Setting(api, url, Context(inventory=known, clock=lambda: NOW))


# ---------------------------------------------------------------- done, and undone


def test_a_failed_host_gets_no_new_pods(setting: Setting):
    (done,) = act(BAD, POLICY, setting.context)
    assert (done.host, done.kind, done.done) == ("w1", "cordon", True), done.message
    assert setting.api.spec("w1") == {"unschedulable": True, "taints": [TAINT]}
    told = json.loads(setting.api.annotations("w1")["aiprov.io/validation"])
    assert told["reason"].startswith("GPU 1: products: 3")
    assert (told["campaign"], told["since"]) == ("c1", "2026-11-21T20:00:00+00:00")
    assert setting.api.spec("w2") == {}


FOUND: list[dict[str, Any]] = [
    {},
    {"unschedulable": True},
    {"taints": [OTHER]},
    {"taints": [OTHER, TAINT]},
    {"unschedulable": True, "taints": [TAINT]},
]


@pytest.mark.parametrize("found", FOUND)
def test_undone_is_as_it_was_found(setting: Setting, found: dict[str, Any]):
    setting.api.add("w1", **found)
    act(BAD, POLICY, setting.context)
    spec = setting.api.spec("w1")
    assert spec["unschedulable"] is True
    assert TAINT in spec["taints"]
    assert len(spec["taints"]) == len({*map(str, found.get("taints", [])), str(TAINT)})
    (gave,) = release("kubernetes", ["w1"], setting.context)
    assert gave.done
    assert setting.api.spec("w1") == found
    assert setting.api.annotations("w1") == {}


def test_a_node_that_was_cordoned_says_that_it_still_is(setting: Setting):
    setting.api.add("w1", unschedulable=True)
    (did,) = act(BAD, POLICY, setting.context)
    assert "it was cordoned already" in did.message
    (gave,) = release("kubernetes", None, setting.context)
    assert "cordoned before, and still is" in gave.message


def test_twice_is_once(setting: Setting):
    act(BAD, POLICY, setting.context)
    (again,) = act(BAD, POLICY, setting.context)
    assert again.done
    assert "since 2026-11-21T20:00:00" in again.message
    assert len(setting.api.patches) == 1


def test_one_that_was_uncordoned_by_hand_is_cordoned_again(setting: Setting):
    setting.api.add("w1", unschedulable=True)
    act(BAD, POLICY, setting.context)
    setting.api.nodes["w1"]["spec"].pop("unschedulable")
    act(BAD, POLICY, setting.context)
    assert setting.api.spec("w1")["unschedulable"] is True
    release("kubernetes", ["w1"], setting.context)
    assert setting.api.spec("w1") == {}, "the cordon is aiprov's now"


def test_what_somebody_took_back_by_hand_is_not_missed(setting: Setting):
    act(BAD, POLICY, setting.context)
    setting.api.nodes["w1"]["spec"] = {"taints": [OTHER]}
    (gave,) = release("kubernetes", ["w1"], setting.context)
    assert gave.done
    assert setting.api.spec("w1") == {"taints": [OTHER]}
    assert held("kubernetes", setting.context) == {}


def test_those_that_are_held_are_known_by_their_hosts(setting: Setting):
    act(validation(W3="failed"), POLICY, setting.context)
    assert setting.api.spec("gpu-three")["unschedulable"] is True
    one = held("kubernetes", setting.context)["W3"]
    assert one.reason.startswith("GPU 1")
    assert one.since == "2026-11-21T20:00:00+00:00"


def test_a_damaged_annotation_undoes_nothing_but_itself(setting: Setting):
    setting.api.add("w1", unschedulable=True)
    setting.api.nodes["w1"]["metadata"]["annotations"] = {"aiprov.io/validation": "{"}
    assert "damaged" in held("kubernetes", setting.context)["w1"].reason
    release("kubernetes", ["w1"], setting.context)
    assert setting.api.spec("w1") == {"unschedulable": True}
    assert setting.api.annotations("w1") == {}


# ---------------------------------------------------------------- what can go wrong


def test_who_is_quicker_is_not_written_over(setting: Setting):
    setting.api.beaten = 3
    (done,) = act(BAD, POLICY, setting.context)
    assert done.done, done.message
    assert len(setting.api.patches) == 1


def test_who_is_always_quicker_is_told(setting: Setting):
    setting.api.beaten = 99
    (done,) = act(BAD, POLICY, setting.context)
    assert not done.done
    assert "changed by somebody else each of 6 times" in done.message
    assert setting.api.spec("w1") == {}


def test_a_node_that_is_not_there(setting: Setting):
    done = act(validation(w1="failed", cp1="failed"), POLICY, setting.context)
    assert [(one.host, one.done) for one in done] == [("cp1", False), ("w1", True)]
    assert "no node cp1" in done[0].message
    assert "kubernetes_node_name" in done[0].message


def test_a_user_who_may_not(setting: Setting):
    said = 'nodes is forbidden: User "joe" cannot list resource "nodes" at the cluster scope'
    setting.api.refusal = (403, said)
    (done,) = act(BAD, POLICY, setting.context)
    assert not done.done
    assert 'User "joe" cannot list' in done.message
    assert "hint:" in done.message
    assert "GPU 1: products: 3" in done.message


def test_an_api_that_is_not_well(setting: Setting):
    setting.api.refusal = (503, "etcdserver: leader changed")
    (done,) = act(BAD, POLICY, setting.context)
    assert (done.done, "etcdserver: leader changed" in done.message) == (False, True)


AWAY: dict[str, list[int]] = {
    "no answer": [0],
    "no leader": [500, 503],
    "too slow, too much": [504, 429],
}


@pytest.mark.parametrize("case", AWAY)
def test_an_api_that_is_away_for_a_moment_is_asked_again(
    setting: Setting, case: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(patience, "PATIENCE_S", 30)
    setting.api.away = list(AWAY[case])
    real, seen = setting.api.answer, []

    def answer(method: str, path: str, body: Any) -> Any:
        if method == "PATCH" and not seen:
            seen.append(method)
            setting.api.away = list(AWAY[case])
        return real(method, path, body)

    monkeypatch.setattr(setting.api, "answer", answer)
    (done,) = act(BAD, POLICY, setting.context)
    assert done.done, done.message
    assert setting.api.away == []
    assert len(setting.api.patches) == 1


def test_a_change_that_was_made_and_not_answered_is_not_made_twice(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(patience, "PATIENCE_S", 30)
    setting.api.unheard = 1
    (done,) = act(BAD, POLICY, setting.context)
    assert done.done, done.message
    assert len(setting.api.patches) == 1
    setting.api.unheard = 1
    (gave,) = release("kubernetes", ["w1"], setting.context)
    assert gave.done, gave.message
    assert setting.api.spec("w1") == {}


@pytest.mark.parametrize("status", [403, 404])
def test_what_is_refused_is_not_asked_again(setting: Setting, status: int):
    setting.api.refusal = (status, "no")
    (done,) = act(BAD, POLICY, setting.context)
    assert not done.done
    planes = 1 if setting.context.kubeconfig else 2
    assert len(setting.api.logins) == planes


def kubeconfig_of(tmp_path: Path, server: str, **user: Any) -> Context:
    file = simple_kubeconfig(tmp_path / "k", server, **user)
    return Context(inventory=inventory.load(["w1,w2"]), kubeconfig=file)


def test_an_api_that_is_not_reached(tmp_path: Path):
    with served(Api()) as url:
        pass
    (done,) = act(BAD, POLICY, kubeconfig_of(tmp_path, url))
    assert not done.done
    assert "the API is not reached" in done.message
    assert "get nodes" in done.message
    with pytest.raises(UnreachableError):
        held("kubernetes", kubeconfig_of(tmp_path, url))


def test_something_that_is_no_api(tmp_path: Path):
    api = Api("w1")
    api.garbage = True
    with served(api) as url:
        (done,) = act(BAD, POLICY, kubeconfig_of(tmp_path, url))
    assert not done.done
    assert "not answered in JSON: '<html>hello'" in done.message


def test_a_token_that_is_not_accepted(tmp_path: Path):
    api = Api("w1")
    api.refusal = (401, "Unauthorized")
    with served(api) as url:
        (done,) = act(BAD, POLICY, kubeconfig_of(tmp_path, url))
    assert "expired?" in done.message
    assert api.logins == ["Bearer t0"]
    assert "t0" not in done.message


def test_no_control_plane_and_no_kubeconfig():
    (done,) = act(BAD, POLICY, Context(inventory=inventory.load(["w1,w2"])))
    assert not done.done
    assert "--kubeconfig FILE" in done.message


def test_a_control_plane_that_is_gone_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    api = Api("w1", "w2")
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(HOSTS)
    known = inventory.load([str(hosts)])
    from aiprov.survey.transport import transport_for

    def connect(connection: Any) -> Any:
        if connection.name == "cp1":
            raise UnreachableError("cp1", "no route to host", hint="is it up?")
        return transport_for(connection)

    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "kubectl").write_text(
        f"#!{sys.executable} -S\n" + (HERE / "stand_in_kubectl.py").read_text()
    )
    (bin_ / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    with served(api) as url:
        monkeypatch.setenv("STAND_IN_API", url)
        assert act(BAD, POLICY, Context(inventory=known, connect=connect))[0].done
    (done,) = act(BAD, POLICY, Context(inventory=known, connect=connect))
    assert "no route to host" in done.message
    assert "cp2: The connection to the server" in done.message


BROKEN: list[tuple[Callable[[Path], Any], str]] = [
    (lambda path: None, "No such file"),
    (lambda path: path.write_text("hello"), "is no kubeconfig"),
    (lambda path: path.write_text("a: [b"), "is no kubeconfig"),
    (lambda path: simple_kubeconfig(path, "nowhere"), "no address of an API"),
    (lambda path: simple_kubeconfig(path, "https://h:1", **{"client-certificate-data": "x",
                                                            "client-key-data": "y"}),
     "cannot be used"),
    (lambda path: simple_kubeconfig(path, "https://h:1", tokenFile="gone"), "No such file"),
    (lambda path: simple_kubeconfig(path, "https://h:1", token="", exec={"command": "aws"}),
     "another program"),
]  # fmt: skip


@pytest.mark.parametrize(("make_it", "said"), BROKEN)
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, make_it: Any, said: str):
    path = tmp_path / "kubeconfig"
    make_it(path)
    given = Context(inventory=inventory.load(["w1,"]), kubeconfig=path)
    with pytest.raises(UsageError, match=said):
        held("kubernetes", given)
    assert not act(BAD, POLICY, given)[0].done


# ---------------------------------------------------------------- certificates


def test_with_the_kubeconfig_that_aiprov_makes(tmp_path: Path):
    """The server is believed by the cluster's CA, and the client is who the kubeconfig says."""
    now = datetime.now(UTC)
    secrets, api = make(now), Api("w1", "w2")
    with ExitStack() as stack:
        trust = server_trust(tmp_path, secrets, now)
        url = stack.enter_context(served(api, trust))
        endpoint = url.removeprefix("https://")
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig(secrets, endpoint, "lab", "joe", ("ops",), now, 1))
        known = inventory.load(["w1,w2"])
        (done,) = act(BAD, POLICY, Context(inventory=known, kubeconfig=path))
        assert done.done, done.message
        assert api.logins[0] == "ops,joe"
        other = kubeconfig(make(now), endpoint, "lab", "joe", ("ops",), now, 1)
        path.write_text(other)
        (refused,) = act(BAD, POLICY, Context(inventory=known, kubeconfig=path))
        assert not refused.done
        assert "certificate" in refused.message.lower()


def server_trust(folder: Path, secrets: Any, now: datetime) -> ssl.SSLContext:
    """A server of 127.0.0.1 by the cluster's CA, which wants a client of it."""
    authority = x509.load_pem_x509_certificate(secrets.ca.certificate.encode())
    signer = serialization.load_pem_private_key(secrets.ca.key.reveal().encode(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kube-apiserver")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    (folder / "ca.pem").write_text(secrets.ca.certificate)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(folder / "server.pem")
    trust.load_verify_locations(folder / "ca.pem")
    trust.verify_mode = ssl.CERT_REQUIRED
    return trust
