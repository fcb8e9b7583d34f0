"""What Kubernetes' images hold, and the archives of them.

Names and tags are those that kubeadm 1.20 asks for. They hold what they must and nothing else: no
shell but in the image for tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aiprov.lab import images
from aiprov.lab.kubernetes import source

REPOSITORY = "k8s.gcr.io"
BUSYBOX = "registry.lab/busybox:1"
DEVICE_PLUGIN = "registry.lab/device-plugin:1"
COREDNS = f"{REPOSITORY}/coredns:1.7.0"
"""A stand-in under the name that kubeadm 1.20 gives: Debian has no CoreDNS."""
PAUSE = f"{REPOSITORY}/pause:3.2"
ETCD = f"{REPOSITORY}/etcd:3.4.13-0"
"""The tag that kubeadm 1.20 names. Debian's etcd in it is a later 3.4."""
_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_CONTROL_PLANE = (*_COMMANDS, "etcd")
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "tmp/.keep": b"",
}
_XTABLES = "usr/sbin/xtables-nft-multi"
_PLUGINS = "usr/lib/x86_64-linux-gnu/xtables"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IPTABLES = [
    f"{family}{verb}" for family in ("iptables", "ip6tables") for verb in ("", "-save", "-restore")
]


def names(release: str) -> list[str]:
    """The images of a version, or of ``common``."""
    if release == "common":
        return [PAUSE, ETCD, COREDNS, BUSYBOX, DEVICE_PLUGIN]
    return [f"{REPOSITORY}/{one}:v{release}" for one in (*_COMMANDS, "kube-proxy")]


def archives(
    tree: Path, programs: Mapping[str, bytes], release: str
) -> Iterator[tuple[str, bytes]]:
    """``PART/NAME`` and archive of each image of a version, or of ``common``.

    ``programs`` are those that were built for it. Raises ``LabError`` where the tree lacks a part.
    """
    for name in names(release):
        short = name.rpartition("/")[2].partition(":")[0]
        files, links, program = _root(tree, programs, short)
        # What manifests give arguments only must be the entry point.
        runs = {"command": (program,)} if short == "busybox" else {"entrypoint": (program,)}
        archive = images.packed({**_ACCOUNTS, **files}, links, name, **runs, path=_PATH)
        part = "control-plane" if short in _CONTROL_PLANE else "node"
        yield f"{part}/{name.rpartition('/')[2].replace(':', '_')}", archive


def _root(
    tree: Path, programs: Mapping[str, bytes], name: str
) -> tuple[Mapping[str, bytes], Mapping[str, str], str]:
    """Files and links of an image, and what it runs where a pod does not say."""
    if name == "pause":
        return {"pause": programs["pause"]}, {}, "/pause"
    if name == "etcd":
        found = _with_libraries(tree, ["usr/bin/etcd", "usr/bin/etcdctl"])
        moved = {path.replace("usr/bin/", "usr/local/bin/"): data for path, data in found.items()}
        return moved, {}, "/usr/local/bin/etcd"
    if name == "busybox":
        applets = source.said(tree, ("busybox", "--list")).split()
        links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
        return _with_libraries(tree, ["bin/busybox"]), links, "/bin/sh"
    own = {f"usr/local/bin/{name}": programs[name.replace("-", "_") if name == "device-plugin"
                                             else name]}  # fmt: skip
    if name != "kube-proxy":
        return own, {}, f"/usr/local/bin/{name}"
    plugins = [path.relative_to(tree).as_posix() for path in (tree / _PLUGINS).glob("*.so")]
    found = _with_libraries(tree, [_XTABLES, "usr/sbin/conntrack", *sorted(plugins)])
    links = {f"usr/sbin/{one}": _XTABLES.rpartition("/")[2] for one in _IPTABLES}
    return {**own, **found}, links, f"/usr/local/bin/{name}"


def _with_libraries(tree: Path, paths: Sequence[str]) -> dict[str, bytes]:
    """Files of the tree, and the libraries that they need, where they need them."""
    said = source.said(tree, ("ldd", *(f"/{path}" for path in paths)))
    libraries = set(re.findall(r"(/\S+) \(0x", said))
    wanted = [*paths, *(path.lstrip("/") for path in sorted(libraries))]
    return {path: _read(tree, path) for path in wanted}


def _read(tree: Path, path: str) -> bytes:
    """A file of the tree; a link in it leads somewhere in the tree, not on this machine."""
    place = source.said(tree, ("readlink", "-f", f"/{path}")).strip()
    return (tree / place.lstrip("/")).read_bytes()
