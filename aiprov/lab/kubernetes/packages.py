"""Kubernetes' packages as pkgs.k8s.io has them: names, versions, paths and dependencies.

Dependencies: the packages of 1.20 (kubernetes/release packages/deb, read 2026-11-21); paths: the
newer cmd/krel/templates/latest, whose kubelet is not enabled by its installation either.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiprov.lab.kubernetes.source import UPSTREAM
from aiprov.lab.vendor.package import Content, Package

_PROGRAMS = Path(__file__).parent / "programs"
_UNITS = "/usr/lib/systemd/system"
REVISION = "1.1"
CRI_TOOLS = "1.24.2"
_KUBELET_NEEDS = (
    "iptables (>= 1.4.21)", "kubernetes-cni (>= 0.8.7)", "iproute2", "socat", "util-linux", "mount",
    "ebtables", "ethtool", "conntrack",
)  # fmt: skip
_KUBEADM_NEEDS = (
    "kubelet (>= 1.13.0)", "kubectl (>= 1.13.0)", "kubernetes-cni (>= 0.8.6)",
    "cri-tools (>= 1.13.0)",
)  # fmt: skip
_PACKED = (
    "It has the name, the dependencies and the file layout of the vendor's package. What is in it\n"
    "is Kubernetes itself, built by the lab from Debian's source package.\n"
)
_RENUMBERED = (
    "It has the name, the dependencies and the file layout of the vendor's package. What is in it\n"
    f"is Kubernetes {UPSTREAM} that says it were another version, for trying upgrades.\n"
)
_CRICTL = (
    "It has crictl as far as kubeadm and people at a node need it, written for the lab.\n"
    "It asks the container runtime as the vendor's does.\n"
)


def packages(tree: Path, programs: Mapping[str, bytes], release: str) -> list[Package]:
    """The packages of a version, or those of ``common``: CNI plug-ins and crictl."""
    if release == "common":
        return [_cri_tools(programs), _cni(tree)]
    real = release == UPSTREAM
    summary = "built from Debian's source" if real else f"{UPSTREAM} under another number"

    def package(
        name: str, depends: tuple[str, ...] = (), files: Mapping[str, Content] | None = None
    ) -> Package:
        binary = {f"/usr/bin/{name}": Content(text=programs[name], mode=0o755)}
        return Package(
            name=name, version=release, release=REVISION, summary=f"{name}, {summary}",
            about=_PACKED if real else _RENUMBERED, depends=depends,
            files={**binary, **(files or {})}, scripts=_RELOAD if files else {},
        )  # fmt: skip

    unit = {
        f"{_UNITS}/kubelet.service": _file("kubelet.service"),
        "/etc/default/kubelet": Content(text="KUBELET_EXTRA_ARGS=\n"),
    }
    drop_in = {f"{_UNITS}/kubelet.service.d/10-kubeadm.conf": _file("10-kubeadm.conf")}
    return [
        package("kubelet", _KUBELET_NEEDS, unit),
        package("kubeadm", _KUBEADM_NEEDS, drop_in),
        package("kubectl"),
    ]


_RELOAD = dict.fromkeys(
    ("postinst", "postrm"), "if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi"
)


def _cri_tools(programs: Mapping[str, bytes]) -> Package:
    return Package(
        name="cri-tools", version=CRI_TOOLS, release=REVISION, summary="crictl", about=_CRICTL,
        files={"/usr/bin/crictl": Content(text=programs["crictl"], mode=0o755)},
    )  # fmt: skip


def _cni(tree: Path) -> Package:
    """Debian's CNI plug-ins where Kubernetes' package has them."""
    control = (tree / "var/lib/dpkg/status").read_text(encoding="utf-8")
    mine = control.partition("Package: containernetworking-plugins\n")[2].partition("\n\n")[0]
    version = mine.partition("\nVersion: ")[2].partition("-")[0]
    plugins = sorted(path for path in (tree / "usr/lib/cni").iterdir() if path.is_file())
    return Package(
        name="kubernetes-cni", version=version, release=REVISION, summary="Debian's CNI plug-ins",
        about="It has the plug-ins of Debian's containernetworking-plugins.\n",
        files={
            f"/opt/cni/bin/{path.name}": Content(text=path.read_bytes(), mode=0o755)
            for path in plugins
        },
    )  # fmt: skip


def _file(name: str) -> Content:
    return Content(text=(_PROGRAMS / name).read_text(encoding="utf-8"))
