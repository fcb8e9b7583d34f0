"""The cluster's memory: who keeps it, copies of it, and beginning again from one.

    kube-etcd members          the members and how each is, as JSON
    kube-etcd remove NAME      takes one out, unless those that stay could not decide without it
    kube-etcd snapshot PATH    a copy of all that the cluster knows; PATH - is standard output
    kube-etcd restore PATH     this host begins again from it, alone; PATH - is standard input

A snapshot ends with its own SHA-256, by which a damaged one is known. It holds all of the
cluster's secrets: mode 0600. Restoring keeps aside what was there, and where it was cut off it is
run again.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import sys
import time
from typing import IO, Any, Callable, Dict, Iterator, List, Tuple

from . import restoring
from .cluster import ETCD_CLIENT_PORT, Etcd, UnansweredError, member_address
from .host import Node, PassingError, RefusedError, main, place, tell
from .kubectl import again
from .members import etcd
from .snapshot import digest_of

STREAM_S = 60
LOOK_S = 20
REMOVE_S = 60
"""How long etcd's members are asked again, to tell who they are and to take one out."""
Members = List[Dict[str, Any]]


def members(node: Node) -> int:
    """Show who keeps the cluster's memory."""
    end = time.monotonic() + min(LOOK_S, node.wait_s)
    known = again(lambda: listed(node), end, lambda _: None)  # what is told here is the answer
    found = [described(node, member) for member in known]
    tell(json.dumps({"format_version": 1, "members": found}, sort_keys=True))
    return 0


def listed(node: Node) -> Members:
    """All members, as this host's knows them. Raises ``PassingError`` where it does not answer."""
    try:
        return etcd(node.address).members()
    except UnansweredError as error:
        raise PassingError(
            f"etcd at {node.address} does not answer: {error}",
            "crictl ps -a --name etcd and crictl logs tell why",
        ) from error


def described(node: Node, member: Dict[str, Any]) -> Dict[str, Any]:
    """A member, and whether it is well."""
    address = member_address(member)
    reason = ""
    if not member.get("name"):
        reason = "it has never started"
    elif member.get("isLearner"):
        reason = "it is still learning what the others know"
    elif not etcd(address).healthy():
        reason = f"it does not answer at {address}, or has no leader"
    return {
        "name": member.get("name") or address,
        "id": f"{int(member['ID']):x}",
        "address": address,
        "healthy": not reason,
        "reason": reason,
        "this": address == node.address,
    }


def remove(node: Node, name: str) -> int:
    """Take a member out, tried for a while: etcd has no leader when it loses a member or gets one.

    What has no answer may have been done all the same, so each try looks again who is there.
    """
    begun: List[str] = []

    def step() -> int:
        known = listed(node)
        going, staying = parted(node, known, name)
        if going:
            refuse_needed(node, name, going[0], staying)
            begun.append(name)
            try:
                Etcd(node.address).remove(going[0])
            except UnansweredError as error:
                raise PassingError(
                    f"etcd does not remove {name}: {error}", "run it again"
                ) from error
        return len(staying)

    stay = again(step, time.monotonic() + min(REMOVE_S, node.wait_s))
    if not begun:
        tell(f"{name} is no member of etcd")
        return 0
    tell(f"{name} is no member of etcd any more")
    if stay % 2 == 0:
        tell(f"warning: {stay} members stand no more losses than {stay - 1}: add a control plane")
    return 0


def parted(node: Node, known: Members, name: str) -> Tuple[Members, Members]:
    """The members of that name, and the others."""
    # One that never started has no name yet: it is known by its address.
    own = {name, *(peer.address for peer in node.peers if peer.name == name)}
    going = [one for one in known if (one.get("name") or member_address(one)) in own]
    return going, [one for one in known if one not in going]


def refuse_needed(node: Node, name: str, going: Dict[str, Any], others: Members) -> None:
    """Raise ``RefusedError`` for a member that may not go, ``PassingError`` if not just now."""
    if not others:
        raise RefusedError(
            f"{name} is etcd's only member: without it the cluster knows nothing",
            "to end the cluster: aiprov cluster reset -l HOST",
        )
    if member_address(going) == node.address:
        raise RefusedError(
            f"{name} is this host's own member", "remove it by way of another control plane"
        )
    staying = [described(node, member) for member in others]
    well, needed = [one for one in staying if one["healthy"]], len(staying) // 2 + 1
    if len(well) < needed:
        ill = ", ".join(f"{one['name']}: {one['reason']}" for one in staying if not one["healthy"])
        raise PassingError(
            f"without {name} etcd could not decide anything: {len(well)} of the {len(staying)} "
            f"members that stay are well, and it needs {needed} ({ill})",
            "repair those first, or begin again from a snapshot: aiprov cluster restore FILE",
        )


# ---------------------------------------------------------------- snapshots


def snapshot(node: Node, path: str) -> int:
    """Copy what this host's member knows into a file."""
    if path == "-":
        for piece in blobs(node):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return 0
    scratch = f"{place(path)}.part"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as out:
            for piece in blobs(node):
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        with open(scratch, "rb") as source:
            verified(source, path)
        os.replace(scratch, place(path))
    finally:
        if os.path.exists(scratch):
            os.unlink(scratch)
    tell(json.dumps({"format_version": 1, "path": path, "bytes": os.path.getsize(place(path))}))
    return 0


def blobs(node: Node) -> Iterator[bytes]:
    """The snapshot as it comes. Raises ``RefusedError`` where it ends before its end."""
    trust = etcd(node.address).trust
    connection = http.client.HTTPSConnection(
        node.address, ETCD_CLIENT_PORT, timeout=STREAM_S, context=trust
    )
    try:
        connection.request("POST", "/v3/maintenance/snapshot", b"{}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"{answer.status} {answer.read(200).decode(errors='replace')}")
        for line in answer:
            read = json.loads(line.decode())
            if "result" not in read:
                raise ValueError(str(read.get("error")))
            yield base64.b64decode(read["result"].get("blob", ""))
    except (OSError, ssl.SSLError, socket.timeout, http.client.HTTPException, ValueError) as error:
        raise RefusedError(
            f"etcd at {node.address} gives no snapshot: {error}",
            "crictl logs of etcd tell why; kube-admin members shows how it is",
        ) from error
    finally:
        connection.close()


def verified(source: IO[bytes], path: str) -> str:
    """The digest of a snapshot that is whole. Raises ``RefusedError`` for one that is not."""
    digest = digest_of(source)
    if digest is None:
        raise RefusedError(
            f"{path} is no whole snapshot of etcd: its digest is not that of what it holds",
            "give one that `aiprov cluster snapshot` or `etcdctl snapshot save` has made",
        )
    return digest


def restore(node: Node, path: str) -> int:
    """Begin again from a snapshot."""
    restoring.refuse_other_members(node)
    staged = restoring.staged(node, path)
    with open(place(staged), "rb") as source:
        digest = verified(source, path)
    restoring.restore(node, staged, digest)
    return 0


# ---------------------------------------------------------------- the verbs


def run(words: List[str]) -> int:
    """Run a verb. Errors are told on standard error."""
    verbs: Dict[str, Callable[[Node], int]] = {"members": members}
    if len(words) == 2:
        given = words[1]
        verbs = {
            "remove": lambda node: remove(node, given),
            "snapshot": lambda node: snapshot(node, given),
            "restore": lambda node: restore(node, given),
        }
    return main("kube-etcd", verbs, words[:1])
