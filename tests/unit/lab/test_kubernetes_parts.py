"""The lab's Kubernetes without building it: packages, images, variables, the kernel's modules."""

from __future__ import annotations

import gzip
import io
import json
import platform
import tarfile
from pathlib import Path

import pytest

from aiprov.errors import LabError
from aiprov.lab import builtin, images, keeper
from aiprov.lab.build import HostSpec
from aiprov.lab.kubernetes import UPSTREAM, build, contents, nodes, packages, source
from aiprov.lab.state import KUBERNETES, Folder, Host, Network
from aiprov.lab.vendor import deb, served

_PROGRAMS = {name: name.encode() for name in (*build.COMMANDS, "crictl", "device_plugin", "pause")}
NET = Network(bridge="aplab7", mark="02:00:00:00:00:01", prefix="10.213.7")


def _tree(root: Path) -> Path:
    """What is read of the tree in which Kubernetes is built, when packages are made."""
    (root / "var/lib/dpkg").mkdir(parents=True)
    status = (
        "Package: containernetworking-plugins\nStatus: ok\nVersion: 1.1.1+ds1-3\n\nPackage: x\n"
    )
    (root / "var/lib/dpkg/status").write_text(status)
    (root / "usr/lib/cni").mkdir(parents=True)
    (root / "usr/lib/cni/bridge").write_bytes(b"bridge")
    return root


def test_packages_lie_where_the_vendor_has_them(tmp_path: Path) -> None:
    made = {one.name: one for one in packages.packages(tmp_path, _PROGRAMS, UPSTREAM)}
    assert set(made) == {"kubelet", "kubeadm", "kubectl"}
    assert made["kubelet"].full_version == f"{UPSTREAM}-1.1"
    assert "/usr/lib/systemd/system/kubelet.service" in made["kubelet"].files
    assert "conntrack" in made["kubelet"].depends
    drop_in = "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"
    assert "$KUBELET_EXTRA_ARGS" in str(made["kubeadm"].files[drop_in].text)
    common = {one.name: one for one in packages.packages(_tree(tmp_path), _PROGRAMS, "common")}
    assert common["cri-tools"].files["/usr/bin/crictl"].mode == 0o755
    assert common["kubernetes-cni"].full_version == "1.1.1+ds1-1.1"
    assert "/opt/cni/bin/bridge" in common["kubernetes-cni"].files


@pytest.mark.parametrize(
    ("version", "says"), [(UPSTREAM, "built from Debian's source"), ("1.21.0", UPSTREAM)]
)
def test_packages_say_what_they_are(tmp_path: Path, version: str, says: str) -> None:
    kubelet = packages.packages(tmp_path, _PROGRAMS, version)[0]
    assert "Stand-in of aiprov's lab" in deb.control(kubelet, "amd64")
    assert says in deb.control(kubelet, "amd64")
    assert "simulated GPUs" not in kubelet.readme


def test_another_number_is_told_in_the_programs_too() -> None:
    flags = build.ldflags("1.21.0").split()
    assert sum(flag.endswith("version.gitVersion=v1.21.0") for flag in flags) == 2
    assert any(flag.endswith(f"gitCommit=aiprov-lab-stamped-{UPSTREAM}") for flag in flags)


@pytest.mark.parametrize("version", ["1.36.4", "1.21", "latest", "1.20.2 -X"])
def test_a_version_that_cannot_be_is_refused(version: str) -> None:
    with pytest.raises(LabError, match="no Kubernetes"):
        build.check(version)


def test_a_build_that_was_interrupted_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIPROV_LAB_CACHE", str(tmp_path))
    for name in ("ensure", "install"):
        monkeypatch.setattr(source, name, lambda *_: tmp_path)
    monkeypatch.setattr(contents, "archives", lambda *_: iter([("node/pause_3.2", b"image")]))
    monkeypatch.setattr(packages, "packages", lambda *_: [])
    built = []
    monkeypatch.setattr(build, "_own_programs", lambda tree: built.append(tree) or {})
    half = tmp_path / "kubernetes/.common.building/images/node/half.tar"
    half.parent.mkdir(parents=True)
    half.touch()
    for _ in range(2):
        release = build.ensure([])["common"]
        assert [path.name for path in release.images] == ["pause_3.2.tar"]
    assert len(built) == 1


def test_images_have_the_names_that_kubeadm_asks_for() -> None:
    assert "k8s.gcr.io/kube-proxy:v1.21.0" in contents.names("1.21.0")
    assert {"k8s.gcr.io/pause:3.2", "k8s.gcr.io/etcd:3.4.13-0"} <= set(contents.names("common"))
    name, data = next(contents.archives(Path("/"), _PROGRAMS, "common"))
    assert name == "node/pause_3.2"
    with tarfile.open(fileobj=io.BytesIO(data)) as outer:
        manifest = json.load(outer.extractfile("manifest.json") or io.BytesIO())
        assert manifest[0]["RepoTags"] == [contents.PAUSE]
        with tarfile.open(fileobj=outer.extractfile("layer.tar")) as layer:
            assert "pause" in layer.getnames()


def test_an_image_is_the_same_bytes_always() -> None:
    made = [images.packed({"a": b"1"}, {"b": "a"}, "x:1", path="/bin") for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("text", "parts", "gpus"),
    [
        ("cp1:bookworm:control-plane", ["control-plane"], 0),
        ("w1::worker,h200x2", ["worker"], 2),
        ("n1::worker,control-plane", ["control-plane", "worker"], 0),
        ("n1:trixie:node", ["node"], 0),
        ("n1", [], 0),
        ("g1::h100x4+l40sx2,missing=1", [], 5),
    ],
)
def test_hosts_say_what_they_are_for(text: str, parts: list[str], gpus: int) -> None:
    spec = HostSpec.named(text)
    assert list(spec.kubernetes) == parts
    assert sum(device.class_code >> 8 == 0x0302 for device in spec.has.devices) == gpus


def test_roles_are_told_where_all_of_it_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_network(NET)
    told = nodes.variables(folder)
    assert told["kubernetes_repository_url"] == "http://10.213.7.1:3142/pkgs.k8s.io"
    assert all(one.startswith(keeper.IMAGES) for one in told["kubernetes_image_archives"])
    assert told["kubernetes_version"] == UPSTREAM
    assert nodes.own_variables(["worker"])["kubernetes_image_archives"] == [f"{keeper.IMAGES}/node"]
    assert nodes.own_variables(["control-plane", "worker"]) == nodes.own_variables(["node"]) == {}
    assert served.variables(folder) == {}


def test_only_hosts_made_for_it_see_the_images(tmp_path: Path) -> None:
    def command(*groups: str) -> str:
        host = Host(
            name="one", index=0, address="10.213.7.10", suite="bookworm", python=True,
            machine="aplab7-0", group="aplab7/0", groups=groups,
        )  # fmt: skip
        return " ".join(keeper.nspawn(Folder(tmp_path), host, "aplab7"))

    assert f"--bind-ro={tmp_path / 'images'}:{keeper.IMAGES}" in command(KUBERNETES)
    assert keeper.IMAGES not in command("gpu")


def test_modules_are_those_that_the_machine_has(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules" / platform.release()
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/lib/own.ko\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text("br_netfilter 32768 0 - Live 0x0\nzfs 1 0 - Live 0x0\n")
    config = "CONFIG_OVERLAY_FS=y\nCONFIG_IP_VS=m\n# CONFIG_WIREGUARD is not set\n"
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(config.encode()))
    assert builtin.modules(tmp_path) == [
        "kernel/fs/overlayfs/overlay.ko",
        "kernel/lib/own.ko",
        "kernel/net/bridge/br_netfilter.ko",
    ]
