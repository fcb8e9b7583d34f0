"""kube-node on control planes: who begins a cluster, who takes turns, and what was cut off."""

from __future__ import annotations

import time

import pytest

from tests.processes.programs.kube_cluster import OTHER, STARTED, Cluster, member
from tests.processes.programs.kube_host import BOTH, Answer
from tests.processes.programs.kube_servers import LEASES, Server

# ---------------------------------------------------------------- the first control plane

INIT = (
    "init --config /etc/kubernetes/aiprov/init.yaml --skip-token-print"
    " --skip-phases=addon/coredns --ignore-preflight-errors=NumCPU"
)
RESET = (
    "reset --force --kubeconfig /etc/kubernetes/admin.conf --cri-socket unix:///run/cri.sock"
    " --cert-dir /etc/kubernetes/aiprov/kept/none"
)


def first(cluster: Cluster, **other: object) -> None:
    cluster.control_plane(
        first=True,
        init_arguments=["--skip-phases=addon/coredns"],
        skip_phases=["addon/coredns"],
        ignore_preflight_errors=["NumCPU"],
        **other,
    )


@pytest.mark.parametrize("cluster", **BOTH)
def test_the_first_control_plane_begins_the_cluster(cluster):
    first(cluster)
    cluster.host.objects.kept["/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef"] = {}
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    member(cluster)
    assert cluster.host.kubeadm() == [INIT]
    assert "abcdef.0123" not in said, "a token was shown"
    assert not [path for path in cluster.host.objects.kept if "bootstrap-token" in path]
    taints = cluster.host.objects.kept["/api/v1/nodes/one"]["spec"]["taints"]
    assert taints == [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]


def test_a_control_plane_that_works_has_no_taint(cluster):
    first(cluster, worker=True)
    assert cluster.host.run("node", "join", cluster.credential)[0] == 0
    assert not cluster.host.objects.kept["/api/v1/nodes/one"]["spec"].get("taints")


@pytest.mark.parametrize("port", [2380, 10250, 6443])
def test_no_cluster_is_begun_beside_what_may_be_one(cluster, port):
    first(cluster)
    silent = Server(cluster.host.root, (cluster.elsewhere, port), lambda *_: (200, {}))
    try:
        status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    finally:
        silent.stop()
    assert status == 2
    assert f"two ({cluster.elsewhere}:{port}), and no API answers" in wrong
    assert "aiprov cluster reset -l HOST" in wrong
    assert cluster.host.kubeadm() == []


def test_no_cluster_is_begun_beside_one_that_is_just_booting(cluster):
    """Its network is there before its kubelet: for a moment nothing listens on it."""
    first(cluster, wait_s=4)
    real = cluster.host.environment
    cluster.host.environment = lambda: {**real(), "AIPROV_TEST_QUIET_S": "2"}
    process = cluster.host.begin("node", "join", cluster.credential, "whether a cluster lives")
    kubelet = Server(cluster.host.root, (cluster.elsewhere, 10250), lambda *_: (200, {}))
    assert process.wait(30) == 2
    kubelet.stop()
    assert "something listens on kubelet's port of two" in process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert cluster.host.kubeadm() == []


def test_only_the_first_begins_a_cluster(cluster):
    cluster.control_plane()
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert f"no API server answered at {cluster.host.address}:6443 or {cluster.elsewhere}" in wrong
    assert cluster.host.kubeadm() == []


def test_the_first_joins_where_a_cluster_lives(cluster):
    cluster.lives()
    first(cluster)
    cluster.host.members.add("one", cluster.host.address)  # from before it was destroyed
    cluster.host.objects.node("one", cluster.host.address, ready=False)
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    assert [words for words in cluster.host.kubeadm() if words.startswith("join")] == [
        "join --config /etc/kubernetes/aiprov/join.yaml"
        " --ignore-preflight-errors=NumCPU,DirAvailable--etc-kubernetes-manifests"
    ]
    assert "remove this host's earlier etcd member, by two" in said
    assert len(cluster.host.members.list) == 2


def cut_off_init(cluster: Cluster) -> None:
    """An init that was killed when the API server answered."""
    cluster.host.write(STARTED, '{"what": "init"}')
    cluster.admin(cluster.host.address)
    cluster.control()
    cluster.kubelet(cluster.host.address)


def test_an_init_that_was_cut_off_late_is_finished(cluster):
    first(cluster)
    cut_off_init(cluster)
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    member(cluster)
    phases = "preflight,certs,kubeconfig,kubelet-start,control-plane,etcd,addon/coredns"
    assert cluster.host.kubeadm() == [
        "init --config /etc/kubernetes/aiprov/init.yaml --skip-token-print"
        f" --skip-phases={phases}"
        " --skip-phases=addon/coredns --ignore-preflight-errors=NumCPU"
    ]


def test_an_init_that_got_no_answer_near_its_end_is_finished(cluster):
    """kubeadm makes an add-on's objects with one request each."""
    first(cluster)
    real, failed = cluster.host.on["kubeadm"], list[list[str]]()

    def kubeadm(argv: list[str], text: str) -> Answer:
        status, said = real(argv, text)
        if argv[1] == "init" and not failed:
            failed.append(argv)
            return 1, f"{said}error execution phase addon/kube-proxy: etcdserver: leader changed\n"
        return status, said

    cluster.host.on["kubeadm"] = kubeadm
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    assert "once more: kubeadm init" in said
    member(cluster)
    begun, ended = cluster.host.kubeadm()
    assert begun == INIT
    assert "--skip-phases=preflight,certs,kubeconfig,kubelet-start,control-plane,etcd" in ended


def test_an_init_that_was_cut_off_early_is_begun_again(cluster):
    first(cluster)
    cut_off_init(cluster)
    for port in (6443, 2379):
        cluster.host.stop(port)
    cluster.host.write("/etc/kubernetes/pki/apiserver.crt", "of before")
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    member(cluster)
    assert cluster.host.kubeadm() == [RESET, INIT]
    manifests = cluster.host.file("/etc/kubernetes/manifests")
    assert (manifests / "kube-vip.yaml").read_text() == "ours"
    assert cluster.host.file("/etc/kubernetes/pki/ca.crt").exists()
    assert not cluster.host.file("/etc/kubernetes/pki/apiserver.crt").exists()
    assert list(cluster.host.file("/var/lib").glob("etcd.aiprov-*/member/wal")), "it is not kept"


def test_what_a_cluster_knows_is_never_wiped_though_its_beginning_was_not_recorded(cluster):
    """kubeadm init was done, what came after failed, and workers have joined since."""
    first(cluster)
    cut_off_init(cluster)
    cluster.host.write(STARTED, '{"what": "init", "done": true}')
    cluster.host.stop(6443)
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert "its API server does not answer" in wrong
    assert cluster.host.kubeadm() == []
    assert cluster.host.file("/var/lib/etcd/member/wal").exists()


def test_a_beginning_of_its_own_is_no_cluster_to_join(cluster):
    first(cluster)
    cut_off_init(cluster)
    cluster.host.objects.broken["/livez"] = 500  # it answers, and never becomes well
    real = cluster.reset
    cluster.reset = lambda: (real(), cluster.host.objects.broken.clear())  # type: ignore
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    assert cluster.host.kubeadm() == [RESET, INIT]
    member(cluster)


def test_an_init_that_fails_says_so_and_is_begun_again(cluster):
    first(cluster)
    real = cluster.host.on["kubeadm"]
    said_by = "[preflight]\nerror execution phase wait-control-plane: timed out\nTo see more\n"
    cluster.host.on["kubeadm"] = lambda argv, text: (
        (1, said_by) if argv[1] == "init" else real(argv, text)
    )
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert "error execution phase wait-control-plane: timed out" in wrong
    assert "hint: journalctl -u kubelet" in wrong
    cluster.host.on["kubeadm"] = real
    assert cluster.host.run("node", "join", cluster.credential)[0] == 0
    member(cluster)


# ---------------------------------------------------------------- further control planes


def lease(cluster: Cluster) -> dict[str, object]:
    return dict(cluster.host.objects.kept[f"{LEASES}/aiprov-control-plane"]["spec"])


def held(cluster: Cluster, by: str) -> None:
    cluster.host.objects.do_post(
        LEASES,
        {"metadata": {"name": "aiprov-control-plane"}, "spec": {"holderIdentity": by}},
    )


@pytest.mark.parametrize("cluster", **BOTH)
def test_a_control_plane_joins_in_its_turn_and_gives_it_back(cluster):
    cluster.lives()
    cluster.control_plane()
    holders = []
    real = cluster.joins
    cluster.joins = lambda: (holders.append(lease(cluster)["holderIdentity"]), real())  # type: ignore
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    member(cluster)
    assert holders == ["one"]
    assert "holderIdentity" not in lease(cluster)
    assert [words.partition(" --")[0] for words in cluster.host.kubeadm()] == [
        "init phase kubeconfig admin", "init phase certs etcd-healthcheck-client", "join",
    ]  # fmt: skip


def at_once(cluster: Cluster) -> None:
    """It gets no answer before anything was done."""


def unmarked(cluster: Cluster) -> None:
    """All is done but the mark: a node without its labels is no control plane to others."""
    cluster.joins()
    cluster.host.objects.node("one", cluster.host.address, ready=False)


@pytest.mark.parametrize(
    ("done", "verbs"),
    [(at_once, ["join", "reset", "join"]), (unmarked, ["join", "reset", "join"]),
     (Cluster.joins, ["join"])],
)  # fmt: skip
def test_a_control_planes_join_that_got_no_answer_is_ended(cluster, done, verbs):
    """While etcd is given this host's member it may have no leader, and kubeadm asks but once."""
    cluster.lives()
    cluster.control_plane(wait_s=5)
    failed: list[list[str]] = []

    def kubeadm(argv: list[str], text: str) -> Answer:
        if argv[1] == "join" and not failed:
            failed.append(argv)
            done(cluster)
            return 1, "error execution phase control-plane-join: etcdserver: leader changed\n"
        return cluster.kubeadm(argv, text)

    cluster.host.on["kubeadm"] = kubeadm
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    told = [words.split()[0] for words in cluster.host.kubeadm()]
    assert [verb for verb in told if verb != "init"] == verbs
    assert len(cluster.host.members.list) == 2
    member(cluster)


def renewed_when_asked(cluster: Cluster) -> list[float]:
    """From now on whoever asks for the Lease finds it just renewed; when that was, each time."""
    objects, asked = cluster.host.objects, list[float]()
    real = objects.do_get

    def do_get(path: str, body: object) -> tuple[int, object]:
        if path == f"{LEASES}/aiprov-control-plane" and path in objects.kept:
            objects._keep(path, objects.kept[path])
            asked.append(time.monotonic())
        return real(path, body)

    objects.do_get = do_get  # type: ignore[method-assign]
    return asked


def test_a_turn_is_waited_for(cluster):
    cluster.lives()
    cluster.control_plane(wait_s=20)
    held(cluster, "three")
    asked = renewed_when_asked(cluster)
    process = cluster.host.begin("node", "join", cluster.credential, "this host's turn")
    while len(asked) < 2 or asked[-1] - asked[0] < 1.5:  # longer than it takes to become stale
        assert process.poll() is None
        time.sleep(0.02)
    assert [words.split()[0] for words in cluster.host.kubeadm()] == ["init"], "it did not wait"
    with cluster.host.objects.lock:
        cluster.host.objects.kept.pop(f"{LEASES}/aiprov-control-plane")
    assert process.wait(60) == 0
    process.stdout.close()
    process.stderr.close()
    member(cluster)


@pytest.mark.parametrize("holder", ["three", "one"])
def test_a_turn_of_a_killed_run_is_taken(cluster, holder):
    cluster.lives()
    cluster.control_plane(wait_s=20)
    held(cluster, holder)
    begin = time.monotonic()
    status, said, _ = cluster.host.run("node", "join", cluster.credential)
    assert status == 0, said
    stale = "waiting for this host's turn" in said
    assert stale == (holder == "three"), "only another's has to become stale"
    assert not stale or time.monotonic() - begin > 1


def test_a_turn_that_does_not_come_is_told(cluster):
    real = cluster.host.environment
    cluster.host.environment = lambda: {**real(), "AIPROV_TEST_STALE_S": "60"}
    cluster.lives()
    cluster.control_plane(wait_s=0.5)
    held(cluster, "three")
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert "this host's turn did not come in 0.5 s: it is the turn of three" in wrong
    assert not [words for words in cluster.host.kubeadm() if words.startswith("join")]


@pytest.mark.parametrize("status", [403, 404, 429, 500])
@pytest.mark.parametrize("path", [LEASES, f"{LEASES}/aiprov-control-plane"])
def test_a_cluster_that_has_just_begun_is_waited_for(cluster, path, status):
    """Administrators have no rights yet, kube-system is not there, etcd has no leader."""
    cluster.lives()
    cluster.control_plane(wait_s=20)
    cluster.host.objects.broken[path] = status
    process = cluster.host.begin("node", "join", cluster.credential, "this host's turn")
    cluster.host.objects.broken.clear()
    assert process.wait(20) == 0
    process.stdout.close()
    process.stderr.close()
    member(cluster)


def test_a_lease_that_stays_forbidden_is_told(cluster):
    cluster.lives()
    cluster.control_plane(wait_s=0.5)
    cluster.host.objects.broken[f"{LEASES}/aiprov-control-plane"] = 403
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert "the Lease aiprov-control-plane cannot be read (403): broken" in wrong


@pytest.mark.parametrize("cluster", **BOTH)
def test_a_join_that_was_cut_off_is_cleaned_up_and_done_again(cluster):
    cluster.lives()
    cluster.control_plane()
    cluster.host.write(STARTED, '{"what": "join"}')
    cluster.control()
    cluster.host.write("/etc/kubernetes/bootstrap-kubelet.conf", "x")
    cluster.host.write("/etc/kubernetes/aiprov/kept/extra.yaml", "kept by a run before")
    status, said, wrong = cluster.host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    member(cluster)
    assert [one["name"] for one in cluster.host.members.list] == ["two", "one"]
    assert ["systemctl", "start", "kubelet"] in cluster.host.called
    words = [words.partition(" --")[0] for words in cluster.host.kubeadm()]
    assert words[-2:] == ["reset", "join"] or words[-3:-1] == ["reset", "join"]
    kept = sorted(path.name for path in cluster.host.file("/etc/kubernetes/manifests").iterdir())
    assert {"extra.yaml", "kube-vip.yaml"} <= set(kept)
    assert not cluster.host.file("/etc/kubernetes/aiprov/kept").exists()


def test_an_etcd_member_that_was_announced_and_not_started_is_started(cluster):
    """Two members of which one never came: the cluster cannot decide anything."""
    cluster.lives()
    cluster.control_plane(wait_s=5)
    host = cluster.host
    host.write(STARTED, '{"what": "join"}')
    host.members.add("", host.address, started=False)
    host.members.sick.add(cluster.elsewhere)
    host.objects.broken[f"{LEASES}/aiprov-control-plane"] = 500
    manifest = host.file("/etc/kubernetes/manifests/etcd.yaml")
    seen = []

    def kubeadm(argv: list[str], text: str) -> Answer:
        if argv[2:5] == ["phase", "etcd", "local"]:
            manifest.write_text("  - etcd\n    - --initial-cluster=one=x\n    - --name=one\n")
            return 0, ""
        return cluster.kubeadm(argv, text)

    def systemctl(argv: list[str], _: str) -> Answer:
        if argv[1] == "start" and not seen:
            seen.append(manifest.read_text())
            host.members.sick.clear()
            host.objects.broken.clear()
        return int(argv[1] == "is-active") * 3, ""

    host.on.update(kubeadm=kubeadm, systemctl=systemctl)
    status, said, wrong = host.run("node", "join", cluster.credential)
    assert (status, wrong) == (0, ""), said
    members = f"two=https://{cluster.elsewhere}:2380,one=https://{host.address}:2380"
    assert seen == [
        f"  - etcd\n    - --initial-cluster={members}\n"
        "    - --initial-cluster-state=existing\n    - --name=one\n"
    ]
    assert [one["name"] for one in host.members.list] == ["two", "one"]
    member(cluster)


def test_a_join_that_was_cut_off_after_its_end_is_only_recorded(cluster):
    cluster.lives()
    cluster.control_plane()
    cluster.host.write(STARTED, '{"what": "join"}')
    cluster.control()
    cluster.kubelet(cluster.elsewhere)
    status, said, _ = cluster.host.run("node", "join", cluster.credential)
    assert status == 0, said
    member(cluster)
    assert cluster.host.kubeadm() == [
        "init phase kubeconfig admin --config /etc/kubernetes/aiprov/init.yaml"
    ]


def test_a_control_plane_waits_until_etcd_is_well(cluster):
    cluster.lives()
    cluster.control_plane()
    real = cluster.joins
    cluster.joins = lambda: (real(), cluster.host.members.add("four", "127.0.0.9", started=False))  # type: ignore
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert "one has joined, but etcd member 127.0.0.9 has not started\nhint: " in wrong
    assert cluster.host.file(STARTED).exists()
    assert "holderIdentity" not in lease(cluster)


def test_a_name_that_is_taken_costs_the_other_machine_nothing(cluster):
    """A second host of that name, somewhere else: the first one's etcd member has to stay."""
    cluster.lives()
    cluster.control_plane()
    cluster.host.members.add("one", "127.0.0.9")
    cluster.host.objects.node("one", "127.0.0.9")
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert "the name one is taken by another machine (address 127.0.0.9)" in wrong
    assert [one["name"] for one in cluster.host.members.list] == ["two", "one"]
    assert not cluster.host.file(STARTED).exists()


def test_the_files_of_another_cluster_are_refused(cluster):
    cluster.lives()
    cluster.control_plane()
    cluster.host.write("/etc/kubernetes/pki/ca.crt", OTHER.pem)
    status, _, wrong = cluster.host.run("node", "join", cluster.credential)
    assert status == 2
    assert "the credential is of another cluster than /etc/kubernetes/pki/ca.crt" in wrong
