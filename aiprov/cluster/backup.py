"""Copies of what a cluster knows, brought to the controller and back; and new certificates."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from aiprov.cluster.members import Member, Members
from aiprov.cluster.plane import ADMIN, Hosts, Say, answering
from aiprov.errors import HostError, UnreachableError, UsageError
from aiprov.programs.kube.snapshot import PIECE, digest_of

ETCD = "/etc/kubernetes/manifests/etcd.yaml"
"""By which a host is known as a control plane that kubelet starts."""
RENEW_S = 1800.0


def snapshot(hosts: Hosts, members: Members, path: Path) -> tuple[str, int]:
    """Copy etcd into a file of mode 0600, whole or not at all: which host it is of, and its size.

    It holds the cluster's secrets. Raises ``UsageError`` for a file that is there or cannot be
    written, ``HostError``
    where etcd gives none, or what came is not whole.
    """
    if path.exists():
        raise UsageError(f"{path} is there already", hint="give a file that is not there yet")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(descriptor, "w+b") as out:
                plane = _taken(hosts, members, out)
            size = part.stat().st_size
            os.link(part, path)  # never over a file that came meanwhile
        finally:
            part.unlink()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="give a file in a folder that is there and has room"
        ) from error
    return plane.host.name, size


def _taken(hosts: Hosts, members: Members, out: IO[bytes]) -> Member:
    plane = answering(hosts, members)
    hosts.must(plane, (ADMIN, "snapshot", "-"), into=out, timeout_s=None)
    out.flush()
    os.fsync(out.fileno())
    if digest_of(out) is None:
        raise HostError(
            plane.host.name,
            "the snapshot is not whole: its digest is not that of what it holds",
            hint="run it again; aiprov cluster status tells how etcd is",
        )
    return plane


def restoring(members: Members, path: Path, host: str | None) -> Member:
    """The control plane that a snapshot is given to: the first, or the one that is named.

    Raises ``UsageError`` for a host that is none, and for a file that is no whole snapshot.
    """
    planes = {member.host.name: member for member in members.control_planes}
    chosen = host or next(iter(planes))
    if chosen not in planes:
        raise UsageError(f"{chosen} is no control plane", hint=f"they are {', '.join(planes)}")
    try:
        with path.open("rb") as source:
            good = digest_of(source) is not None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="give a snapshot's file") from error
    if not good:
        raise UsageError(
            f"{path} is no whole snapshot of etcd",
            hint="give a file that `aiprov cluster snapshot` or `etcdctl snapshot save` has made",
        )
    return planes[chosen]


def refuse_others(
    hosts: Hosts, members: Members, plane: Member, *, unreachable_ok: bool = False
) -> None:
    """See that every other control plane has ended: the cluster would go on there, beside this one.

    The control plane itself looks too, but what it cannot reach may well live for others. Raises
    ``HostError`` for one that has not, ``UnreachableError`` for one that is not reached, unless
    that is said to be well.
    """
    for member in members.control_planes:
        if member is plane:
            continue
        try:
            ended = hosts.run(member, ("test", "!", "-e", ETCD)).rc == 0
        except UnreachableError as error:
            if unreachable_ok:
                continue
            raise UnreachableError(
                error.host,
                error.message,
                hint="if it is gone for good: --unreachable-ok. It may not come back but reset",
            ) from error
        if not ended:
            raise HostError(
                member.host.name,
                "it is a control plane yet: there would be two clusters of one name",
                hint=f"first: aiprov cluster reset -l {member.host.name}, then again",
            )


def restore(hosts: Hosts, plane: Member, path: Path, say: Say) -> None:
    """Have a control plane begin again from a snapshot. Raises ``HostError``."""
    hosts.must(plane, (ADMIN, "restore", "-"), say, stdin=_pieces(path), timeout_s=None)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while piece := source.read(PIECE):
            yield piece


def renew(hosts: Hosts, members: Members, say: Say) -> None:
    """New certificates on all control planes, one after the other. Raises ``HostError``."""
    for member in members.control_planes:
        hosts.must(member, (ADMIN, "renew"), say, timeout_s=RENEW_S)
