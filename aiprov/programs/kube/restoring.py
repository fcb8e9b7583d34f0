"""Beginning again from a snapshot: this host's etcd becomes the only member, and knows that much.

What the snapshot holds is first made into a data folder beside the one in use, by etcd's own tool
out of the image that runs; only then the control plane is stopped, and the folders are changed.
Each step sees by what is there whether it was done, so a run that was cut off is run again.
Source: etcd.io/docs v3.6 op-guide/recovery (read 2026-11-21): a new cluster, and revisions that go
on far beyond those that anybody has seen, so that no watcher takes the past for news.
"""

import json
import os
import shutil
import sys
import time
from typing import List, Tuple

from .cluster import port_state
from .host import (
    COMPONENTS,
    Node,
    RefusedError,
    alone,
    document,
    inside,
    must,
    place,
    read,
    remove,
    run,
    tell,
    wait,
    write,
)
from .snapshot import PIECE
from .standing import unwell
from .static_pods import START_S, flag, manifest, start, stop

TOOL_S = 1800
TOOLS = ("etcdutl", "etcdctl")
"""What restores: the first from 3.5 on, the second until 3.5."""
BUMP = ("--bump-revision", "1000000000", "--mark-compacted")
FOLDERS = ("usr/local/bin", "usr/bin", "bin")


def refuse_other_members(node: Node) -> None:
    """Raise ``RefusedError`` where another control plane still keeps what this one is to forget."""
    alive = [peer.name for peer in node.peers if port_state(peer.address, 2380) == "open"]
    if alive:
        raise RefusedError(
            f"etcd still runs on {', '.join(alive)}: there would be two clusters of one name",
            f"first: aiprov cluster reset -l {','.join(alive)}; they join again afterwards",
        )


def staged(node: Node, path: str) -> str:
    """The snapshot where etcd's tool reaches it: in the data folder, for root alone."""
    goal = f"{data(node)}/aiprov-snapshot.db"
    if not os.path.isdir(place(data(node))):
        raise RefusedError(f"there is no {data(node)}", "aiprov apply makes the host one first")
    descriptor = os.open(f"{place(goal)}.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as out:
        if path == "-":
            shutil.copyfileobj(sys.stdin.buffer, out, PIECE)
        else:
            with open(place(path), "rb") as source:
                shutil.copyfileobj(source, out, PIECE)
        out.flush()
        os.fsync(out.fileno())
    os.replace(f"{place(goal)}.part", place(goal))
    return goal


def data(node: Node) -> str:
    """etcd's data folder, as its manifest has it."""
    return flag(manifest("etcd"), "data-dir") or node.etcd_data


def restore(node: Node, snapshot: str, digest: str) -> None:
    """Begin again from a snapshot that is whole. Raises ``RefusedError``."""
    with alone(60):
        folder = data(node)
        made, mark = f"{folder}/aiprov-restored", f"{folder}/aiprov-restored.json"
        if document(mark).get("sha256") != digest:
            remove(made)
            _make(node, snapshot, made)
            write(mark, json.dumps({"sha256": digest}))
        tell("stop the control plane")
        stop(tuple(reversed(COMPONENTS)))
        _change(folder, made)
        tell("start it again, from the snapshot")
        start(node, COMPONENTS)
        must(["systemctl", "restart", "kubelet"], hint="systemctl status kubelet tells why")
        if not wait(lambda: not unwell(node), "kubelet to work again", START_S):
            raise RefusedError(
                f"the control plane has begun again, but {'; '.join(unwell(node))}",
                "journalctl -u kubelet tells why; then run it again with the same file",
            )
        for path in (made, mark, snapshot):
            remove(path)
    tell(f"{node.name} has begun again from the snapshot, as etcd's only member")
    for peer in node.peers:
        tell(f"{peer.name} joins again: aiprov cluster reset -l {peer.name}, then aiprov apply")


def _change(folder: str, made: str) -> None:
    """Put the new data in place, and the old aside."""
    if not os.path.isdir(place(f"{made}/member")):
        return  # it was done before this run
    if os.path.isdir(place(f"{folder}/member")):
        aside = f"{folder}.aiprov-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        os.makedirs(place(aside), mode=0o700)
        shutil.move(place(f"{folder}/member"), place(f"{aside}/member"))
        tell(f"what was there is kept in {aside}: remove it when all is well")
    owner = os.stat(place(folder))
    for here, folders, files in os.walk(place(f"{made}/member")):
        for name in (".", *folders, *files):
            os.chown(os.path.join(here, name), owner.st_uid, owner.st_gid)
    os.rename(place(f"{made}/member"), place(f"{folder}/member"))


def _make(node: Node, snapshot: str, made: str) -> None:
    """Have etcd's own tool make a data folder of the snapshot."""
    text = manifest("etcd")
    name, peer = flag(text, "name"), flag(text, "initial-advertise-peer-urls")
    words = ["snapshot", "restore", snapshot, "--name", name, "--data-dir", made]
    words += ["--initial-cluster", f"{name}={peer}", "--initial-advertise-peer-urls", peer]
    words += ["--initial-cluster-token", f"aiprov-{int(time.time())}"]
    os.environ["ETCDCTL_API"] = "3"
    said = ""
    for argv, tool in _tools(node, text):
        for more in (BUMP, ()) if tool == "etcdutl" else ((),):
            remove(made)
            tell(f"make a data folder of the snapshot, by {tool}")
            status, out, wrong = run([*argv, *words, *more], TOOL_S)
            if status == 0 and os.path.isdir(place(f"{made}/member")):
                return
            said = (wrong or out).strip()
            if "unknown flag" not in said:
                break
    raise RefusedError(
        f"etcd's tool makes nothing of the snapshot: {said or 'there is no such tool'}",
        "the control plane is as it was; is the snapshot of this version of etcd, or an older one?",
    )


def _tools(node: Node, text: str) -> List[Tuple[List[str], str]]:
    """How etcd's tools are called: in the root of etcd itself, or in a container of its image."""
    for pid in inside("/proc"):
        words = read(f"/proc/{pid}/cmdline").split("\0") if pid.isdigit() else []
        if os.path.basename(words[0] if words else "") != "etcd":
            continue
        if f"--data-dir={flag(text, 'data-dir')}" in words:
            root = f"/proc/{pid}/root"
            return [
                (["chroot", place(root), f"/{folder}/{tool}"], tool)
                for tool in TOOLS
                for folder in FOLDERS
                if os.path.exists(place(f"{root}/{folder}/{tool}"))
            ]
    if shutil.which("ctr") is None:
        raise RefusedError(
            "etcd does not run, and there is no ctr to run its tool from its image",
            "start etcd first: systemctl status kubelet, crictl ps -a --name etcd",
        )
    image = next(line.split(": ", 1)[1] for line in text.splitlines() if " image: " in line)
    folder = flag(text, "data-dir")
    mount = f"type=bind,src={place(folder)},dst={folder},options=rbind:rw"
    address = node.cri_socket.replace("unix://", "")
    argv = ["ctr", "--address", address, "-n", "k8s.io", "run", "--rm", "--net-host"]
    argv += ["--env", "ETCDCTL_API=3", "--mount", mount, image.strip()]
    return [([*argv, f"aiprov-{tool}-{os.getpid()}", tool], tool) for tool in TOOLS]
