"""Who the host is: its name, and the names of the others."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import TypeAdapter, ValidationError

from aiprov.errors import UnsupportedError
from aiprov.resources import Command, Directory, File, Resource, Succeeds
from aiprov.roles import Cluster
from aiprov.roles.base.settings import HostName, Vars
from aiprov.survey.facts import Facts

HEAD = """\
# Written by aiprov from the inventory. Further lines: base_etc_hosts_extra.
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
"""


def hostname(vars: Vars, host: Facts) -> str | None:
    """The name that the host should have, or ``None`` where it keeps the one it has.

    Raises ``UnsupportedError`` when the inventory's name of the host cannot be a host's name.
    """
    if not vars.base_manage_hostname:
        return None
    if vars.base_hostname is not None:
        return vars.base_hostname
    if _is_address(host.name) or host.name == "localhost":
        return None
    try:
        return str(TypeAdapter(HostName).validate_python(host.name))
    except ValidationError:
        raise UnsupportedError(
            f"{host.name!r} cannot be a host's name (letters, digits, hyphens and dots)",
            hint="set base_hostname, or base_manage_hostname: false",
        ) from None


def name(vars: Vars, host: Facts) -> list[Resource]:
    """The host's name, live and at every boot."""
    wanted = hostname(vars, host)
    if wanted is None:
        return []
    return [
        File(path="/etc/hostname", content=f"{wanted}\n"),
        Command(
            name=f"hostname {wanted}",
            argv=("hostnamectl", "set-hostname", wanted),
            unless=Succeeds(argv=("grep", "-Fqx", wanted, "/proc/sys/kernel/hostname")),
        ),
    ]


def etc_hosts(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """All hosts of the inventory that have an address in it; the others are left to DNS."""
    if not vars.base_manage_etc_hosts:
        return []
    own = hostname(vars, host) or host.hostname
    lines = [_line(_own_address(host, cluster), own, *([host.name] if host.name != own else []))]
    for other in sorted(cluster.hosts.values(), key=lambda other: other.name):
        if other.name != host.name and _reachable(other.address) and not _is_address(other.name):
            lines.append(_line(other.address, other.name))
    for address, names in vars.base_etc_hosts_extra.items():
        lines.append(f"{address} {' '.join(names)}\n")
    return [File(path="/etc/hosts", content=HEAD + "".join(lines))]


def cloud_init(vars: Vars, host: Facts) -> list[Resource]:
    """Keep cloud-init from setting the name and /etc/hosts anew at every boot."""
    settings = ""
    if hostname(vars, host) is not None:
        settings += "preserve_hostname: true\n"
    if vars.base_manage_etc_hosts:
        settings += "manage_etc_hosts: false\n"
    if not settings:
        return []
    return [
        Directory(path="/etc/cloud"),
        Directory(path="/etc/cloud/cloud.cfg.d"),
        File(path="/etc/cloud/cloud.cfg.d/99-aiprov.cfg", content=settings),
    ]


def _own_address(host: Facts, cluster: Cluster) -> str:
    known = cluster.hosts.get(host.name)
    # Debian's address for a host whose own is not known: 127.0.1.1.
    return known.address if known is not None and _reachable(known.address) else "127.0.1.1"


def _line(address: str, *names: str) -> str:
    """A line with each full name before its short one, so that ``hostname -f`` finds it."""
    told = [name for name in names if not _is_address(name)]
    both = [part for name in told for part in (name, name.partition(".")[0])]
    return f"{address} {' '.join(dict.fromkeys(both))}\n"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _reachable(address: str) -> bool:
    """An IP address that other hosts can use too; an inventory may also have names here."""
    return _is_address(address) and not ip_address(address).is_loopback
