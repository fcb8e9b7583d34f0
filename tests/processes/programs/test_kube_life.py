"""kube-life on a made-up host: what is configured, what was changed, and versions."""

from __future__ import annotations

import json

import pytest

from tests.processes.programs.kube_cluster import Cluster
from tests.processes.programs.kube_host import BOTH, COMPONENTS, Answer
from tests.processes.programs.kube_servers import LEASES

CONFIGMAPS = "/api/v1/namespaces/kube-system/configmaps"
NODE = "/api/v1/nodes/one"
INIT = """apiVersion: kubeadm.k8s.io/v1beta4
bootstrapTokens:
- token: {token}
kind: InitConfiguration
---
apiServer:
  certSANs:
  - {san}
apiVersion: kubeadm.k8s.io/v1beta4
etcd:
  local:
    dataDir: {data}
kind: ClusterConfiguration
kubernetesVersion: v1.36.4
---
kind: KubeletConfiguration
maxPods: 110
---
kind: KubeProxyConfiguration
mode: {mode}
"""
FILES = ["/etc/kubernetes/audit/policy.yaml"]


class Life:
    """A control plane or a worker that is a member, configured as it should be."""

    def __init__(self, cluster: Cluster, *, control_plane: bool, first: bool = False) -> None:
        self.cluster = cluster
        self.host = cluster.host
        self.values: dict[str, object] = {
            "kubelet_digest": "d1", "kubelet_flags": {"node-ip": "10.0.0.1"}, "wait_s": 5.0,
            "first": first, "ignore_preflight_errors": ["CreateJob"],
        }  # fmt: skip
        self.kubelet_version = "v1.36.4"
        cluster.lives()
        (cluster.control_plane if control_plane else cluster.worker)(**self.values)
        self.control_plane = control_plane
        self.init()
        host = self.host
        host.write("/var/lib/kubelet/kubeadm-flags.env", 'KUBELET_KUBEADM_ARGS="--x=y --node-ip=1"')
        host.write(FILES[0], "rules")
        if control_plane:
            cluster.admin(cluster.elsewhere)
            cluster.control()
        cluster.kubelet(cluster.elsewhere)
        host.objects.kept[NODE]["metadata"]["annotations"] = {
            "kubeadm.alpha.kubernetes.io/cri-socket": "/run/cri.sock"
        }
        self.records("v1.36.4")
        host.on.update(
            kubeadm=self.kubeadm,
            kubelet=lambda *_: (0, f"Kubernetes {self.kubelet_version}\n"),
            systemctl=self.systemctl,
        )
        host.objects.kept[f"{CONFIGMAPS}/kubelet-config"] = {
            "metadata": {"annotations": {"aiprov.io/kubelet-configuration": "d1"}}
        }
        assert host.run("life", "configure")[0] == 0
        self.told()

    def init(self, token: str = "a", san: str = "k8s", data: str = "/var/lib/etcd",
             mode: str = "ipvs") -> None:  # fmt: skip
        text = INIT.format(token=token, san=san, data=data, mode=mode)
        self.host.write("/etc/kubernetes/aiprov/init.yaml", text)

    def describe(self, **other: object) -> None:
        self.values.update(other)
        again = self.cluster.control_plane if self.control_plane else self.cluster.worker
        again(**self.values)
        self.host.on["kubeadm"] = self.kubeadm

    def records(self, version: str) -> None:
        text = f"apiServer: {{}}\nkubernetesVersion: {version}\n"
        self.host.objects.kept[f"{CONFIGMAPS}/kubeadm-config"] = {
            "metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": text},
        }  # fmt: skip

    def told(self) -> list[str]:
        """What kubeadm and systemctl were asked since the last time, without questions."""
        asked = [" ".join(argv) for argv in self.host.called if argv[0] in ("kubeadm", "systemctl")]
        self.host.called.clear()
        quiet = ("kubeadm version", "systemctl daemon-reload")
        return [words for words in asked if not words.startswith(quiet)]

    # what they do

    def kubeadm(self, argv: list[str], text: str) -> Answer:
        words = " ".join(argv[1:])
        if words.startswith("version"):
            return 0, f"{self.kubelet_version}\n"
        if words.startswith("init phase upload-config"):
            self.host.objects.kept[f"{CONFIGMAPS}/kubelet-config"] = {"metadata": {}}
        if words.startswith("upgrade apply"):
            self.records(argv[3])
            self.host.objects.version = argv[3]
        if words.startswith(("upgrade apply", "upgrade node --")) and self.control_plane:
            self.images(self.kubelet_version)
        return 0, ""

    def systemctl(self, argv: list[str], _: str) -> Answer:
        if argv[1] == "restart":
            info = self.host.objects.kept[NODE]["status"]["nodeInfo"]
            info["kubeletVersion"] = self.kubelet_version
        return 0, ""

    def images(self, version: str) -> None:
        for name in COMPONENTS:
            text = f"  - image: registry.k8s.io/{name}:{version}\n"
            self.host.write(f"/etc/kubernetes/manifests/{name}.yaml", text)

    def is_so(self, verb: str) -> None:
        assert self.host.run("life", verb) == (0, "", "")

    def becomes_so(self, question: str, verb: str) -> list[str]:
        """The lines that say what is other, after it was made right; see ``told`` for how."""
        status, said, wrong = self.host.run("life", question)
        assert (status, wrong) == (1, "")
        self.host.called.clear()
        done = self.host.run("life", verb)
        assert done[0] == 0, done
        self.is_so(question)
        return said.splitlines()


@pytest.fixture
def first(cluster) -> Life:
    return Life(cluster, control_plane=True, first=True)


@pytest.fixture
def worker(cluster) -> Life:
    return Life(cluster, control_plane=False)


CONFIG = "--config /etc/kubernetes/aiprov/init.yaml"
UPLOAD = f"kubeadm init phase upload-config all {CONFIG}"
RESTART = "systemctl restart kubelet"
KUBELET = "kubeadm upgrade node phase kubelet-config"


def test_of_a_host_that_has_not_joined_there_is_nothing_to_say(cluster):
    cluster.worker()
    for verb in ("configured", "configure", "upgraded", "upgrade"):
        assert cluster.host.run("life", verb) == (0, "", "")
    assert cluster.host.kubeadm() == []


CHANGES = {
    "a new token": (lambda it: it.init(token="b"), [], []),
    "API server": (
        lambda it: it.init(san="other"),
        ["control plane of the configuration: changed"],
        [UPLOAD, f"kubeadm init phase certs apiserver {CONFIG}",
         f"kubeadm init phase control-plane all {CONFIG}"],
    ),
    "etcd": (
        lambda it: it.init(data="/data"),
        ["control plane of the configuration: changed", "etcd of the configuration: changed"],
        [UPLOAD, f"kubeadm init phase certs apiserver {CONFIG}",
         f"kubeadm init phase control-plane all {CONFIG}",
         f"kubeadm init phase etcd local {CONFIG}"],
    ),
    "proxy": (
        lambda it: it.init(mode="nftables"),
        ["proxy of the configuration: changed"],
        [UPLOAD, f"kubeadm init phase addon kube-proxy {CONFIG}"],
    ),
    "kubelets": (
        lambda it: it.describe(kubelet_digest="d2"),
        ["kubelet of the configuration: changed",
         "the cluster does not show which kubelet configuration it has"],
        [UPLOAD, KUBELET, RESTART],
    ),
    "patches": (
        lambda it: (
            it.describe(patches="/etc/kubernetes/patches"),
            it.host.write("/etc/kubernetes/patches/kubeletconfiguration0+merge.json", "{}"),
        ),
        ["patches of the configuration: changed"],
        [f"{KUBELET} --patches /etc/kubernetes/patches", RESTART],
    ),
    "labels": (
        lambda it: it.describe(labels={"a": "b"}),
        ["the Node's label a is None, not 'b'"], [],
    ),
    "taints": (
        lambda it: it.describe(taints=[{"key": "gpu", "value": "", "effect": "NoSchedule"}]),
        ["the Node's taints are not node-role.kubernetes.io/control-plane:NoSchedule, "
         "gpu:NoSchedule"], [],
    ),
    "dropped by an upgrade": (
        lambda it: it.host.objects.kept[f"{CONFIGMAPS}/kubelet-config"]["metadata"].clear(),
        ["the cluster does not show which kubelet configuration it has"], [UPLOAD],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_what_was_changed_is_told_and_made(first, case):
    change, lines, commands = CHANGES[case]
    first.is_so("configured")
    change(first)
    if not lines:
        first.is_so("configured")
        return
    assert sorted(first.becomes_so("configured", "configure")) == sorted(lines)
    assert first.told() == commands
    lease = first.host.objects.kept[f"{LEASES}/aiprov-control-plane"]["spec"]
    assert "holderIdentity" not in lease


def test_labels_and_taints_that_are_wanted_no_longer_go_and_others_stay(first):
    node = first.host.objects.kept[NODE]
    node["metadata"]["labels"]["others"] = "x"
    node["spec"].setdefault("taints", []).append({"key": "others", "effect": "NoExecute"})
    first.describe(labels={"a": "b"}, taints=[{"key": "gpu", "value": "", "effect": "NoSchedule"}])
    first.becomes_so("configured", "configure")
    first.describe(labels={}, taints=[], worker=True)
    lines = first.becomes_so("configured", "configure")
    assert lines == [
        "the Node has the label a, which is wanted no longer",
        "the Node's taints are not none",
    ]
    node = first.host.objects.kept[NODE]
    assert node["metadata"]["labels"]["others"] == "x" and "a" not in node["metadata"]["labels"]
    assert node["spec"]["taints"] == [{"key": "others", "effect": "NoExecute"}]


@pytest.mark.parametrize("cluster", **BOTH)
def test_the_turn_is_kept_until_the_pod_of_the_new_manifest_is_well(first):
    """Until kubelet has seen the manifest the old API server answers, and seems well."""
    host, pod = first.host, "/api/v1/namespaces/kube-system/pods/kube-apiserver-one"

    def runs(digest: str, ready: str = "True") -> None:
        about = {"name": "kube-apiserver-one", "annotations": {"kubernetes.io/config.hash": digest}}
        status = {"conditions": [{"type": "Ready", "status": ready}]}
        host.objects.kept[pod] = {"metadata": about, "status": status}

    runs("old")
    real = host.on["kubeadm"]

    def kubeadm(argv: list[str], text: str) -> Answer:
        if argv[2:4] == ["phase", "control-plane"]:
            host.write("/etc/kubernetes/manifests/kube-apiserver.yaml", "image: x:v1.36.4\nnew\n")
        return real(argv, text)

    host.on["kubeadm"] = kubeadm
    first.init(san="other")
    process = host.start("life", "configure")
    while "kube-apiserver to run as changed" not in (line := process.stdout.readline()):
        assert line
    for digest, ready in (("old", "True"), ("new", "False")):
        runs(digest, ready)
        asked = len(host.objects.asked)
        while len(host.objects.asked) < asked + 4:
            assert process.poll() is None
        assert host.objects.kept[f"{LEASES}/aiprov-control-plane"]["spec"]["holderIdentity"]
    runs("new")
    assert process.wait(30) == 0
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()


def test_a_worker_takes_what_the_first_control_plane_gave(worker):
    worker.describe(kubelet_digest="d2", wait_s=0.5)
    status, _, wrong = worker.host.run("life", "configure")
    assert status == 2
    assert "the kubelets' configuration in the cluster is not the wanted one" in wrong
    assert "hint: the first control plane gives it" in wrong
    assert worker.told() == []
    note = {"aiprov.io/kubelet-configuration": "d2"}
    worker.host.objects.kept[f"{CONFIGMAPS}/kubelet-config"]["metadata"]["annotations"] = note
    worker.becomes_so("configured", "configure")
    assert worker.told() == [KUBELET, RESTART]


def test_a_kubelet_may_not_change_its_taints_so_the_command_is_said(worker):
    """NodeRestriction: a change is shown in every plan, and never made in silence or left out."""
    kept = worker.host.objects.kept[NODE]["spec"]
    kept["taints"] = [{"key": "old", "effect": "NoSchedule"}]
    worker.describe(taints=[{"key": "old", "value": "", "effect": "NoSchedule"}])
    worker.is_so("configured")
    assert worker.host.run("life", "configure")[0] == 0
    applied = worker.host.file("/etc/kubernetes/aiprov/applied.json")
    record = json.loads(applied.read_text())
    applied.write_text(json.dumps({**record, "taints": [{"key": "old", "effect": "NoSchedule"}]}))
    worker.describe(taints=[{"key": "gpu", "value": "yes", "effect": "NoExecute"}])
    status, said, _ = worker.host.run("life", "configured")
    assert (status, said) == (1, "the Node's taints are not gpu:NoExecute\n")
    status, _, wrong = worker.host.run("life", "configure")
    assert status == 2
    command = "kubectl taint node one --overwrite gpu=yes:NoExecute old:NoSchedule-"
    assert command in wrong.splitlines()[1]
    kept["taints"] = [{"key": "gpu", "value": "yes", "effect": "NoExecute"}]
    worker.is_so("configured")


STATE = "/var/lib/kubelet/cpu_manager_state"


@pytest.mark.parametrize(
    ("key", "anew"),
    [
        ("cpuManagerPolicy: static", True),
        ("kubeReserved:\n  cpu: '2'", True),
        ("kubeReserved:\n  memory: 2Gi", False),
        ("podPidsLimit: 100", False),
    ],
)
def test_a_kubelet_begins_anew_with_what_other_settings_gave_pods(worker, key, anew):
    """With another policy in its state than in its configuration it would not start."""
    host, config = worker.host, "/var/lib/kubelet/config.yaml"
    host.write(config, "kind: KubeletConfiguration\n")
    worker.describe(kubelet_flags={"node-ip": "10.0.0.2"})
    assert host.run("life", "configure")[0] == 0
    host.write(STATE, '{"policyName":"none"}')
    worker.describe(kubelet_digest="d2")
    publish = {"metadata": {"annotations": {"aiprov.io/kubelet-configuration": "d2"}}}
    host.objects.kept[f"{CONFIGMAPS}/kubelet-config"] = publish
    real = host.on["kubeadm"]

    def kubeadm(argv: list[str], text: str) -> Answer:
        if argv[1:3] == ["upgrade", "node"]:
            host.write(config, f"{key}\nkind: KubeletConfiguration\n")
        return real(argv, text)

    host.on["kubeadm"] = kubeadm
    worker.told()
    assert host.run("life", "configure")[0] == 0
    assert host.file(STATE).exists() != anew
    assert worker.told() == [KUBELET, *(["systemctl stop kubelet"] if anew else []), RESTART]


def test_flags_of_the_kubelet_are_set_and_taken_away(worker):
    file = worker.host.file("/var/lib/kubelet/kubeadm-flags.env")
    assert file.read_text() == 'KUBELET_KUBEADM_ARGS="--x=y --node-ip=10.0.0.1"\n'
    worker.describe(kubelet_flags={"max-pods": "9", "reserved": ["a", "b"]})
    worker.becomes_so("configured", "configure")
    assert file.read_text() == (
        'KUBELET_KUBEADM_ARGS="--x=y --max-pods=9 --reserved=a --reserved=b"\n'
    )
    assert worker.told() == [RESTART]


def test_a_cluster_of_another_version_is_not_configured_as_the_new_one(first):
    first.init(san="other")
    first.records("v1.35.2")
    status, _, wrong = first.host.run("life", "configure")
    assert status == 2
    assert "the cluster is of version 1.35.2, not 1.36.4" in wrong
    assert "hint: upgrade it first" in wrong
    assert first.told() == []


@pytest.mark.parametrize("question", ["configured", "upgraded"])
def test_without_an_api_server_nobody_can_tell(worker, question):
    worker.cluster.dies()
    status, said, wrong = worker.host.run("life", question)
    assert (status, said) == (2, "")
    assert "the API server at" in wrong


@pytest.mark.parametrize(
    ("question", "verb"), [("configured", "configure"), ("upgraded", "upgrade")]
)
def test_what_nobody_can_tell_is_not_taken_for_done(worker, question, verb):
    worker.cluster.dies()
    status, _, wrong = worker.host.run("life", verb)
    assert status == 2
    assert "the API server at" in wrong and "hint: " in wrong
    assert worker.told() == []


def test_what_was_changed_here_is_told_without_an_api_server(worker):
    worker.describe(kubelet_flags={"max-pods": "9"})
    worker.cluster.dies()
    assert worker.host.run("life", "configured") == (
        1,
        "kubelet flags of the configuration: changed\n",
        "",
    )


def test_a_phase_that_got_no_answer_is_run_again(first):
    first.init(san="other")
    failed = []

    def kubeadm(argv: list[str], text: str) -> Answer:
        if argv[3:4] == ["upload-config"] and not failed:
            failed.append(argv)
            return 1, "error execution phase upload-config/kubeadm: etcdserver: no leader\n"
        return first.kubeadm(argv, text)

    first.host.on["kubeadm"] = kubeadm
    first.becomes_so("configured", "configure")
    assert first.told().count(UPLOAD) == 2


@pytest.mark.parametrize("question", ["configured", "upgraded"])
@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", [f"{CONFIGMAPS}/kubelet-config", NODE])
def test_an_api_that_fails_while_it_is_asked_is_no_drift(first, path, status, question):
    """etcd loses its leader before or between two questions, as it does while a member joins."""
    first.images("v1.36.4")
    first.cluster.host.objects.broken[path] = status
    asked = path == NODE or question == "configured"
    code, said, wrong = first.host.run("life", question)
    assert (code, said) == (2 if asked else 0, "")
    assert (f"with {status}: broken" in wrong) == asked


# ---------------------------------------------------------------- versions

FLAGS = "--etcd-upgrade=true --ignore-preflight-errors=CreateJob"


def newer(life: Life, version: str = "1.37.1") -> None:
    """The settings and the packages are of a newer version."""
    if life.control_plane:
        life.images("v1.36.4")
    life.kubelet_version = f"v{version}"
    life.describe(version=version)


@pytest.mark.parametrize("cluster", **BOTH)
def test_the_cluster_is_upgraded_by_the_first_in_turn(first):
    newer(first)
    lines = first.becomes_so("upgraded", "upgrade")
    assert lines == [
        "kube-apiserver is of version 1.36.4, not 1.37.1",
        "kube-controller-manager is of version 1.36.4, not 1.37.1",
        "kube-scheduler is of version 1.36.4, not 1.37.1",
        "the kubelet that runs is of version 1.36.4, not 1.37.1",
    ]
    assert first.told() == [f"kubeadm upgrade apply v1.37.1 --yes {FLAGS}", RESTART]
    first.is_so("configured")


def test_without_coredns_its_file_is_not_looked_for(first):
    newer(first)
    first.describe(skip_phases=["addon/coredns"])
    first.becomes_so("upgraded", "upgrade")
    assert first.told()[0].endswith(
        "--ignore-preflight-errors=CreateJob,CoreDNSMigration,CoreDNSUnsupportedPlugins"
    )


def test_another_control_plane_follows(cluster):
    life = Life(cluster, control_plane=True)
    newer(life)
    life.records("v1.37.1")
    life.becomes_so("upgraded", "upgrade")
    assert life.told() == [f"kubeadm upgrade node {FLAGS}", RESTART]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"control_plane": True, "first": True}, "apply v1.37.1 --yes"),
        ({"control_plane": True}, "node"),
        ({"control_plane": False}, "node"),
    ],
    ids=["first", "second", "worker"],
)
def test_an_upgrade_that_got_no_answer_is_run_once_more(cluster, part, words):
    """kubeadm asks but once, and etcd may have no leader just then."""
    life = Life(cluster, **part)
    newer(life)
    if "first" not in part:
        life.records("v1.37.1")
        life.host.objects.version = "v1.37.1"
    failed: list[list[str]] = []

    def kubeadm(argv: list[str], text: str) -> Answer:
        if argv[1] == "upgrade" and not failed:
            failed.append(argv)
            return 1, "error execution phase upload-config/kubeadm: etcdserver: leader changed\n"
        return life.kubeadm(argv, text)

    life.host.on["kubeadm"] = kubeadm
    life.becomes_so("upgraded", "upgrade")
    assert life.told() == [*[f"kubeadm upgrade {words} {FLAGS}"] * 2, RESTART]


def test_an_upgrade_that_was_cut_off_is_done_again(first):
    newer(first)
    first.records("v1.37.1")
    first.images("v1.37.1")
    first.host.write("/etc/kubernetes/aiprov/upgrading.json", "{}")
    assert "kubeadm upgrade was cut off" in first.becomes_so("upgraded", "upgrade")
    assert first.told() == [f"kubeadm upgrade apply v1.37.1 --yes {FLAGS}", RESTART]


def test_an_upgrade_that_was_cut_off_before_the_kubelet_is_ended(first):
    newer(first)
    first.records("v1.37.1")
    first.images("v1.37.1")
    first.becomes_so("upgraded", "upgrade")
    assert first.told() == [KUBELET, RESTART]


def test_a_worker_follows_the_control_planes_and_never_goes_before(worker):
    newer(worker)
    worker.describe(wait_s=0.5)
    status, _, wrong = worker.host.run("life", "upgrade")
    assert status == 2
    assert "the cluster is of version 1.36.4, and this host's kubelet of 1.37.1" in wrong
    assert worker.told() == []
    worker.records("v1.37.1")
    worker.host.objects.version = "v1.37.1"
    worker.describe(wait_s=5)
    worker.becomes_so("upgraded", "upgrade")
    assert worker.told() == [f"kubeadm upgrade node {FLAGS}", RESTART]


REFUSED = {
    "back": ("1.36.1", "1.36.1", "and does not go back to 1.36.1", "set kubernetes_version"),
    "over a minor": ("1.38.0", "1.38.0", "more than one minor version on", "upgrade to 1.37"),
    "packages": ("1.37.1", "1.36.4", "kubeadm is of version 1.36.4, not 1.37.1", "the packages"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_upgrade_is_refused_before_anything_is_touched(first, case):
    wanted, package, message, hint = REFUSED[case]
    newer(first, wanted)
    first.kubelet_version = f"v{package}"
    status, _, wrong = first.host.run("life", "upgrade")
    assert status == 2
    assert message in wrong
    assert "hint: " in wrong and hint in wrong
    assert first.told() == []


def test_the_record_is_what_was_configured(first):
    record = json.loads(first.host.file("/etc/kubernetes/aiprov/applied.json").read_text())
    assert record["format_version"] == 1
    assert record["labels"] == [] and record["kubelet_flags"] == ["node-ip"]
    mode = first.host.file("/etc/kubernetes/aiprov/applied.json").stat().st_mode
    assert mode & 0o777 == 0o600
