"""kube-node on a made-up host: who is a member, who begins a cluster, who joins, who is refused."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from aiprov.programs.kube import cluster as programs_cluster
from tests.processes.programs.kube_cluster import AUTHORITY, OTHER, STARTED, Cluster, member
from tests.processes.programs.kube_host import BOTH, Answer
from tests.processes.programs.kube_servers import LEASES

# ---------------------------------------------------------------- the question


def test_a_host_without_kubelet_conf_is_no_member(cluster):
    cluster.worker()
    assert cluster.host.run("node", "joined") == (
        1, "one has not joined: /etc/kubernetes/kubelet.conf is not there\n", "",
    )  # fmt: skip
    assert cluster.host.called == []


NO_MEMBER: dict[str, tuple[Callable[[Cluster], object], str]] = {
    "cut off": (
        lambda it: it.host.write(STARTED, '{"what": "join"}'),
        "one has joined by half: kubeadm join was cut off",
    ),
    "kubelet down": (lambda it: it.host.stop(10248), "kubelet does not answer at"),
    "certificate ended": (
        lambda it: it.kubelet(it.elsewhere, days=-1),
        "kubelet's certificate ended at",
    ),
    "Node deleted": (lambda it: it.host.objects.kept.clear(), "the cluster has no Node one"),
    "not let in": (
        lambda it: it.host.objects.broken.update({"/api/v1/nodes/one": 401}),
        "the cluster does not accept kubelet's certificate (401)",
    ),
    "certificate gone": (
        lambda it: it.host.write("/etc/kubernetes/kubelet.conf", "server: https://x:1\n"),
        "/etc/kubernetes/kubelet.conf is no kubeconfig with a server",
    ),
}


@pytest.mark.parametrize("case", NO_MEMBER)
def test_what_a_member_lacks_is_told(cluster, case):
    cluster.lives()
    cluster.worker()
    cluster.kubelet(cluster.elsewhere)
    member(cluster)
    change, line = NO_MEMBER[case]
    change(cluster)
    status, said, wrong = cluster.host.run("node", "joined")
    assert (status, wrong) == (1, "")
    assert said.startswith(line) and said.count("\n") == 1


def test_a_control_plane_needs_its_manifests_and_its_api_server(cluster):
    cluster.lives()
    cluster.control_plane()
    cluster.control()
    cluster.kubelet(cluster.elsewhere)
    member(cluster)
    cluster.host.stop(6443)
    where = f"{cluster.host.address}:6443"
    assert cluster.host.run("node", "joined")[1].startswith(
        f"this host's API server does not answer at {where}"
    )
    cluster.host.file("/etc/kubernetes/manifests/etcd.yaml").unlink()
    assert cluster.host.run("node", "joined")[1] == "/etc/kubernetes/manifests lacks etcd\n"


def test_a_stranger_at_its_own_address_is_told(cluster):
    cluster.control_plane()
    cluster.control()
    cluster.kubelet(cluster.host.address)
    cluster.host.serve(6443, cluster.host.objects.answer, OTHER)
    status, said, wrong = cluster.host.run("node", "joined")
    assert (status, wrong) == (1, "")
    assert "is not of this cluster" in said


@pytest.mark.parametrize("becomes", ["a control plane", "a worker"])
def test_a_member_that_is_to_have_another_part_is_refused_at_once(cluster, becomes):
    cluster.lives()
    plane = becomes == "a control plane"
    (cluster.control_plane if plane else cluster.worker)(wait_s=900)
    cluster.kubelet(cluster.elsewhere)
    if not plane:
        cluster.host.write("/etc/kubernetes/manifests/etcd.yaml", "x")
    status, said, _ = cluster.host.run("node", "joined")
    assert status == 1 and "/etc/kubernetes/manifests" in said
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert f"and the inventory has it as {becomes}" in wrong
    assert "aiprov cluster remove one" in wrong
    assert cluster.host.called == []


def test_a_name_that_no_server_knows_ends_a_question_in_time(monkeypatch):
    """The resolver's own patience is longer than that of who asks whether a node is well."""
    over = threading.Event()
    monkeypatch.setattr(programs_cluster, "ASK_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30) and [])
    begin = time.monotonic()
    with pytest.raises(programs_cluster.UnansweredError, match=r"k8s\.example\.org has no address"):
        programs_cluster.found_addresses("k8s.example.org")
    over.set()
    assert time.monotonic() - begin < 10


def test_without_an_api_server_what_is_on_the_host_decides(cluster):
    cluster.worker()
    cluster.kubelet(cluster.elsewhere)
    begin = time.monotonic()
    member(cluster)
    assert time.monotonic() - begin < 10


# ---------------------------------------------------------------- workers


@pytest.mark.parametrize("cluster", **BOTH)
def test_a_worker_joins_with_what_it_is_given(cluster):
    cluster.lives()
    cluster.worker(labels={"gpu": "h200"}, ignore_preflight_errors=["NumCPU"])
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    member(cluster)
    join = "join --config /etc/kubernetes/aiprov/join.yaml --ignore-preflight-errors=NumCPU"
    assert cluster.host.kubeadm() == [join]
    metadata = cluster.host.objects.kept["/api/v1/nodes/one"]["metadata"]
    assert metadata["labels"] == {"gpu": "h200"}
    assert metadata["annotations"] == {"kubeadm.alpha.kubernetes.io/cri-socket": "/run/cri.sock"}
    before = len(cluster.host.objects.asked)
    assert cluster.host.run("node", "join")[:2] == (0, "one is a member already\n")
    assert not [one for one in cluster.host.objects.asked[before:] if not one.startswith("GET")]


def test_a_worker_waits_for_the_cluster(cluster):
    cluster.worker(wait_s=20)
    process = cluster.host.begin("node", "join", cluster.credential)
    assert process.stdout.readline() == (f"waiting for an API server at {cluster.elsewhere}:6443\n")
    cluster.lives()
    assert process.wait(20) == 0, process.stderr
    process.stdout.close()
    process.stderr.close()
    member(cluster)


def test_a_load_balancer_with_nothing_behind_it_is_no_api_server(cluster):
    cluster.worker(wait_s=0.5)
    with socket.create_server((cluster.elsewhere, 6443)) as door:

        def closes() -> None:
            while door.fileno() >= 0:
                with suppress(OSError):
                    door.accept()[0].close()

        threading.Thread(target=closes, daemon=True).start()
        status, _, wrong = cluster.host.run("node", "join", cluster.credential)
        door.shutdown(socket.SHUT_RDWR)
    assert status == 2
    assert f"no API server answered at {cluster.elsewhere}:6443 in 0.5 s" in wrong


def test_an_api_server_that_has_no_answer_for_a_while_is_asked_again(cluster):
    """As when etcd gets a member and has no leader."""
    cluster.lives()
    cluster.worker(wait_s=20)
    objects = cluster.host.objects
    objects.broken["/version"] = 500

    def recovers() -> None:
        while "GET /version" not in objects.asked:
            time.sleep(0.02)
        objects.broken.clear()

    thread = threading.Thread(target=recovers)
    thread.start()
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    thread.join()
    assert (status, wrong) == (0, ""), said
    member(cluster)


@pytest.mark.parametrize(
    ("said", "verbs"),
    [
        ("error execution phase preflight: etcdserver: no leader\n", ["join", "reset", "join"]),
        ("error execution phase preflight: [ERROR NumCPU]: too few\n", ["join"]),
    ],
    ids=["etcd has no leader", "the host is not fit"],
)
def test_a_join_that_got_no_answer_is_begun_once_more(cluster, said, verbs):
    """kubeadm asks for less than a second, and control planes may be joining at the same time."""
    cluster.lives()
    cluster.worker()
    failed: list[list[str]] = []

    def kubeadm(argv: list[str], text: str) -> Answer:
        if argv[1] == "join" and not failed:
            failed.append(argv)
            return 1, said
        return cluster.kubeadm(argv, text)

    cluster.host.on["kubeadm"] = kubeadm
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert [words.split()[0] for words in cluster.host.kubeadm()] == verbs
    assert status == (0 if len(verbs) > 1 else 2), wrong


@pytest.mark.parametrize("sick", [1, 1000], ids=["for a moment", "for good"])
def test_a_member_whose_kubelet_is_not_well(cluster, sick):
    cluster.lives()
    cluster.worker()
    assert cluster.host.run("node", "join", cluster.credential)[0] == 0
    answers = iter([500] * sick)
    cluster.host.stop(10248)
    cluster.host.serve(10248, lambda *_: (next(answers, 200), {}))
    status, said, _ = cluster.host.run("node", "joined")
    assert (status, "kubelet is not well" in said) == ((0, False) if sick == 1 else (1, True))


def leftover(path: str) -> Callable[[Cluster], object]:
    return lambda it: it.host.write(path, "x")


REFUSED: dict[str, tuple[Callable[[Cluster], object], str, str]] = {
    "no answer": (
        lambda it: it.dies(),
        "no API server answered at", "the first control plane begins the cluster",
    ),
    "another cluster": (
        lambda it: (it.dies(), it.lives(OTHER)),
        "is not of this cluster", "secrets file",
    ),
    "swap": (
        lambda it: it.host.write("/proc/swaps", "Filename\n/dev/sda2 partition 1 0 -2\n"),
        "swap is on: /dev/sda2", "swapoff --all",
    ),
    "module": (
        lambda it: it.host.file("/sys/module/overlay").rmdir(),
        "the kernel module overlay is not loaded", "modprobe overlay",
    ),
    "sysctl": (
        lambda it: it.host.write("/proc/sys/net/ipv4/ip_forward", "0\n"),
        "net.ipv4.ip_forward is 0, not 1", "sysctl -w net.ipv4.ip_forward=1",
    ),
    "runtime": (
        lambda it: it.host.file("/run/cri.sock").unlink(),
        "no container runtime answers at /run/cri.sock", "systemctl status containerd",
    ),
    "port": (
        lambda it: it.host.write(
            "/proc/net/tcp6",
            "sl local\n0: 00000000000000000000000000000000:280A 0:0 0A 0:0 0:0 0 0 0 77 1\n",
        ),
        "port 10250, which kubelet needs, is taken", "ss -ltnp",
    ),
    "kubeadm's version": (
        lambda it: it.host.on.update(kubeadm=lambda *_: (0, "v1.35.0\n")),
        "kubeadm is of version 1.35.0, not 1.36.4", "run aiprov apply",
    ),
    "name": (
        lambda it: it.host.objects.node("one", "10.9.9.9"),
        "the name one is taken by another machine (address 10.9.9.9)", "another name",
    ),
    "name of one that is down": (
        lambda it: it.host.objects.node("one", "10.9.9.9", ready=False),
        "the name one is taken by another machine (address 10.9.9.9)", "another name",
    ),
    "address too": (
        lambda it: it.host.objects.node("one", it.host.address),
        "by another machine with the same address", "find the other machine",
    ),
    "newer cluster": (
        lambda it: setattr(it.host.objects, "version", "v1.40.1"),
        "the cluster is of version 1.40.1, and this host of 1.36.4", "set kubernetes_version",
    ),
    "older cluster": (
        lambda it: setattr(it.host.objects, "version", "v1.35.1"),
        "the cluster is of version 1.35.1, and this host of 1.36.4", "upgrade the cluster first",
    ),
    "not let in": (
        lambda it: it.host.objects.broken.update({"/api/v1/nodes/one": 401}),
        "does not accept this host's credential (401)", "secrets file",
    ),
    "leftovers": (
        leftover("/etc/kubernetes/bootstrap-kubelet.conf"),
        "an earlier Kubernetes has left /etc/kubernetes/bootstrap-kubelet.conf",
        "aiprov cluster reset -l HOST",
    ),
    "leftover etcd": (
        leftover("/var/lib/etcd/member/wal"),
        "an earlier Kubernetes has left /var/lib/etcd", "aiprov cluster reset -l HOST",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_worker_is_refused_before_anything_is_touched(cluster, case):
    cluster.lives()
    cluster.worker()
    change, message, hint = REFUSED[case]
    change(cluster)
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2, said
    first, second = wrong.splitlines()
    assert first.startswith("kube-node: ") and message in first
    assert second.startswith("hint: ") and hint in second
    assert cluster.host.kubeadm() == []
    assert not cluster.host.file(STARTED).exists()
    assert not cluster.host.file("/run/aiprov/kubernetes/bootstrap.conf").exists()


GIVEN = {
    "nothing": ("", "nothing was given on standard input"),
    "no kubeconfig": ("apiVersion: v1\n", "is no kubeconfig with a server"),
    "ended": (AUTHORITY.kubeconfig("x:1", "system:bootstrap:aiprov", -1), "the credential ended"),
}


@pytest.mark.parametrize("case", GIVEN)
def test_a_credential_that_does_not_do_is_refused(cluster, case):
    cluster.lives()
    cluster.worker()
    text, message = GIVEN[case]
    status, _, wrong = cluster.host.run("node", "join", text)
    assert status == 2
    assert message in wrong and "\nhint: " in wrong
    assert LEASES not in "".join(cluster.host.objects.asked)


def test_nothing_is_described(cluster):
    path = "/etc/kubernetes/aiprov/node.json is not there"
    run = cluster.host.run
    assert run("node", "joined") == (1, f"this host has not joined: {path}\n", "")
    for question in ("configured", "upgraded"):
        assert run("life", question) == (0, "", "")
    for program, verb in (("node", "join"), ("life", "configure"), ("life", "upgrade")):
        status, _, wrong = run(program, verb)
        assert status == 2
        assert wrong.startswith(f"kube-{program}: {path}\nhint: run aiprov apply")


# ---------------------------------------------------------------- cut off, and again


@pytest.mark.parametrize("end", ["failed", "killed"])
def test_the_credential_is_gone_whatever_happens(cluster, end):
    cluster.lives()
    cluster.worker()
    inside, over = threading.Event(), threading.Event()

    def never_ends(argv: list[str], text: str) -> Answer:
        if argv[1] != "join":
            return cluster.kubeadm(argv, text)
        inside.set()
        if end == "killed":
            over.wait(30)
        return 1, "error: no\n"

    cluster.host.on["kubeadm"] = never_ends
    process = cluster.host.begin("node", "join", cluster.credential)
    assert inside.wait(20)
    file = cluster.host.file("/run/aiprov/kubernetes/bootstrap.conf")
    if end == "killed":
        process.kill()
        process.communicate()
        assert file.exists()
        over.set()
        cluster.host.on["kubeadm"] = cluster.kubeadm
        # The kubeadm of the run that was killed is waited for, and what it did cleaned up.
        status, said, wrong = cluster.host.run("node", "join", cluster.credential)
        assert (status, wrong) == (0, ""), said
        assert "kubeadm join was cut off: clean up what it left" in said
        member(cluster)
    else:
        assert process.wait() == 2
        process.communicate()
    assert not file.exists()


def test_a_member_whose_kubelet_is_down_is_started(cluster):
    cluster.lives()
    cluster.worker(wait_s=5)
    cluster.kubelet(cluster.elsewhere)
    cluster.host.stop(10248)

    def restart(argv: list[str], _: str) -> Answer:
        cluster.host.serve(10248, lambda *_: (200, {}))
        return 0, ""

    cluster.host.on["systemctl"] = restart
    status, said, wrong = cluster.host.run("node", "join")
    assert (status, wrong) == (0, ""), said
    assert cluster.host.called == [["systemctl", "restart", "kubelet"]]
    member(cluster)


def test_a_member_of_another_cluster_is_refused(cluster):
    cluster.lives()
    cluster.worker()
    cluster.kubelet(cluster.elsewhere)
    cluster.host.stop(10248)
    text = OTHER.kubeconfig(f"{cluster.elsewhere}:6443", "system:bootstrap:aiprov")
    status, _, wrong = cluster.host.run("node", "join", text)
    assert status == 2
    assert "one is a member of another cluster" in wrong
    assert cluster.host.called == []


def test_a_node_of_this_hosts_earlier_life_is_waited_for(cluster):
    cluster.lives()
    cluster.worker(wait_s=10)
    cluster.host.objects.node("one", cluster.host.address)
    process = cluster.host.begin(
        "node", "join", cluster.credential, "earlier life to be seen as gone"
    )
    assert cluster.host.kubeadm() == []
    cluster.host.objects.node("one", cluster.host.address, ready=False)
    assert process.wait(20) == 0
    process.stdout.close()
    process.stderr.close()
    member(cluster)
