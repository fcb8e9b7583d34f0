"""The base of every host: its packages' rules, name, clock, kernel settings, proxies and trust."""

from __future__ import annotations

from collections.abc import Container

from aiprov import catalog
from aiprov.resources import Package, Resource
from aiprov.roles import Cluster
from aiprov.roles.base import clock, identity, kernel, network, packages
from aiprov.roles.base.settings import Vars
from aiprov.survey.facts import Facts

__all__ = ["REQUIRES", "Vars", "resources", "unsuitable"]

REQUIRES: tuple[str, ...] = ()


def unsuitable(vars: Vars, host: Facts) -> str | None:
    """Every host has a base."""
    return None


def resources(vars: Vars, host: Facts, cluster: Cluster) -> list[Resource]:
    """What every host should have.

    What the package manager needs (its options, proxy and trust) comes before any package. Raises
    ``UnsupportedError`` on an OS that the catalog does not have.
    """
    os = catalog.operating_system(host.os_id, host.os_version)
    wanted = [
        *packages.options(vars, os),
        *network.proxies(vars, os),
        *network.certificates(vars, os),
        *packages.packages(vars, os),
        *identity.name(vars, host),
        *identity.etc_hosts(vars, host, cluster),
        *identity.cloud_init(vars, host),
        *clock.zone(vars, os),
        *clock.sync(vars, os, host),
        *kernel.kernel(vars, host),
    ]
    return _once(wanted, held=vars.base_packages_held)


def _once(wanted: list[Resource], *, held: Container[str]) -> list[Resource]:
    """Each resource once: the inventory may ask for a package that is there for another reason."""
    once: list[Resource] = []
    for resource in wanted:
        is_held = isinstance(resource, Package) and resource.name in held and not resource.hold
        if resource not in once and not is_held:
            once.append(resource)
    return once
