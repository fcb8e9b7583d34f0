"""What is known of a host before its payload starts: its contract, its GPUs, what measures them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from aiprov import payload_files
from aiprov.catalog import gpus as catalog
from aiprov.checks.burn_in import Device
from aiprov.checks.campaign import Target
from aiprov.checks.expectations import Expectations, document, expectations_from
from aiprov.checks.model import Subject
from aiprov.checks.validation import Gpu
from aiprov.errors import CatalogError, HostError, UsageError
from aiprov.payload.telemetry import parsed
from aiprov.survey.facts import Facts, Interface
from aiprov.validation.remote import Remote

ROLE = "gpu_validation"
_INSIDE = ("docker", "br-", "veth", "virbr", "cni", "cali", "flannel", "cilium", "lxc", "kube")


class NotReadyError(HostError):
    """A host that cannot be validated as it is: not prepared, or its GPUs are somebody's."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A GPU and the payload's device that measures it; without an ``address`` it is no GPU."""

    device: str
    subject: Subject
    address: str = ""
    pci_id: str = ""
    model: str = ""
    uuid: str = ""

    @property
    def known(self) -> bool:
        """Whether the catalog knows its model."""
        try:
            catalog.gpu(self.pci_id)
        except CatalogError:
            return False
        return True

    @property
    def kind(self) -> str:
        """What those have in common that can be measured together: their model. All processors that
        stand for GPUs are of one kind, whatever they stand for.
        """
        return self.model if self.device.startswith("cuda") else ""

    @property
    def gpu(self) -> Gpu:
        """As reports name it."""
        return Gpu(subject=self.subject, model=self.model, address=self.address, uuid=self.uuid)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A host that can be validated. ``numa``: the node of each GPU, as the kernel says.

    ``address`` and ``interface``: where other hosts find it; empty where nobody can tell.
    ``addresses``: by interface its first IPv4 address.
    """

    boot_id: str
    contract: Expectations
    measured: tuple[Measured, ...]
    numa: Mapping[str, int | None]
    address: str = ""
    interface: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)

    @property
    def devices(self) -> dict[str, Device]:
        """As the payload's judge takes them. A processor that stands for a GPU has no peak."""
        wanted = {gpu.address: gpu for gpu in self.contract.gpus}
        found = {}
        for one in self.measured:
            own = wanted.get(one.address)
            pcie = (
                (own.pcie_generation, own.pcie_width)
                if own and own.pcie_generation and own.pcie_width
                else None
            )
            real = one.device.startswith("cuda")
            found[one.device] = Device(
                subject=one.subject, pci_id=one.pci_id if real else "", pcie=pcie if real else None
            )
        return found

    @property
    def targets(self) -> tuple[Target, ...]:
        """As a campaign is planned for. Copies between GPUs are where their model is joined."""
        devices = self.devices
        numbers = [int(one.device.partition(":")[2]) for one in self.measured]
        found = []
        for number, one in zip(numbers, self.measured, strict=True):
            own = devices[one.device]
            row = catalog.gpu(own.pci_id) if own.pci_id and one.known else None
            joined = row is not None and row.fabric != "none"
            found.append(
                Target(
                    host=one.subject.host,
                    device=one.device,
                    subject=one.subject,
                    pci_id=own.pci_id,
                    memory_bytes=(row.memory_gib << 30) if row else 0,
                    address=one.address,
                    peers=tuple(other for other in numbers if joined and other != number),
                    pcie=own.pcie,
                )
            )
        return tuple(found)

    @property
    def gpus(self) -> dict[str, Subject]:
        """The GPUs by address."""
        return {one.address: one.subject for one in self.measured if one.address}

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "contract": document(self.contract)}


def prepared_from(told: Mapping[str, Any]) -> Prepared:
    """Of JSON."""
    measured = tuple(
        Measured(**{**one, "subject": Subject(**one["subject"])}) for one in told["measured"]
    )
    contract = expectations_from(told["contract"])
    return Prepared(**{**told, "measured": measured, "contract": contract})


# ---------------------------------------------------------------- asking the host


def prepare(remote: Remote, device: str) -> Prepared:
    """See that a host can be validated, and what there is to measure. Changes nothing.

    Raises ``NotReadyError`` for what has to be done first, else ``HostError``.
    """
    facts = remote.facts()
    contract = _contract(remote)
    _same_payload(remote)
    seen, problem = _seen(remote)
    measured = _real(remote.host, seen, problem) if device == "cuda" else _stood_for(facts, seen)
    interface, address = _address(facts, remote.address)
    return Prepared(
        address=address,
        interface=interface,
        addresses=_addresses(facts),
        boot_id=facts.boot_id,
        contract=contract,
        measured=measured,
        numa={item.address: item.numa_node for item in facts.pci_devices},
    )


def _address(facts: Facts, named: str) -> tuple[str, str]:
    """The interface and IPv4 address that other hosts reach: that of the inventory, or the first.

    Bridges and ends of containers' networks lead nowhere from outside.
    """
    found = [
        (item.name, address)
        for item in facts.interfaces
        if not item.name.startswith(_INSIDE)
        for address in _ipv4(item)
    ]
    return next((one for one in found if one[1] == named), found[0] if found else ("", ""))


def _addresses(facts: Facts) -> dict[str, str]:
    return {item.name: _ipv4(item)[0] for item in facts.interfaces if _ipv4(item)}


def _ipv4(item: Interface) -> list[str]:
    """An interface's addresses, but those that lead to no other network."""
    found = (address.partition("/")[0] for address in item.addresses)
    return [one for one in found if ":" not in one and not one.startswith("169.254.")]


def _hint(host: str) -> str:
    return f"aiprov apply --role {ROLE} -l {host}"


def _contract(remote: Remote) -> Expectations:
    path = remote.places.contract
    text = remote.read(path)
    if text is None:
        raise NotReadyError(
            remote.host,
            f"nothing says what it should have: there is no {path}",
            hint=_hint(remote.host),
        )
    try:
        found = expectations_from(json.loads(text))
    except (ValueError, AttributeError, UsageError) as error:
        raise NotReadyError(remote.host, f"{path}: {error}", hint=_hint(remote.host)) from error
    return replace(found, host=remote.host)


def _same_payload(remote: Remote) -> None:
    laid = remote.read(remote.places.version)
    if laid is None:
        raise NotReadyError(remote.host, "the payload is not on the host", hint=_hint(remote.host))
    if laid.strip() != payload_files.version():
        raise NotReadyError(
            remote.host,
            f"its payload is another ({laid.strip()[:40]}) than this aiprov's "
            f"({payload_files.version()})",
            hint=_hint(remote.host),
        )


def _seen(remote: Remote) -> tuple[Mapping[str, Mapping[str, Any]], str]:
    """GPUs by address as nvidia-smi tells of them; where it tells of none, why."""
    done = remote.smi()
    text = done.stdout.decode("utf-8", "replace")
    if done.rc == 127:
        return {}, "there is no nvidia-smi on the host"
    if done.rc in (124, 137):
        return {}, "nvidia-smi hangs"
    try:
        gpus: Mapping[str, Mapping[str, Any]] = parsed(text)["gpus"]
    except ValueError as error:
        said = (text + done.stderr.decode("utf-8", "replace")).strip().splitlines()
        return {}, f"nvidia-smi: {said[-1][:200]}" if done.rc and said else str(error)
    return gpus, ""


def _real(host: str, seen: Mapping[str, Mapping[str, Any]], problem: str) -> tuple[Measured, ...]:
    if not seen:
        raise NotReadyError(host, problem, hint=f"aiprov doctor -l {host} says what is wrong")
    cut = sorted(address for address, gpu in seen.items() if gpu.get("mig"))
    if cut:
        raise NotReadyError(
            host,
            f"MIG is on ({', '.join(cut)}), and a validation takes whole GPUs",
            hint="set gpu_sharing_mig to layout: off while it is validated, and apply",
        )
    return tuple(
        _measured(host, f"cuda:{number}", address, str(gpu.get("pci_id") or ""), gpu)
        for number, (address, gpu) in enumerate(sorted(seen.items()))
    )


def _stood_for(facts: Facts, seen: Mapping[str, Mapping[str, Any]]) -> tuple[Measured, ...]:
    """A processor for each GPU on the PCI bus; one for the host itself where it has none."""
    found = [item for item in facts.pci_devices if catalog.is_gpu(item.vendor, item.class_code)]
    if not found:
        return (Measured(device="cpu:0", subject=Subject(host=facts.name)),)
    return tuple(
        _measured(
            facts.name,
            f"cpu:{number}",
            item.address,
            f"{item.vendor}:{item.device}",
            seen.get(item.address, {}),
        )
        for number, item in enumerate(found)
    )


def _measured(
    host: str, device: str, address: str, pci_id: str, told: Mapping[str, Any]
) -> Measured:
    subject = Subject(
        host=host, kind="gpu", id=str(told.get("serial") or address), label=f"GPU {address}"
    )
    return Measured(
        device=device,
        subject=subject,
        address=address,
        pci_id=pci_id,
        model=_model(pci_id, str(told.get("name") or pci_id)),
        uuid=str(told.get("uuid") or ""),
    )


def _model(pci_id: str, otherwise: str) -> str:
    try:
        return catalog.gpu(pci_id).name
    except CatalogError:
        return otherwise


def models(hosts: Sequence[Prepared]) -> dict[Subject, str]:
    """The model of each GPU that did the work itself, and of each host of such: rates are compared
    among those alike.
    """
    found: dict[Subject, str] = {}
    for host in hosts:
        own = [one for one in host.measured if one.device.startswith("cuda")]
        found |= {one.subject: one.model for one in own}
        if len({one.model for one in own}) == 1:
            found[Subject(host=own[0].subject.host)] = f"{len(own)} x {own[0].model}"
    return found
