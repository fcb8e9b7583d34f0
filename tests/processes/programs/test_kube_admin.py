"""The programs of a control plane, with a kubectl that stands in: add-ons and nodes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiprov import programs
from aiprov.resources import File
from tests.processes.programs.kube_host import PACKAGE, addresses
from tests.processes.programs.kube_servers import STATUS, Authority, Server
from tests.pythons import find
from tests.unit.kubernetes.nodes import node as facts

STANDIN = Path(__file__).with_name("kubectl_standin.py")
PYTHONS = [python for version in ("3.6", "3.12") if (python := find(version))] or [sys.executable]
NAMES = ("kube-admin", "kube-cluster", "kube-certificates")
ONE = {"name": "cp1", "id": "a1", "healthy": True, "reason": "", "this": True}


AUTHORITY = Authority()
KINDS = {
    "Namespace": ("api/v1", False),
    "ConfigMap": ("api/v1", True),
    "Secret": ("api/v1", True),
    "Deployment": ("apis/apps/v1", True),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", False),
}


def merged(old: Any, new: Any) -> Any:
    """What server-side apply makes of what is there."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {name: merged(old.get(name), new.get(name, old.get(name))) for name in {*old, *new}}
    return new


class Plane:
    """A control plane: programs as they lie there, tools that stand in, and a cluster."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.python = folder, python
        self.pause_s = 0.01
        self.programs, self.tools = folder / "lib", folder / "tools"
        self.programs.mkdir()
        self.tools.mkdir()
        for name in NAMES:
            for item in programs.program(name, facts()):
                if isinstance(item, File):
                    (self.programs / name).write_text(str(item.content))
        (self.programs / "kube").symlink_to(PACKAGE)
        self.tool("kubectl", STANDIN.read_text())
        self.config = folder / "admin.conf"
        self.put({"objects": {}})
        self.api = Server(folder, (addresses(1)[0], 6443), self.answer, AUTHORITY)
        address = self.api.http.server_address[0]
        self.config.write_text(AUTHORITY.kubeconfig(f"{address}:6443", "admin"))

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The API as far as ``applied`` asks it, of the same state as kubectl that stands in."""
        path, _, asked = path.partition("?")
        state = self.state
        if refused := state.get("refuses", {}).get(method):
            return state.get("status", 500), {**STATUS, "message": refused}
        parts = path.split("/")[2:] if path.startswith("/api/") else path.split("/")[3:]
        if len(parts) == 1:
            known = [one for one in KINDS if KINDS[one][0] == path.partition("/")[2]]
            known = [one for one in known if one not in state.get("kinds", [])]
            return 200, {
                "resources": [
                    {"kind": one, "name": f"{one.lower()}s", "namespaced": KINDS[one][1]}
                    for one in known
                ]
            }
        *before, plural, name = parts
        where = before[2] if len(before) > 2 else ""
        found = state["objects"].get(f"{plural[:-1]}|{where}|{name}")
        if found is None:
            return 404, {**STATUS, "message": f"{plural} {name} not found"}
        if method == "PATCH":
            assert asked == "dryRun=All&fieldManager=aiprov&force=true"
            return 200, {**merged(found, body), "status": {"seen": 2}}
        return 200, {**found, "status": {"seen": 1}}

    def tool(self, name: str, code: str) -> None:
        file = self.tools / name
        file.write_text(f"#!{sys.executable} -IS\n{code}\n")
        file.chmod(0o755)

    def etcd(self, code: str) -> None:
        (self.programs / "kube-etcd").write_text(f"import json, sys\n{code}\n")

    def put(self, state: dict[str, Any]) -> None:
        (self.tools / "state.json").write_text(json.dumps(state))

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.tools / "state.json").read_text()))

    def change(self, **parts: Any) -> None:
        self.put({**self.state, **parts})

    @property
    def names(self) -> set[str]:
        return set(self.state["objects"])

    def log(self, verb: str) -> list[str]:
        lines = (self.tools / "log").read_text().splitlines()
        return [line for line in lines if verb in line.split()]

    def manifest(self, name: str, *objects: dict[str, Any]) -> str:
        file = self.folder / name
        file.write_text("".join(json.dumps(one) + "\n" for one in objects))
        return str(file)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        program = str(self.programs / "kube-admin")
        return subprocess.run(
            [self.python, "-ES", program, *words, "--config", str(self.config)],
            capture_output=True, text=True, check=False, timeout=60,
            env={
                "PATH": f"{self.tools}:/usr/bin:/bin",
                "AIPROV_TEST_PAUSE_S": str(self.pause_s),
                "AIPROV_TEST_ROOT": str(self.folder),
            },
        )  # fmt: skip

    def json(self, *words: str) -> dict[str, Any]:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """By the oldest Python that hosts have."""
    made = Plane(tmp_path, PYTHONS[0])
    yield made
    made.api.stop()


@pytest.fixture(params=PYTHONS, ids=lambda python: Path(python).parts[-3])
def any_plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path, str(request.param))
    yield made
    made.api.stop()


def thing(kind: str, name: str, namespace: str = "", **parts: Any) -> dict[str, Any]:
    about = {"name": name, **({"namespace": namespace} if namespace else {})}
    group = {"Deployment": "apps/v1", "CustomResourceDefinition": "apiextensions.k8s.io/v1"}
    return {"apiVersion": group.get(kind, "v1"), "kind": kind, "metadata": about, **parts}


# ---------------------------------------------------------------- add-ons

SPACE = thing("Namespace", "gpus")
PLUGIN = thing("Deployment", "plugin", "gpus", spec={"replicas": 1, "image": "a"})
SETTINGS = thing("ConfigMap", "settings", "gpus", data={"a": "b"})


def test_an_addon_is_applied_and_then_is(any_plane: Plane) -> None:
    plane = any_plane
    file = plane.manifest("20-gpu-plugin.yaml", PLUGIN, SETTINGS, SPACE)
    asked = plane.run("applied", file)
    assert asked.returncode == 1
    assert asked.stdout.splitlines()[:2] == [
        "Namespace gpus: is not there",
        "Deployment gpus/plugin: is not there",
    ]
    done = plane.run("apply", file)
    assert done.returncode == 0, done.stderr
    assert plane.names == {
        "namespace||gpus",
        "deployment|gpus|plugin",
        "configmap|gpus|settings",
        "configmap|kube-system|aiprov-addon-gpu-plugin",
    }
    labels = plane.state["objects"]["deployment|gpus|plugin"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/managed-by": "aiprov", "aiprov.io/addon": "gpu-plugin"}
    asked = plane.run("applied", file)
    assert (asked.returncode, asked.stdout) == (0, "")


def test_what_differs_is_told_in_a_line_each(plane: Plane) -> None:
    file = plane.manifest("20-gpu-plugin.yaml", SPACE, PLUGIN)
    plane.run("apply", file)
    state = plane.state
    state["objects"]["deployment|gpus|plugin"]["spec"]["image"] = "b"
    state["objects"]["deployment|gpus|plugin"]["status"] = {"ready": 1}
    plane.put(state)
    asked = plane.run("applied", file)
    assert asked.returncode == 1
    assert asked.stdout == 'Deployment gpus/plugin: spec.image is "b", not "a"\n'


def test_a_secrets_value_is_never_told(plane: Plane) -> None:
    secret = thing("Secret", "key", "kube-system", data={"password": "aGVsbG8="})
    plane.run("apply", plane.manifest("1-x.yaml", secret))
    changed = {**secret, "data": {"password": "b3RoZXI="}}
    asked = plane.run("applied", plane.manifest("1-x.yaml", changed))
    assert asked.stdout == "Secret kube-system/key: data.password is another one\n"


def test_nor_by_what_the_api_says_of_it(plane: Plane) -> None:
    secret = thing("Secret", "key", "kube-system", data={"password": "aGVsbG8="})
    plane.run("apply", plane.manifest("1-x.yaml", secret))
    plane.change(refuses={"PATCH": 'data.password: Invalid value: "aGVsbG8="'})
    asked = plane.run("applied", plane.manifest("1-x.yaml", secret))
    assert asked.returncode == 2
    assert "Secret key: 500: refused" in asked.stderr
    assert "aGVsbG8=" not in asked.stdout + asked.stderr


@pytest.mark.parametrize(
    "said",
    [
        'Error: illegal base64 data, error found in #10 byte of ...|d":"aGVsbG8"|...\n',
        'Error: etcdserver: request timed out: {"password": "aGVsbG8"}\n',
    ],
    ids=["refused", "for a moment"],
)
def test_nor_by_what_kubectl_says_of_it(plane: Plane, said: str) -> None:
    secret = thing("Secret", "key", "kube-system", data={"password": "aGVsbG8"})
    path = plane.manifest("1-x.yaml", secret)
    assert plane.run("apply", path).returncode == 0
    plane.change(fails={"apply": [None, said]})  # its record comes before it
    done = plane.run("apply", path)
    assert plane.state["fails"] == {"apply": []}
    assert "aGVsbG8" not in done.stdout + done.stderr


WITHIN: dict[str, str] = {
    "yaml": "kind: Secret\nstringData: {password: %s}\n",
    "json": '{"kind": "Secret", "stringData": {"password": "%s"}}',
}


@pytest.mark.parametrize("form", WITHIN)
def test_nor_is_that_of_a_secret_within_another_object(plane: Plane, form: str) -> None:
    def holding(word: str) -> dict[str, Any]:
        return thing("ConfigMap", "objects", "kube-system", data={"one": WITHIN[form] % word})

    plane.run("apply", plane.manifest("1-x.yaml", holding("hush-hush")))
    asked = plane.run("applied", plane.manifest("1-x.yaml", holding("another")))
    assert asked.stdout == "ConfigMap kube-system/objects: data.one is another one\n"


def test_what_an_earlier_version_brought_goes(plane: Plane) -> None:
    plane.run("apply", plane.manifest("20-gpu-plugin.yaml", SPACE, PLUGIN, SETTINGS))
    later = plane.manifest("20-gpu-plugin.yaml", PLUGIN)
    asked = plane.run("applied", later)
    assert asked.returncode == 1
    assert asked.stdout.splitlines() == [
        "ConfigMap gpus/settings: an earlier version brought it",
        "Namespace gpus: an earlier version brought it",
    ]
    done = plane.run("apply", later)
    assert "ConfigMap gpus/settings deleted" in done.stdout
    assert "Namespace gpus stays: others may use it" in done.stdout
    assert "configmap|gpus|settings" not in plane.names
    assert {"namespace||gpus", "deployment|gpus|plugin"} < plane.names
    assert plane.run("applied", later).returncode == 0


def test_what_somebody_else_has_taken_over_stays(plane: Plane) -> None:
    plane.run("apply", plane.manifest("20-gpu-plugin.yaml", SPACE, PLUGIN, SETTINGS))
    state = plane.state
    state["objects"]["configmap|gpus|settings"]["metadata"]["labels"]["aiprov.io/addon"] = "other"
    plane.put(state)
    done = plane.run("apply", plane.manifest("20-gpu-plugin.yaml", SPACE, PLUGIN))
    assert done.returncode == 0, done.stderr
    assert "configmap|gpus|settings" in plane.names


def test_a_run_that_was_killed_leaves_nothing_behind_that_is_not_known(plane: Plane) -> None:
    plane.run("apply", plane.manifest("20-gpu-plugin.yaml", SPACE, SETTINGS))
    plane.change(fails={"delete": ["killed"]})
    assert plane.run("apply", plane.manifest("20-gpu-plugin.yaml", SPACE)).returncode == 2
    last = plane.manifest("20-gpu-plugin.yaml", SPACE, PLUGIN)
    assert plane.run("apply", last).returncode == 0
    assert "configmap|gpus|settings" not in plane.names


def test_an_empty_file_takes_an_addon_away(plane: Plane) -> None:
    plane.run("apply", plane.manifest("20-gpu-plugin.yaml", SPACE, PLUGIN))
    plane.run("apply", plane.manifest("20-gpu-plugin.yaml"))
    assert "deployment|gpus|plugin" not in plane.names


def test_definitions_of_kinds_come_first_and_are_waited_for(plane: Plane) -> None:
    kind = thing("CustomResourceDefinition", "strange.example.org")
    own = thing("Strange", "one")
    assert plane.run("apply", plane.manifest("1-x.yaml", own, kind)).returncode == 0
    calls = (plane.tools / "log").read_text().splitlines()
    verbs = [word for call in calls for word in call.split() if word in ("apply", "wait")]
    assert verbs == ["apply", "apply", "wait", "apply", "apply"]


AWAY = (
    'Internal error occurred: failed calling webhook "x": connection refused\n',
    "The connection to the server 10.0.0.1:6443 was refused - did you specify the right one\n",
    'resource mapping not found: no matches for kind "A" ensure CRDs are installed first\n',
    "Unable to connect to the server: dial tcp 10.0.0.1:6443: connect: no route to host\n",
    "Unable to connect to the server: net/http: TLS handshake timeout\n",
    "Unable to connect to the server: http2: client connection lost\n",
    "Error from server: etcdserver: leader changed\n",
    "Error from server: rpc error: code = Unavailable desc = transport is closing\n",
    "Error from server (Timeout): Timeout: request did not complete within requested timeout\n",
    "Error from server (ServiceUnavailable): apiserver is shutting down\n",
    'Error from server (Forbidden): User "admin" cannot get resource "configmaps" in the\n',
    "Error from server: context deadline exceeded\n",
)
"""What kubectl says of a cluster that is being set up, or whose etcd has no leader for a moment."""


def test_what_is_over_in_a_moment_is_tried_again(plane: Plane) -> None:
    plane.pause_s = 0.1  # what others bring is tried again for 90 of them
    plane.run("apply", plane.manifest("1-x.yaml", SPACE, SETTINGS))
    verbs = ("get", "apply", "wait", "delete")
    plane.change(fails={verb: list(AWAY[at :: len(verbs)]) for at, verb in enumerate(verbs)})
    kind = thing("CustomResourceDefinition", "strange.example.org")
    done = plane.run("apply", plane.manifest("1-x.yaml", SPACE, PLUGIN, kind))
    assert done.returncode == 0, done.stderr
    assert plane.state["fails"] == {verb: [] for verb in verbs}
    assert "deployment|gpus|plugin" in plane.names
    assert "configmap|gpus|settings" not in plane.names


def test_what_never_is_over_is_told_in_the_end(plane: Plane) -> None:
    text = "Error from server: etcdserver: request timed out\n"
    plane.change(fails={"get": [text] * 1000})
    done = plane.run("apply", plane.manifest("1-x.yaml", SPACE), "--timeout", "5")
    assert done.returncode == 2
    assert "etcdserver: request timed out" in done.stderr
    assert done.stdout.count("once more: ") == 1
    assert "hint: " in done.stderr


def test_what_others_bring_is_not_waited_for_as_long(plane: Plane) -> None:
    """A kind that is not there may be a slip of the pen: nobody waits 15 minutes for that."""
    text = 'error: no matches for kind "Deploymint" in version "apps/v1"\n'
    plane.change(fails={"apply": [text] * 1000})
    began = time.monotonic()
    done = plane.run("apply", plane.manifest("1-x.yaml", SPACE), "--timeout", "900")
    assert done.returncode == 2
    assert "Deploymint" in done.stderr
    assert time.monotonic() - began < 300


def test_what_is_wrong_with_a_manifest_is_told(plane: Plane) -> None:
    plane.change(fails={"apply": ["", 'Namespace "x" is invalid: metadata.name: too long\n'][1:]})
    done = plane.run("apply", plane.manifest("1-x.yaml", SPACE))
    assert done.returncode == 2
    assert "too long" in done.stderr
    assert "hint: " in done.stderr


def test_an_api_that_does_not_answer_is_no_drift(plane: Plane) -> None:
    plane.api.stop()
    done = plane.run("applied", plane.manifest("1-x.yaml", SPACE))
    assert (done.returncode, done.stdout) == (2, "")
    assert "refused" in done.stderr
    assert "hint: " in done.stderr


def test_an_api_that_fails_is_no_drift(plane: Plane) -> None:
    plane.run("apply", plane.manifest("1-x.yaml", SPACE))
    plane.change(refuses={"PATCH": "admission webhook said no"})
    done = plane.run("applied", plane.manifest("1-x.yaml", SPACE))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Namespace gpus: 500: admission webhook said no" in done.stderr


@pytest.mark.parametrize(("status", "code"), [(400, 1), (422, 1), (403, 2), (429, 2), (503, 2)])
def test_what_the_api_refuses_for_good_differs(plane: Plane, status: int, code: int) -> None:
    """Only where it may say something else in a moment is there no telling."""
    plane.run("apply", plane.manifest("1-x.yaml", SPACE))
    plane.change(refuses={"PATCH": "the webhook does not support dry run"}, status=status)
    done = plane.run("applied", plane.manifest("1-x.yaml", SPACE))
    assert done.returncode == code
    told = done.stdout if code == 1 else done.stderr
    assert f"{status}: the webhook does not support dry run" in told


def test_a_kind_that_is_not_there_yet_is_what_differs(plane: Plane) -> None:
    done = plane.run("applied", plane.manifest("1-x.yaml", thing("Strange", "one")))
    assert done.returncode == 1
    assert done.stdout == "Strange one: the cluster has no kind Strange of v1\n"


def test_before_there_is_a_cluster_nothing_is_applied(plane: Plane) -> None:
    plane.config.unlink()
    file = plane.manifest("1-x.yaml", SPACE)
    assert plane.run("applied", file).returncode == 1
    done = plane.run("apply", file)
    assert done.returncode == 2
    assert "no control plane of a cluster yet" in done.stderr


# ---------------------------------------------------------------- nodes


def node(
    name: str, *roles: str, ready: str = "True", taints: tuple[str, ...] = (), **gpus: str
) -> dict[str, Any]:
    labels = {f"node-role.kubernetes.io/{role}": "" for role in roles}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": f"node-role.kubernetes.io/{key}"} for key in taints]},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": "R", "message": "not yet"}],
            "allocatable": {"cpu": "8", **{f"nvidia.com/{k}": v for k, v in gpus.items()}},
            "nodeInfo": {"kubeletVersion": "v1.36.4", "containerRuntimeVersion": "containerd://2"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }


def pod(name: str, where: str, **about: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "apps", **about},
        "spec": {"nodeName": where},
        "status": {"phase": "Running"},
    }


def cluster(*objects: dict[str, Any]) -> dict[str, Any]:
    named = {}
    for one in objects:
        about = one["metadata"]
        named[f"{one['kind'].lower()}|{about.get('namespace', '')}|{about['name']}"] = one
    return {"objects": named, "raw": {"/readyz": "ok"}}


def test_nodes_are_described(plane: Plane) -> None:
    plane.put(
        cluster(
            node("cp1", "control-plane", taints=("control-plane",)),
            node("both", "master", "control-plane"),
            node("gpu1", ready="False", gpu="8"),
            pod("a", "gpu1"),
            pod("b", "gpu1"),
        )
    )
    found = {one["name"]: one for one in plane.json("nodes", "--pods")["nodes"]}
    assert found["cp1"]["roles"] == ["control-plane"]
    assert found["both"]["roles"] == ["control-plane", "worker"]
    assert found["gpu1"]["roles"] == ["worker"]
    assert found["gpu1"]["gpus"] == {"nvidia.com/gpu": 8}
    assert (found["gpu1"]["ready"], found["gpu1"]["reason"]) == (False, "not yet")
    assert (found["gpu1"]["pods"], found["cp1"]["pods"]) == (2, 0)
    assert found["cp1"]["version"] == "1.36.4"
    assert plane.json("nodes")["nodes"][0]["pods"] is None


def test_versions_are_told(plane: Plane) -> None:
    config = thing("ConfigMap", "kubeadm-config", "kube-system")
    config["data"] = {"ClusterConfiguration": "etcd: {}\nkubernetesVersion: v1.36.3\n"}
    state = cluster(config)
    state["version"] = {
        "clientVersion": {"gitVersion": "v1.36.4"},
        "serverVersion": {"gitVersion": "v1.36.3"},
    }
    plane.put(state)
    plane.tool("kubeadm", "print('v1.36.4')")
    assert plane.json("version") == {
        "format_version": 1,
        "api": "1.36.3",
        "kubectl": "1.36.4",
        "kubeadm": "1.36.4",
        "cluster": "1.36.3",
    }


def test_what_is_not_well_is_told(plane: Plane) -> None:
    members = [ONE, {**ONE, "name": "cp2", "healthy": False, "reason": "no answer"}]
    plane.etcd(f"print(json.dumps({{'members': {members!r}}}))")
    plane.put(cluster(node("cp1", "control-plane"), node("gpu1", ready="Unknown")))
    found = plane.json("health")
    assert not found["healthy"]
    assert [(one["what"], one["why"]) for one in found["problems"]] == [
        ("etcd cp2", "no answer"),
        ("node gpu1", "not yet"),
    ]


def test_without_an_api_nothing_else_is_asked(plane: Plane) -> None:
    plane.put({"objects": {}})
    found = plane.json("health", "--patience", "0.1")
    assert [one["what"] for one in found["problems"]] == ["API"]


def leaderless(**times: int) -> dict[str, list[str]]:
    """What kubectl says of an API whose etcd has no leader, so many times a verb."""
    said = (
        "Error from server: etcdserver: no leader\n",
        "Unable to connect to the server: net/http: TLS handshake timeout\n",
    )
    return {verb: [said[at % 2] for at in range(number)] for verb, number in times.items()}


LEADERLESS: dict[str, dict[str, int]] = {
    "nodes": {"get": 2},
    "health": {"get": 2},
    "version --patience 60": {"version": 2, "get": 1},
    "drain gpu1 --timeout 60": {"get": 2, "annotate": 1, "cordon": 1, "drain": 2},
    "delete gpu1": {"delete": 2},
}


@pytest.mark.parametrize("words", LEADERLESS)
def test_an_api_that_is_away_for_a_moment_is_asked_again(plane: Plane, words: str) -> None:
    """As it is when a control plane has just joined or left."""
    plane.etcd("print(json.dumps({'members': []}))")
    versions = {key: {"gitVersion": "v1.36.4"} for key in ("clientVersion", "serverVersion")}
    plane.tool("kubeadm", "print('v1.36.4')")
    state = {**cluster(node("gpu1")), "version": versions}
    plane.put({**state, "fails": leaderless(**LEADERLESS[words])})
    done = plane.run(*words.split())
    assert done.returncode == 0, done.stderr
    assert not any(plane.state["fails"].values())
    if words.startswith(("nodes", "health", "version")):
        json.loads(done.stdout)
    if words == "health":
        assert json.loads(done.stdout)["healthy"]


def test_a_node_is_freed_by_an_api_that_is_away_for_a_moment(plane: Plane) -> None:
    plane.put(cluster(node("gpu1")))
    plane.run("drain", "gpu1")
    plane.change(fails=leaderless(get=1, uncordon=1, annotate=2))
    done = plane.run("uncordon", "gpu1")
    assert done.returncode == 0, done.stderr
    assert "once more: kubectl uncordon gpu1: " in done.stdout
    there = plane.json("nodes")["nodes"][0]
    assert (there["schedulable"], there["cordoned_by_aiprov"]) == (True, False)


def test_an_api_that_stays_away_has_a_status_of_its_own(plane: Plane) -> None:
    plane.put({**cluster(node("gpu1")), "fails": leaderless(get=1000, version=1000)})
    for words in (("version",), ("nodes", "--patience", "0.1")):
        done = plane.run(*words)
        assert (done.returncode, done.stdout) == (75, "")
        assert "hint: " in done.stderr


def test_a_request_that_hangs_is_not_all_of_the_time(plane: Plane) -> None:
    plane.put(cluster(node("gpu1")))
    plane.json("nodes", "--pods")
    assert all("--request-timeout=15s" in line for line in plane.log("get"))
    plane.run("drain", "gpu1")
    assert "--request-timeout=15s" in plane.log("drain")[0]


def test_an_api_that_goes_away_meanwhile_is_what_is_not_well(plane: Plane) -> None:
    plane.etcd("print(json.dumps({'members': []}))")
    plane.put(cluster(node("gpu1")))
    plane.tool("kubectl", SHAKY + STANDIN.read_text())
    found = plane.json("health", "--patience", "0.1")
    assert [one["what"] for one in found["problems"]] == ["API"]
    assert "no leader" in found["problems"][0]["why"]


SHAKY = """import sys
if "--raw" not in sys.argv:
    sys.exit("Error from server: etcdserver: no leader")
"""


def test_a_drain_goes_on_in_what_is_left_of_its_time(plane: Plane) -> None:
    plane.put({**cluster(node("gpu1")), "fails": leaderless(drain=1)})
    done = plane.run("drain", "gpu1", "--timeout", "30")
    assert done.returncode == 0, done.stderr
    first, second = (line.split("--timeout=")[1].split("s")[0] for line in plane.log("drain"))
    assert first == "30"
    assert 1 <= int(second) < 30
    plane.change(drain={"rc": 1, "says": SAYS})
    assert plane.run("drain", "gpu1", "--timeout", "30").returncode == 2
    assert len(plane.log("drain")) == 3, "what a budget keeps is kept"


def test_a_node_is_drained_and_freed_again(any_plane: Plane) -> None:
    plane = any_plane
    plane.put(cluster(node("gpu1")))
    done = plane.run("drain", "gpu1", "--timeout", "30")
    assert done.returncode == 0, done.stderr
    assert "node/gpu1 drained" in done.stdout
    assert "--timeout=30s" in plane.log("drain")[0]
    there = plane.json("nodes")["nodes"][0]
    assert (there["schedulable"], there["cordoned_by_aiprov"]) == (False, True)
    assert plane.run("uncordon", "gpu1").returncode == 0
    there = plane.json("nodes")["nodes"][0]
    assert (there["schedulable"], there["cordoned_by_aiprov"]) == (True, False)


def test_who_has_cordoned_a_node_frees_it(plane: Plane) -> None:
    there = node("gpu1")
    there["spec"]["unschedulable"] = True
    plane.put(cluster(there))
    assert plane.run("drain", "gpu1").returncode == 0
    assert "stays cordoned" in plane.run("uncordon", "gpu1").stdout
    assert not plane.json("nodes")["nodes"][0]["schedulable"]


def budget(name: str, allowed: int, **selector: Any) -> dict[str, Any]:
    return {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "apps"},
        "spec": {"selector": selector},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2},
    }


SAYS = "error when evicting pods (will retry after 5s): it would violate the disruption budget"


@pytest.mark.parametrize(
    ("kept_by", "told"),
    [
        (budget("web", 0, matchLabels={"app": "web"}), "PodDisruptionBudget apps/web (2 pods"),
        (budget("web", 1, matchLabels={"app": "web"}), "nothing that is known"),
        (budget("db", 0, matchLabels={"app": "db"}), "nothing that is known"),
        (
            budget(
                "any", 0, matchExpressions=[{"key": "app", "operator": "In", "values": ["web"]}]
            ),
            "PodDisruptionBudget apps/any",
        ),
        (
            budget("any", 0, matchExpressions=[{"key": "app", "operator": "DoesNotExist"}]),
            "nothing that is known",
        ),
    ],
    ids=["kept", "allowed", "another's", "by expression", "not by expression"],
)
def test_what_keeps_a_pod_is_named(plane: Plane, kept_by: dict[str, Any], told: str) -> None:
    daemon = pod("agent", "gpu1", ownerReferences=[{"kind": "DaemonSet"}])
    static = pod("proxy", "gpu1", annotations={"kubernetes.io/config.mirror": "x"})
    state = cluster(
        node("gpu1"), pod("web-1", "gpu1", labels={"app": "web"}), daemon, static, kept_by
    )
    plane.put({**state, "drain": {"rc": 1, "says": SAYS}})
    done = plane.run("drain", "gpu1")
    assert done.returncode == 2
    assert SAYS in done.stdout
    assert f"pod apps/web-1 is kept by {told}" in done.stderr
    assert "agent" not in done.stderr
    assert "proxy" not in done.stderr
    assert "hint: " in done.stderr


def test_pods_that_nobody_makes_again_are_not_deleted(plane: Plane) -> None:
    says = "cannot delete Pods that declare no controller (use --force to override): apps/lone"
    state = cluster(node("gpu1"), pod("lone", "gpu1"))
    plane.put({**state, "drain": {"rc": 1, "says": says}})
    done = plane.run("drain", "gpu1")
    assert done.returncode == 2
    assert "apps/lone" in done.stderr
    assert "--bare-pods" in done.stderr
    plane.run("drain", "gpu1", "--bare-pods")
    assert "--force" in plane.log("drain")[-1]


@pytest.mark.parametrize("verb", ["drain", "delete"])
def test_a_node_that_is_gone_is_no_failure(plane: Plane, verb: str) -> None:
    plane.etcd("sys.exit(0)")
    assert plane.run(verb, "gone").returncode == 0


def test_a_deleted_node_leaves_etcd_first(plane: Plane) -> None:
    static = pod("etcd-cp2", "cp2", labels={"tier": "control-plane"})
    static["metadata"]["namespace"] = "kube-system"
    plane.put(cluster(node("cp1"), node("cp2"), static))
    plane.etcd("print('etcd', *sys.argv[1:])")
    done = plane.run("delete", "cp2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("etcd remove cp2\n")
    assert plane.names == {"node||cp1"}


def test_a_node_stays_where_etcd_would_be_lost(plane: Plane) -> None:
    plane.put(cluster(node("cp2")))
    plane.etcd("sys.stderr.write('kube-etcd: no quorum\\nhint: repair it\\n'); sys.exit(2)")
    done = plane.run("delete", "cp2")
    assert done.returncode == 2
    assert "no quorum" in done.stderr
    assert "hint: repair it" in done.stderr
    assert plane.names == {"node||cp2"}


def test_other_verbs_are_those_of_the_programs_beside(plane: Plane) -> None:
    plane.etcd("print('etcd', *sys.argv[1:])")
    words = [plane.python, str(plane.programs / "kube-admin"), "snapshot", "/tmp/x"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "etcd snapshot /tmp/x\n"
