"""The contract of a host: what it should have, as provisioning writes it, and what differs.

A field that is ``None`` is not expected to be anything, which the check says. A field that is
expected and cannot be read is not measured. Links of GPUs rest when nothing uses them, so their
speed and width count under load only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from aiprov import FORMAT_VERSION
from aiprov.catalog import gpus as catalog
from aiprov.catalog.performance import performance
from aiprov.checks.document import same_format
from aiprov.checks.model import Bound, Check, Measurement, Relation, Scalar, Subject
from aiprov.errors import UsageError
from aiprov.survey.facts import Facts

PATH = "/etc/aiprov/expectations.json"
"""Where provisioning writes it on a host."""
NAME = "inventory"
"""Of the checks that come of it."""

_INFINIBAND = "0207"
_FULL_WIDTH = 16


@dataclass(frozen=True, kw_only=True)
class ExpectedGpu:
    """One GPU. ``address`` as the kernel writes it: ``0000:19:00.0``.

    ``pcie_generation`` and ``pcie_width``: at least, under load. ``nvlinks``: active ones, each of
    at least ``nvlink_gbs`` GB/s in one direction. ``vbios``: one that is asked for; that all GPUs
    of a model have the same is expected anyway.
    """

    address: str
    pci_id: str
    pcie_generation: int | None = None
    pcie_width: int | None = None
    nvlinks: int | None = None
    nvlink_gbs: float | None = None
    numa_node: int | None = None
    ecc: bool | None = None
    persistence: bool | None = None
    mig: bool | None = None
    vbios: str | None = None


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """What a host should have.

    ``port_count``: at least so many InfiniBand ports are active, each with ``port_gbps`` Gb/s.
    """

    host: str
    gpus: tuple[ExpectedGpu, ...] = ()
    gpu_count: int = 0
    driver: str | None = None
    port_count: int | None = None
    port_gbps: float | None = None


Observed = Mapping[str, Any]
"""What was read on a host: absent or null is: could not be read.

``driver``; ``gpus``: by address ``pci_id vbios serial numa_node ecc persistence mig``, ``nvlinks``
(GB/s of each active one), ``idle`` and ``load`` with ``pcie_generation pcie_width``;
``ports``: by name (``mlx5_0/1``) ``state rate_gbps``.
"""


# ---------------------------------------------------------------- what provisioning writes


def expected(
    facts: Facts,
    *,
    driver: str | None = None,
    gpu_count: int | None = None,
    pcie_generation: int | None = None,
    mig: bool | None = None,
    port_gbps: float | None = None,
) -> Expectations:
    """What a host should have by its facts, the catalog and what its settings say.

    ``gpu_count``: of the inventory, so that a GPU that is lost when the host is provisioned is
    missed all the same; without it, as many as are there. ``pcie_generation``: of the slots, where
    they are older than the GPUs.
    """
    found = [item for item in facts.pci_devices if catalog.is_gpu(item.vendor, item.class_code)]
    gpus = tuple(
        replace(
            _expected_gpu(item.address, f"{item.vendor}:{item.device}", alone=len(found) == 1),
            numa_node=item.numa_node,
            mig=mig,
        )
        for item in found
    )
    if pcie_generation is not None:
        gpus = tuple(replace(gpu, pcie_generation=pcie_generation) for gpu in gpus)
    ports = sum(item.class_code[:4] == _INFINIBAND for item in facts.pci_devices)
    return Expectations(
        host=facts.name,
        gpus=gpus,
        gpu_count=len(gpus) if gpu_count is None else gpu_count,
        driver=driver,
        port_count=ports or None,
        port_gbps=port_gbps if ports else None,
    )


def _expected_gpu(address: str, pci_id: str, *, alone: bool) -> ExpectedGpu:
    model, limits = catalog.gpu(pci_id), performance(pci_id)
    joined = limits is not None and limits.nvlinks > 0 and model.fabric != "none" and not alone
    return ExpectedGpu(
        address=address,
        pci_id=pci_id,
        pcie_generation=(limits.pcie_generation or None) if limits else None,
        pcie_width=_FULL_WIDTH if limits and limits.pcie_generation else None,
        nvlinks=limits.nvlinks if limits and joined else None,
        nvlink_gbs=limits.nvlink_gbs / limits.nvlinks if limits and joined else None,
        ecc=True if model.segment == "datacenter" else None,
        persistence=True,
    )


def document(contract: Expectations) -> dict[str, Any]:
    """As JSON."""
    return {"format_version": FORMAT_VERSION, **asdict(contract)}


def expectations_from(told: Mapping[str, Any]) -> Expectations:
    """Of JSON. Raises ``UsageError`` for another format or nonsense."""
    same_format(told, "expectations", "; apply the role gpu_validation again")
    try:
        return Expectations(
            host=told["host"],
            gpus=tuple(ExpectedGpu(**gpu) for gpu in told["gpus"]),
            gpu_count=told["gpu_count"],
            driver=told["driver"],
            port_count=told["port_count"],
            port_gbps=told["port_gbps"],
        )
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"the expectations make no sense ({type(error).__name__}: {error})",
            hint="apply the role gpu_validation again",
        ) from error


# ---------------------------------------------------------------- what differs


@dataclass(frozen=True, kw_only=True)
class _Field:
    """How a field of a GPU is compared. ``read`` says what was observed; ``None``: nothing."""

    relation: Relation
    read: Callable[[Observed], Scalar | None]
    unit: str = ""


def _under_load(name: str) -> Callable[[Observed], Scalar | None]:
    return lambda gpu: (gpu.get("load") or {}).get(name)


def _plain(name: str) -> Callable[[Observed], Scalar | None]:
    return lambda gpu: gpu.get(name)


def _links(gpu: Observed) -> int | None:
    return None if gpu.get("nvlinks") is None else len(gpu["nvlinks"])


def _slowest_link(gpu: Observed) -> float | None:
    return min((link for link in gpu.get("nvlinks") or ()), default=None)


_GPU_FIELDS: Mapping[str, _Field] = {
    "pci_id": _Field(relation="exactly", read=_plain("pci_id")),
    "pcie_generation": _Field(relation="at least", read=_under_load("pcie_generation")),
    "pcie_width": _Field(relation="at least", read=_under_load("pcie_width"), unit="lanes"),
    "nvlinks": _Field(relation="at least", read=_links),
    "nvlink_gbs": _Field(relation="at least", read=_slowest_link, unit="GB/s"),
    "numa_node": _Field(relation="exactly", read=_plain("numa_node")),
    "ecc": _Field(relation="exactly", read=_plain("ecc")),
    "persistence": _Field(relation="exactly", read=_plain("persistence")),
    "mig": _Field(relation="exactly", read=_plain("mig")),
    "vbios": _Field(relation="exactly", read=_plain("vbios")),
}


def diff(contract: Expectations, observed: Observed | None, why: str = "") -> tuple[Check, ...]:
    """One check of the host and one of each GPU that is expected.

    ``observed`` is ``None`` where nothing could be read, and ``why`` says why.
    """
    host = Subject(host=contract.host)
    if observed is None:
        return (Check(name=NAME, subject=host, error=why or "nothing could be read"),)
    gpus: Observed = observed.get("gpus") or {}
    listed = observed.get("gpus") is not None
    checks = [
        _gpu_check(contract.host, gpu, gpus.get(gpu.address), listed=listed)
        for gpu in contract.gpus
    ]
    named = {gpu.address for gpu in contract.gpus}
    measurements = [
        _measured("GPUs", contract.gpu_count, _count(observed.get("gpus")), "exactly"),
        _measured("GPUs at other addresses", 0, _others(observed.get("gpus"), named), "at most"),
        *_vbios_spread(gpus),
        *_port_measurements(contract, observed.get("ports")),
    ]
    if contract.driver is not None:
        driver = observed.get("driver")
        measurements.append(_measured("driver", contract.driver, driver, "exactly"))
    not_tested = () if contract.driver is not None else ("driver: no version is expected",)
    own = Check(name=NAME, subject=host, measurements=(*measurements,), not_tested=not_tested)
    return (own, *checks)


def _gpu_check(host: str, gpu: ExpectedGpu, seen: Observed | None, *, listed: bool) -> Check:
    known = seen or {}
    subject = Subject(
        host=host,
        kind="gpu",
        id=str(known.get("serial") or gpu.address),
        label=f"GPU {gpu.address}",
    )
    there = _measured("present", True, (seen is not None) if listed else None, "exactly")
    if seen is None:
        return Check(name=NAME, subject=subject, measurements=(there,))
    measurements, not_tested = [there], []
    for name, how in _GPU_FIELDS.items():
        wanted = getattr(gpu, name)
        if wanted is None:
            not_tested.append(f"{name}: nothing is expected")
        else:
            value = how.read(seen)
            measurements.append(_measured(name, wanted, value, how.relation, how.unit))
    return Check(
        name=NAME, subject=subject, measurements=(*measurements,), not_tested=(*not_tested,)
    )


def _measured(
    name: str, wanted: Scalar, value: Scalar | None, relation: Relation, unit: str = ""
) -> Measurement:
    bound = Bound(
        relation=relation, value=wanted, basis="expectation", reason="as it was provisioned"
    )
    return Measurement(
        name=name, value=value, unit=unit, bounds=(bound,), reason="it could not be read"
    )


def _count(found: Mapping[str, Any] | None) -> int | None:
    return None if found is None else len(found)


def _others(found: Mapping[str, Any] | None, named: set[str]) -> int | None:
    return None if found is None else len(set(found) - named)


def _vbios_spread(gpus: Observed) -> Iterable[Measurement]:
    """GPUs of one model on one host have one VBIOS."""
    by_model: dict[str, list[str | None]] = {}
    for gpu in gpus.values():
        by_model.setdefault(str(gpu.get("pci_id")), []).append(gpu.get("vbios"))
    for model, versions in sorted(by_model.items()):
        known = {version for version in versions if version}
        value = None if None in versions else len(known)
        yield _measured(f"VBIOS versions of {model}", 1, value, "at most")


def _port_measurements(contract: Expectations, ports: Observed | None) -> Iterable[Measurement]:
    known = {} if ports is None else ports
    rates = {
        name: port.get("rate_gbps") for name, port in known.items() if port.get("state") == "ACTIVE"
    }
    if contract.port_count is not None:
        active = None if ports is None else len(rates)
        yield _measured("active ports", contract.port_count, active, "at least")
    if contract.port_gbps is not None:
        slowest = None if None in rates.values() else min(rates.values(), default=None)
        yield _measured("slowest port", contract.port_gbps, slowest, "at least", "Gb/s")


def fleet_vbios(observed: Mapping[str, Observed]) -> tuple[Check, ...]:
    """Whether all hosts have the VBIOS of each model that most have; one check a host.

    Where no version has the most there is none to have, and it is not measured.
    """
    counts: dict[str, Counter[str]] = {}
    for host in observed.values():
        for gpu in (host.get("gpus") or {}).values():
            counts.setdefault(str(gpu.get("pci_id")), Counter())[str(gpu.get("vbios"))] += 1
    usual = {model: _most_common(versions) for model, versions in counts.items()}
    return tuple(
        Check(
            name="VBIOS of the fleet",
            subject=Subject(host=host),
            measurements=tuple(
                _fleet_measurement(address, gpu, usual[str(gpu.get("pci_id"))])
                for address, gpu in sorted((told.get("gpus") or {}).items())
            ),
        )
        for host, told in sorted(observed.items())
    )


def _most_common(versions: Counter[str]) -> str | None:
    first, *others = versions.most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def _fleet_measurement(address: str, gpu: Observed, usual: str | None) -> Measurement:
    bounds = () if usual is None else (
        Bound(relation="exactly", value=usual, basis="fleet", reason="most GPUs of the model"),
    )  # fmt: skip
    return Measurement(
        name=f"VBIOS of {address}", value=gpu.get("vbios"), bounds=bounds,
        reason="it could not be read",
    )  # fmt: skip
