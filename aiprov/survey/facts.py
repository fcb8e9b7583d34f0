"""What a host *is*, and no role changes: OS, architecture, kernel, PCI devices, memory, network.

Pure parsers over the agent's raw answer. GPUs are found by PCI id, never by a tool that a role
installs.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from aiprov.errors import SurveyError

Family = Literal["debian", "redhat"]


@dataclass(frozen=True, kw_only=True)
class PciDevice:
    """One PCI function. Ids are lower-case hex without ``0x``; link speed in GT/s."""

    address: str
    vendor: str
    device: str
    class_code: str
    subsystem_vendor: str = ""
    subsystem_device: str = ""
    driver: str = ""
    numa_node: int | None = None
    link_speed: float | None = None
    link_width: int | None = None


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A network interface and its addresses in CIDR notation."""

    name: str
    mac: str = ""
    mtu: int = 0
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A host's facts. ``name`` is the inventory's name of it, ``hostname`` its own."""

    name: str
    hostname: str
    os_id: str  # os-release ID: debian, ubuntu, rhel, rocky, almalinux
    os_version: str  # VERSION_ID: 12, 24.04, 9.6
    os_codename: str  # bookworm, noble; empty where there is none
    os_name: str  # PRETTY_NAME
    family: Family
    architecture: str  # uname -m: x86_64, aarch64
    kernel: str  # uname -r
    python: str  # 3.11.2
    boot_id: str
    cpus: int
    memory_bytes: int
    swap_bytes: int = 0
    virtualization: str = ""  # systemd-detect-virt; empty on bare metal
    secure_boot: bool | None = None  # None: not an EFI machine
    mok_enrolled: bool = False  # the firmware knows the machine owner key that DKMS signs with
    kernels: tuple[str, ...] = ()  # installed kernels that can be booted; none in a container
    cgroup_version: Literal[1, 2] = 2
    pci_devices: tuple[PciDevice, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    time_zone: str = ""

    @property
    def deb_architecture(self) -> str:
        """dpkg's name of the architecture: amd64, arm64."""
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(self.architecture, self.architecture)

    @property
    def next_kernel(self) -> str:
        """The kernel that the next boot runs: the newest that is installed."""
        return max(self.kernels, key=kernel_order, default=self.kernel)

    @property
    def os_major(self) -> str:
        """The OS's major version: 12, 24, 9."""
        return self.os_version.partition(".")[0]


# ---------------------------------------------------------------- from the agent's raw answer

_DEBIAN = frozenset({"debian", "ubuntu"})
_REDHAT = frozenset({"rhel", "centos", "fedora", "rocky", "almalinux", "ol"})


def facts_from(answer: Mapping[str, Any], name: str) -> Facts:
    """A host's facts. Raises ``SurveyError`` for an OS that aiprov does not know, or nonsense."""
    try:
        return _facts(answer, name)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SurveyError(
            name,
            f"the facts that the host gave make no sense ({type(error).__name__}: {error})",
            hint="please report this as a defect, with the output of: aiprov facts -v",
        ) from error


def _facts(answer: Mapping[str, Any], name: str) -> Facts:
    files = answer["files"]
    release = os_release(files.get("/etc/os-release") or files.get("/usr/lib/os-release") or "")
    _, hostname, kernel, _, architecture = answer["uname"]
    return Facts(
        name=name,
        hostname=hostname,
        os_id=release.get("ID", "linux"),
        os_version=release.get("VERSION_ID", ""),
        os_codename=release.get("VERSION_CODENAME") or release.get("UBUNTU_CODENAME") or "",
        os_name=release.get("PRETTY_NAME") or release.get("NAME", ""),
        family=family(release, name),
        architecture=architecture,
        kernel=kernel,
        python=answer["python"],
        boot_id=(files.get("/proc/sys/kernel/random/boot_id") or "").strip(),
        cpus=int(answer["cpus"]),
        memory_bytes=memory_bytes(files.get("/proc/meminfo") or ""),
        swap_bytes=swap_bytes(files.get("/proc/swaps") or ""),
        virtualization=virtualization(answer["virtualization"]),
        secure_boot=secure_boot(efi=bool(answer["efi"]), variable=answer["secure_boot"]),
        mok_enrolled=any("already enrolled" in out for _, out, _ in answer["owner_keys"]),
        kernels=tuple(answer["kernels"]),
        cgroup_version=2 if answer["cgroup2"] else 1,
        pci_devices=tuple(_pci(key, raw) for key, raw in sorted(answer["pci"].items())),
        interfaces=interfaces(answer),
        time_zone=time_zone(answer.get("localtime"), files.get("/etc/timezone")),
    )


def as_json(facts: Facts) -> dict[str, Any]:
    """The facts as a plain document."""
    return asdict(facts)


def os_release(text: str) -> dict[str, str]:
    """The fields of an os-release file; lines that are none are passed over."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or not key.isidentifier():
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            words = [value.strip("\"'")]
        fields[key] = " ".join(words)
    return fields


def family(release: Mapping[str, str], name: str) -> Family:
    """Which family the OS is of, by its own id, then by what it says it is like."""
    for os_id in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        if os_id in _DEBIAN:
            return "debian"
        if os_id in _REDHAT:
            return "redhat"
    shown = release.get("PRETTY_NAME") or release.get("ID") or "an OS without os-release"
    raise SurveyError(
        name,
        f"{shown} is not an OS that aiprov knows",
        hint="supported: Debian 12 and 13, Ubuntu 22.04 to 26.04, RHEL, Rocky and Alma 8 to 10",
    )


def memory_bytes(meminfo: str) -> int:
    """MemTotal of /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def swap_bytes(swaps: str) -> int:
    """The sum of the sizes in /proc/swaps."""
    sizes = (line.split()[2:3] for line in swaps.splitlines()[1:])
    return sum(int(size[0]) * 1024 for size in sizes if size and size[0].isdigit())


def virtualization(answer: Sequence[Any]) -> str:
    """What systemd-detect-virt said; empty on bare metal or where it is not there."""
    word = str(answer[1]).strip()
    return "" if word == "none" or " " in word else word


def secure_boot(*, efi: bool, variable: str) -> bool | None:
    """The EFI variable: four bytes of attributes, then its value."""
    return None if not efi else bytes.fromhex(variable)[4:5] == b"\x01"


def kernel_order(version: str) -> tuple[tuple[int, str], ...]:
    """A key by which kernel versions sort as they came out: numbers as numbers."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def interfaces(answer: Mapping[str, Any]) -> tuple[Interface, ...]:
    """All interfaces but the loopback, from ``ip -j addr``, or from /sys where ip is not there."""
    rc, out, _ = answer["ip"]
    if rc == 0:
        try:
            found = [_interface(raw) for raw in json.loads(out)]
        except ValueError:
            found = []
        if found:
            return tuple(item for item in found if item.name != "lo")
    ipv6 = answer["files"].get("/proc/net/if_inet6") or ""
    return tuple(
        Interface(
            name=name,
            mac=(raw["address"] or "").strip(),
            mtu=int(raw["mtu"] or 0),
            addresses=tuple(_ipv6(ipv6, name)),
        )
        for name, raw in sorted(answer["net"].items())
        if name != "lo"
    )


def _interface(raw: Mapping[str, Any]) -> Interface:
    return Interface(
        name=raw["ifname"],
        mac=raw.get("address", ""),
        mtu=int(raw.get("mtu", 0)),
        addresses=tuple(
            f"{item['local']}/{item['prefixlen']}"
            for item in raw.get("addr_info", ())
            if "local" in item
        ),
    )


def _ipv6(text: str, name: str) -> Iterator[str]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[5] == name:
            yield f"{ipaddress.IPv6Address(bytes.fromhex(fields[0]))}/{int(fields[2], 16)}"


def time_zone(link: str | None, text: str | None) -> str:
    """The zone's name, by where /etc/localtime leads."""
    _, found, zone = (link or "").partition("zoneinfo/")
    return zone if found else (text or "").strip()


def _pci(address: str, raw: Mapping[str, Any]) -> PciDevice:
    def field(key: str) -> str:
        return (raw.get(key) or "").strip().lower().removeprefix("0x")

    numa = field("numa_node")
    speed = re.match(r"[\d.]+", field("current_link_speed"))
    width = field("current_link_width")
    return PciDevice(
        address=address,
        vendor=field("vendor"),
        device=field("device"),
        class_code=field("class"),
        subsystem_vendor=field("subsystem_vendor"),
        subsystem_device=field("subsystem_device"),
        driver=(raw.get("driver") or "").rpartition("/")[2],
        numa_node=int(numa) if numa.isdigit() else None,  # -1: the machine has no nodes
        link_speed=float(speed[0]) if speed else None,
        link_width=int(width) if width.isdigit() and int(width) else None,
    )
