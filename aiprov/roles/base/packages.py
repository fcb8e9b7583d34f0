"""Packages, holds, and the package manager's own options."""

from __future__ import annotations

from aiprov.catalog import OperatingSystem
from aiprov.resources import File, Package, Resource
from aiprov.roles.base.settings import Vars

# /etc/dnf/dnf.conf as RHEL 8 to 10 ship it: dnf 4 reads no drop-ins, so the file is owned whole.
DNF_DEFAULTS = {
    "gpgcheck": "1",
    "installonly_limit": "3",
    "clean_requirements_on_remove": "True",
    "best": "True",
    "skip_if_unavailable": "False",
}


def options(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """The package manager's options."""
    if os.family == "redhat":
        return _dnf(vars)
    return [
        File(path="/etc/apt/apt.conf.d/90aiprov", content=_apt(vars)),
        # Read after 50unattended-upgrades; apt's lists add up.
        File(path="/etc/apt/apt.conf.d/52aiprov-unattended-upgrades", content=_kept_off(vars)),
    ]


def packages(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """The packages that the inventory asks for."""
    wanted: list[Resource] = [Package(name=n, absent=True) for n in vars.base_packages_absent]
    if os.hold_package is not None:
        wanted.append(Package(name=os.hold_package))
    for name in vars.base_packages:
        if name not in vars.base_packages_held:
            wanted.append(Package(name=name))
    for name, version in vars.base_packages_held.items():
        wanted.append(Package(name=name, version=version, hold=True))
    return wanted


def _apt(vars: Vars) -> str:
    values = {
        "DPkg::Lock::Timeout": str(vars.base_apt_lock_timeout_s),
        "Acquire::Retries": str(vars.base_apt_retries),
    }
    if vars.base_apt_install_recommends is not None:
        values["APT::Install-Recommends"] = str(vars.base_apt_install_recommends).lower()
    values |= vars.base_apt_options
    return "".join(f'{name} "{value}";\n' for name, value in values.items())


def _kept_off(vars: Vars) -> str:
    # Holds keep the packages themselves; this also keeps off what is not installed yet, and says
    # so in unattended-upgrades' log.
    lines = "".join(f'  "{start}";\n' for start in vars.base_unattended_upgrades_keep_off)
    return f"Unattended-Upgrade::Package-Blacklist {{\n{lines}}};\n"


def _dnf(vars: Vars) -> list[Resource]:
    # dnf takes its proxy from the environment (librepo, curl), and the lock it waits for by itself.
    if not vars.base_dnf_options:
        return []
    values = {**DNF_DEFAULTS, **vars.base_dnf_options}
    text = "[main]\n" + "".join(f"{name}={value}\n" for name, value in values.items())
    return [File(path="/etc/dnf/dnf.conf", content=text)]
