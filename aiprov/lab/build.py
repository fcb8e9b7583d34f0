"""Bring a lab up and take it down: the two sequences everything else is called from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiprov.errors import LabError
from aiprov.lab import base, cgroups, daemon, inventory, limits, network, tree
from aiprov.lab.access import wait_for
from aiprov.lab.gpus import Gpus, gpus, is_gpu
from aiprov.lab.kubernetes import UPSTREAM, nodes
from aiprov.lab.machine import replace, require, require_root
from aiprov.lab.pci import PciDevice
from aiprov.lab.state import KUBERNETES, Folder, Host, Intent, Network, cache_directory, locked
from aiprov.lab.vendor import Kind, served

Part = Literal["control-plane", "worker", "node"]
PARTS: Mapping[Part, tuple[str, ...]] = {
    "control-plane": ("kube_control_plane",),
    "worker": ("kube_worker",),
    "node": (),
}
"""The inventory's groups of a host that has this part in a cluster."""
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789-"
_MOST = 240


@dataclass(frozen=True, kw_only=True)
class HostSpec:
    """A host as it is wanted. ``gpus``: plain PCI devices, or what ``gpus("h200x8")`` makes.

    ``kubernetes``: what it is for in a cluster: ``control-plane``, ``worker``, or ``node`` for a
    host that is made for it and in no cluster yet.
    """

    name: str
    suite: str = "bookworm"
    python: bool = True
    gpus: Gpus | Sequence[PciDevice] = ()
    kubernetes: Sequence[Part] = ()
    groups: Sequence[str] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def named(
        cls, text: str, *, suite: str = "bookworm", hardware: str = "", groups: Sequence[str] = ()
    ) -> HostSpec:
        """The host of ``NAME[:SUITE[:PART,…][,GPUS]]``.

        ``suite`` and ``hardware`` are taken where it leaves them out. Raises ``LabError`` for
        GPUs that make no sense.
        """
        name, own_suite, rest = (*text.split(":", 2), "", "")[:3]
        words = rest.split(",")
        parts = [word for word in words if word in PARTS]
        wanted = ",".join(word for word in words if word not in PARTS) or hardware
        return cls(
            name=name,
            suite=own_suite or suite,
            gpus=gpus(wanted) if wanted else (),
            kubernetes=[part for part in PARTS if part in parts],
            groups=groups,
        )

    @property
    def has(self) -> Gpus:
        """Its devices, and what is broken about them."""
        return self.gpus if isinstance(self.gpus, Gpus) else Gpus(devices=self.gpus)


def up(
    hosts: Iterable[HostSpec],
    directory: Path,
    *,
    variables: Mapping[str, Any] | None = None,
    vendor: Sequence[Kind] = (),
    kubernetes: Sequence[str] = (),
    say: Callable[[str], object] = lambda text: None,
    boot_timeout: float = 600,
) -> None:
    """Bring these hosts up, next to those that the lab in this folder has already.

    ``vendor``: the stand-in repositories that the new hosts use; those with GPUs use apt's always.
    ``kubernetes``: its versions that there are, beside the lab's own for hosts that have a part.
    May be called again: what is there and running is left alone, what is off is booted.
    """
    require()
    wanted = list(hosts)
    _check(wanted)
    bases = _bases(wanted, say)
    folder = Folder(directory.absolute())
    folder.root.mkdir(parents=True, exist_ok=True)
    with locked(folder.lock):
        net = _foundation(folder, variables)
        known = {host.name for host in folder.read_hosts()}
        fresh = [spec for spec in wanted if spec.name not in known]
        kinds = list(vendor) or ["apt"] * any(_uses_stand_ins(spec, vendor) for spec in fresh)
        versions = _kubernetes(wanted, kubernetes)
        served.serve(folder, kinds, kubernetes=versions, say=say)
        nodes.lay_images(folder, versions)
        _register(folder, net, fresh, vendor)
        names = {spec.name: spec for spec in wanted}

        def begin(host: Host) -> None:
            spec = names[host.name]
            if not (folder.host(host.name) / "made").exists():
                _make(folder, host, net, bases[spec.suite, spec.python], spec.has)

        chosen = [host for host in folder.read_hosts() if host.name in names]
        with ThreadPoolExecutor(max_workers=4) as workers:
            list(workers.map(begin, chosen))
            tree.write_known_hosts(folder)
            inventory.write(folder)
            list(workers.map(lambda host: boot(folder, host), chosen))
            list(workers.map(lambda host: wait_for(folder, host, boot_timeout), chosen))
        noun = "host" if len(chosen) == 1 else "hosts"
        say(f"{len(chosen)} {noun} up, with the inventory {folder.inventory}")


def _bases(
    wanted: Iterable[HostSpec], say: Callable[[str], object]
) -> dict[tuple[str, bool], Path]:
    """The base trees that these hosts need, built side by side where they are missing."""
    kinds = sorted({(spec.suite, spec.python) for spec in wanted})
    with ThreadPoolExecutor() as workers:
        paths = workers.map(lambda kind: base.ensure(kind[0], python=kind[1], say=say), kinds)
        return dict(zip(kinds, paths, strict=True))


def _check(wanted: Sequence[HostSpec]) -> None:
    names = [spec.name for spec in wanted]
    for name in names:
        if not name or not set(name) <= set(_NAME) or name[0] == "-" or len(name) > 63:
            raise LabError(
                f"{name!r} is not a host name", hint="use lower-case letters, digits and hyphens"
            )
    for spec in wanted:
        if not spec.python and any(is_gpu(device) for device in spec.has.devices):
            raise LabError(
                f"{spec.name}: simulated GPUs need a host with Python",
                hint="leave python=False out: the programs that simulate them are written in it",
            )
    if len(set(names)) != len(names):
        raise LabError("two hosts of the lab have the same name")
    if len(names) > _MOST:
        raise LabError(f"a lab holds {_MOST} hosts at most")


def _foundation(folder: Folder, variables: Mapping[str, Any] | None) -> Network:
    """Keys, network and proxy: what the hosts of a lab share."""
    if folder.closing.exists():
        raise LabError(f"{folder.root} is being taken down", hint="run: aiprov lab down")
    if not folder.key.exists():
        scratch = folder.root / "new_key"
        scratch.unlink(missing_ok=True)
        tree.make_key(scratch, "aiprov-lab")
        scratch.with_suffix(".pub").replace(folder.key.with_suffix(".pub"))
        scratch.replace(folder.key)
    if not folder.password.exists():
        replace(folder.password, f"{tree.new_password()}\n", mode=0o600)
    if variables is not None:
        replace(folder.variables, json.dumps(dict(variables), sort_keys=True), mode=0o600)
    net = folder.network() if folder.network_file.exists() else network.create(folder)
    limits.raise_for_labs()
    network.configure(net)
    if daemon.running(folder.proxy) is None:
        store = str(cache_directory() / "packages")
        daemon.start("aiprov.lab.proxy", folder.proxy, [str(folder.root), store, *base.SUITES])
    return net


def _uses_stand_ins(spec: HostSpec, vendor: Sequence[Kind]) -> bool:
    return bool(vendor) or any(is_gpu(device) for device in spec.has.devices)


def _kubernetes(wanted: Sequence[HostSpec], asked: Sequence[str]) -> list[str]:
    """The versions that a lab with these hosts has; upstream's own where there is any."""
    own = [UPSTREAM] if any(spec.kubernetes for spec in wanted) or asked else []
    return [*own, *asked]


def _register(
    folder: Folder, net: Network, specs: Iterable[HostSpec], vendor: Sequence[Kind]
) -> None:
    used = {host.index for host in folder.read_hosts()}
    free = (index for index in range(_MOST) if index not in used)
    folder.journal.record(Intent("group", net.bridge))
    for spec in specs:
        index = next(free)
        host = Host(
            name=spec.name,
            index=index,
            address=net.address(index),
            suite=spec.suite,
            python=spec.python,
            machine=f"{net.bridge}-{index}",
            group=f"{net.bridge}/{index}",
            groups=(*spec.groups, *_own_groups(spec, vendor)),
            variables=tuple({**nodes.own_variables(spec.kubernetes), **spec.variables}.items()),
        )
        folder.write_host(host)


def _own_groups(spec: HostSpec, vendor: Sequence[Kind]) -> list[str]:
    """The groups that the lab itself puts a host into."""
    parts = [group for part in spec.kubernetes for group in PARTS[part]]
    made = [KUBERNETES] if spec.kubernetes else []
    return [*parts, *made, *[served.GROUP] * _uses_stand_ins(spec, vendor)]


def _make(folder: Folder, host: Host, net: Network, source: Path, has: Gpus) -> None:
    """The host's tree, from nothing or from a copy that was interrupted."""
    own = folder.tree(host.name)
    if own.exists():
        tree.remove(own)
    tree.copy(source, own)
    tree.personalise(folder, host, net, has)
    if served.GROUP in host.groups:
        served.lay(folder, own)
    (folder.host(host.name) / "made").touch()


def boot(folder: Folder, host: Host) -> None:
    """Switch a host on, unless it is."""
    if daemon.running(folder.host(host.name)) is None:
        power_off(folder, host)  # what is left of a keeper that was killed
        daemon.start("aiprov.lab.keeper", folder.host(host.name), [str(folder.root), host.name])


def power_off(folder: Folder, host: Host) -> None:
    """Cut a host's power: nothing is shut down, nothing is left running."""
    daemon.stop(folder.host(host.name))
    cgroups.kill(host.group)
    cgroups.remove(host.group)
    network.unplug(network.port(host.machine))


def remove_host(directory: Path, name: str) -> None:
    """Take one host out of a lab and remove all that it was."""
    folder = Folder(directory.absolute())
    with locked(folder.lock):
        host = folder.read_host(name)
        power_off(folder, host)
        tree.remove(folder.host(name))
        tree.write_known_hosts(folder)
        inventory.write(folder)


def down(directory: Path) -> None:
    """Remove everything that the lab in this folder is, whatever state it is in.

    May be interrupted and run again, and does nothing where there is no lab.
    """
    folder = Folder(directory.absolute())
    base.sweep()
    if not folder.lock.exists():
        return
    require_root()
    with locked(folder.lock):
        folder.closing.touch()
        for place in (*sorted(folder.hosts.glob("*")), folder.proxy, folder.delay):
            daemon.stop(place)
        intents = folder.journal.intents()
        for intent in reversed(intents):
            if intent.kind == "group":
                cgroups.kill(intent.name)
                cgroups.remove(intent.name)
        for intent in intents:
            if intent.kind == "bridge":
                network.remove(intent)
        limits.restore_after_labs(network.PREFIX)
        with ThreadPoolExecutor() as workers:
            list(workers.map(tree.remove, folder.hosts.glob("*")))
        for place in (folder.hosts, folder.proxy, folder.delay, folder.images):
            tree.remove(place)
        _remove_files(folder)


def _remove_files(folder: Folder) -> None:
    """The lab's files, the journal late and the lock last; a folder with other files stays."""
    last = [folder.journal.path, folder.closing, folder.lock]
    named = (
        *(folder.key, folder.key.with_suffix(".pub"), folder.known_hosts, folder.ssh_config),
        *(folder.inventory, folder.password, folder.network_file, folder.variables),
        folder.vendor,
        *folder.root.glob(".*.new"),
        *folder.root.glob("new_key*"),
    )
    for path in (*named, *last):
        path.unlink(missing_ok=True)
    if not any(folder.root.iterdir()):
        folder.root.rmdir()
