"""Who can be in a pair across hosts, at which address, and through which adapter.

By the settings of each host's role, its facts, and what its journal told of ports in the stages
before. Only GPUs of the same model meet: others need not be equally fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiprov.checks.pair_tests import Place
from aiprov.checks.pairs import Endpoint
from aiprov.validation.course import FIRST
from aiprov.validation.folder import Folder, HostFolder
from aiprov.validation.prepared import ROLE, Prepared, prepared_from

if TYPE_CHECKING:
    from aiprov.inventory import Inventory
    from aiprov.roles.gpu_validation.settings import Vars

Record = Mapping[str, Any]

WHAT = "pairs across hosts"
NOT_ASKED = f"{WHAT}: --no-pairs was given"
OF_PORT = 0.6
"""Of the rate of the slower port, that a pair must reach: with what a working path shows at
messages of this size there is room above it, and a port that has lost half of its lanes is below.
"""
NETWORK = "network"
"""The name of what a host is reached through, where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a host's GPUs meet others, as it is set. See the role's settings of the same names."""

    pairs: bool = True
    interface: str = ""
    address: str = ""
    adapters: tuple[str, ...] | None = None
    gbs: float | None = None


@dataclass(frozen=True, kw_only=True)
class Known:
    """Who can be in a pair, by model; what each must reach (see ``least``); who cannot, and why."""

    places: Mapping[str, tuple[Place, ...]]
    least_gbs: Mapping[str, float | None] = field(default_factory=dict)
    not_tested: tuple[str, ...] = ()


def wishes(inventory: Inventory) -> dict[str, Wishes]:
    """By host what is set. Raises ``AiprovError`` for settings that cannot be."""
    from aiprov import settings

    found: dict[str, Wishes] = {}
    for host, own in settings.resolve_all(inventory).items():
        if ROLE in own.every:
            chosen: Vars = own.every[ROLE]  # type: ignore[assignment]
            found[host] = Wishes(
                pairs=chosen.gpu_validation_pairs,
                interface=chosen.gpu_validation_pair_interface or "",
                address=chosen.gpu_validation_pair_address or "",
                adapters=chosen.gpu_validation_pair_adapters,
                gbs=chosen.gpu_validation_pair_gbs,
            )
    return found


def known_of(folder: Folder, present: Mapping[str, str], wished: Mapping[str, Wishes]) -> Known:
    """Who can be in a pair, of the hosts that were measured to their end.

    ``present``: by host nothing, or why it has to be left out.
    """
    campaign = folder.campaign
    here = [host for host in campaign.hosts if present.get(host) == ""]
    if len(here) < 2 and len(campaign.hosts) == 1:
        return Known(places={}, not_tested=(f"{WHAT}: there is only one host",))
    absent = {host: present.get(host, "it was not measured to its end") for host in campaign.hosts}
    left_out = [f"{WHAT} of {host}: {why}" for host, why in absent.items() if why]
    found = known(
        [prepared_from(folder.host(host).json("prepared.json")) for host in here],
        wished,
        {host: _links(folder.host(host)) for host in here},
        campaign.device,
    )
    return replace(found, not_tested=(*left_out, *found.not_tested))


def _links(host: HostFolder) -> Record:
    """The last that the host's journal told of its ports."""
    told = [one for one in host.records(FIRST) if one["event"] == "links" and one.get("ports")]
    return told[-1] if told else {}


def known(
    ready: Sequence[Prepared],
    wished: Mapping[str, Wishes],
    ports: Mapping[str, Record],
    device: str,
) -> Known:
    """Who can be in a pair. ``ports``: by host the last record ``links`` of its journal."""
    places: dict[str, list[Place]] = {}
    left_out: list[str] = []
    rates: dict[str, list[float | None]] = {}
    for one in ready:
        host = one.contract.host
        own, told = wished.get(host, Wishes()), ports.get(host, {})
        interface, address = _where(one, own)
        why = _why_not(own, address)
        if why:
            left_out.append(f"{WHAT} of {host}: {why}")
            continue
        near = adapters(one, own, told) if device == "cuda" else {}
        for measured in one.measured:
            nic = near.get(measured.device, "")
            end = Endpoint(
                host=host, gpu=measured.device, nic=nic or interface or NETWORK
            )  # fmt: skip
            places.setdefault(measured.kind, []).append(
                Place(endpoint=end, device=measured.device, address=address,
                      interface=interface, rdma=bool(nic))
            )  # fmt: skip
            rates.setdefault(measured.kind, []).append(own.gbs or _gbs(told, nic))
    for model, members in list(places.items()):
        if len({place.endpoint.host for place in members}) < 2:
            (host,) = {place.endpoint.host for place in members}
            what = f" with {model}" if model else ""
            left_out.append(f"{WHAT} of {host}: no other host{what} can be met")
            del places[model]
    least = {model: _least(rates[model]) if device == "cuda" else None for model in places}
    return Known(
        places={model: tuple(members) for model, members in places.items()},
        least_gbs=least,
        not_tested=tuple(left_out),
    )


def _why_not(own: Wishes, address: str) -> str:
    if not own.pairs:
        return "gpu_validation_pairs is false"
    if not address and own.interface:
        return f"{own.interface} has no IPv4 address (gpu_validation_pair_interface)"
    return "" if address else "it has no IPv4 address; gpu_validation_pair_address can say one"


def _where(one: Prepared, own: Wishes) -> tuple[str, str]:
    """The interface and the address; an interface that is not known is empty."""
    if own.interface:
        return own.interface, own.address or one.addresses.get(own.interface, "")
    if own.address:
        found = [name for name, address in one.addresses.items() if address == own.address]
        return (found[0] if found else ""), own.address
    return one.interface, one.address


# ---------------------------------------------------------------- adapters


def adapters(one: Prepared, own: Wishes, told: Record) -> dict[str, str]:
    """By device the RDMA device that it uses: what is set, or the nearest of the fastest ports.

    Of equally near ones GPUs take one each. Nothing where there is no active port: plain TCP.
    """
    devices = [measured.device for measured in one.measured]
    if own.adapters is not None:
        count = len(own.adapters)
        return {
            device: own.adapters[number % count] for number, device in enumerate(devices) if count
        }
    fast = {
        name.partition("/")[0]: port
        for name, port in sorted((told.get("ports") or {}).items())
        if port.get("state") == "ACTIVE" and _rate(port) == _fastest(told)
    }
    taken = dict.fromkeys(fast, 0)
    found: dict[str, str] = {}
    gpus = told.get("gpus") or {}
    for measured in one.measured if fast else ():
        way = (gpus.get(measured.address) or {}).get("way") or []
        best = max(fast, key=lambda name: (_shared(way, fast[name].get("way") or []), -taken[name]))
        taken[best] += 1
        found[measured.device] = best
    return found


def _rate(port: Record) -> float:
    rate = port.get("rate_gbps")
    return float(rate) if isinstance(rate, int | float) else 0.0


def _fastest(told: Record) -> float:
    ports = (told.get("ports") or {}).values()
    return max((_rate(port) for port in ports if port.get("state") == "ACTIVE"), default=0.0)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How far two devices share their way from the processor."""
    count = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        count += 1
    return count


# ---------------------------------------------------------------- what a pair must reach


def _gbs(told: Record, adapter: str) -> float | None:
    """What a port must carry; ``None``: its rate is not known, or there is none."""
    ports = told.get("ports") or {}
    rates = [_rate(port) for name, port in ports.items() if name.partition("/")[0] == adapter]
    return OF_PORT * max(rates) / 8 if any(rates) else None


def _least(rates: Sequence[float | None]) -> float:
    """What all pairs of a model must reach; 0: nobody knows of all, and the fleet tells."""
    seen = [rate for rate in rates if rate is not None]
    return min(seen) if seen and len(seen) == len(rates) else 0.0
