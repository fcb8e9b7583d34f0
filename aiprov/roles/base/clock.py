"""Time: the zone, and who keeps the clock."""

from __future__ import annotations

from aiprov.catalog import OperatingSystem
from aiprov.errors import UnsupportedError
from aiprov.resources import Directory, File, Link, Package, Resource, Service
from aiprov.roles.base.settings import Vars
from aiprov.survey.facts import Facts

# systemd-detect-virt's containers share their machine's clock and may not set it: their time
# services are skipped by their own ConditionVirtualization or ConditionCapability.
CONTAINERS = (
    "systemd-nspawn",
    "lxc",
    "lxc-libvirt",
    "docker",
    "podman",
    "openvz",
    "rkt",
    "proot",
    "pouch",
    "container-other",
)
TIMESYNCD = "/etc/systemd/timesyncd.conf.d"


def zone(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """The time zone."""
    if vars.base_time_zone is None:
        return []
    path = f"/usr/share/zoneinfo/{vars.base_time_zone}"
    wanted: list[Resource] = [
        Package(name="tzdata"),
        Link(path="/etc/localtime", target=path),
    ]
    if os.family == "debian":
        wanted.append(File(path="/etc/timezone", content=f"{vars.base_time_zone}\n"))
    return wanted


def sync(vars: Vars, os: OperatingSystem, host: Facts) -> list[Resource]:
    """The one time service; the others go, because two of them fight over the clock."""
    if vars.base_time_sync == "none" or host.virtualization in CONTAINERS:
        return []
    choice = os.time_sync if vars.base_time_sync == "auto" else vars.base_time_sync
    if choice == "chrony":
        return _chrony(vars, os)
    if os.family == "redhat":
        raise UnsupportedError(
            f"{os.name} has no systemd-timesyncd", hint="set base_time_sync: chrony"
        )
    return _timesyncd(vars)


def _timesyncd(vars: Vars) -> list[Resource]:
    wanted: list[Resource] = [
        Package(name="chrony", absent=True),
        Package(name="ntpsec", absent=True),
        Package(name="systemd-timesyncd"),
    ]
    service = "systemd-timesyncd.service"
    if not vars.base_ntp_servers:
        return [*wanted, Service(name=service, enabled=True, running=True)]
    path = f"{TIMESYNCD}/aiprov.conf"
    text = f"[Time]\nNTP={' '.join(vars.base_ntp_servers)}\n"
    return [
        *wanted,
        Directory(path=TIMESYNCD),
        File(path=path, content=text),
        Service(name=service, enabled=True, running=True, restart_on=(path,)),
    ]


def _chrony(vars: Vars, os: OperatingSystem) -> list[Resource]:
    debian = os.family == "debian"
    service = "chrony.service" if debian else "chronyd.service"
    others = ("systemd-timesyncd", "ntpsec") if debian else ("ntpsec",)
    wanted: list[Resource] = [Package(name=name, absent=True) for name in others]
    wanted.append(Package(name="chrony"))
    if not vars.base_ntp_servers:
        return [*wanted, Service(name=service, enabled=True, running=True)]
    path = "/etc/chrony/chrony.conf" if debian else "/etc/chrony.conf"
    return [
        *wanted,
        File(path=path, content=_chrony_conf(vars, debian=debian)),
        Service(name=service, enabled=True, running=True, restart_on=(path,)),
    ]


def _chrony_conf(vars: Vars, *, debian: bool) -> str:
    # Owned whole: a drop-in could only add servers to the distribution's, not replace them.
    servers = "".join(f"server {server} iburst\n" for server in vars.base_ntp_servers)
    keys = "/etc/chrony/chrony.keys" if debian else "/etc/chrony.keys"
    drift = "/var/lib/chrony/chrony.drift" if debian else "/var/lib/chrony/drift"
    return (
        f"# Written by aiprov: base_ntp_servers.\n{servers}"
        f"driftfile {drift}\nkeyfile {keys}\nntsdumpdir /var/lib/chrony\n"
        "makestep 1.0 3\nrtcsync\nlogdir /var/log/chrony\n"
    )
