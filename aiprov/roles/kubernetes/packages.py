"""Kubernetes' packages: at one version, held, and changed by an upgrade of the cluster alone."""

from __future__ import annotations

from aiprov.catalog import OperatingSystem, kubernetes_repositories
from aiprov.resources import Package, Replaces, Resource
from aiprov.roles import Note
from aiprov.roles.kubernetes.runtime import repository
from aiprov.roles.kubernetes.settings import Vars

NAMES = ("kubelet", "kubeadm", "kubectl")


def resources(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """The packages in the whole version."""
    hold = vars.kubernetes_hold
    before = [Package(name=os.hold_package)] if hold and os.hold_package is not None else []
    return [
        *before,
        *(
            Package(name=name, version=vars.kubernetes_version, hold=hold, replaces=_replaces(vars))
            for name in NAMES
        ),
    ]


def addresses() -> tuple[str, ...]:
    """What has to be installed before the node can join."""
    return tuple(f"Package[{name}]" for name in NAMES)


def notes(vars: Vars) -> list[Note]:
    """Until when the catalog's text of the signing key may be used; there is no clock here."""
    if vars.kubernetes_repository_url is None or vars.kubernetes_repository_key is not None:
        return []
    ends = kubernetes_repositories.signing_key("kubernetes").expires
    text = (
        f"the key of Kubernetes' packages that the catalog has ends on {ends}; after that, give "
        "its newer text (Release.key of the repository) as kubernetes_repository_key"
    )
    return [Note(level="reason", text=text)]


def repository_resources(vars: Vars, os: OperatingSystem) -> list[Resource]:
    """The repository of the version's minor."""
    if vars.kubernetes_repository_url is None:
        return []
    before = [Package(name="ca-certificates")] if os.family == "debian" else []
    key = vars.kubernetes_repository_key or kubernetes_repositories.signing_key("kubernetes").text
    row = repository("kubernetes", vars.kubernetes_repository_url, key, vars.kubernetes_version, os)
    return [*before, row]


def _replaces(vars: Vars) -> Replaces:
    """What may be installed: this version, or in an upgrade its minor and the one before."""
    version = vars.kubernetes_version
    major, minor, _ = version.split(".")
    if not vars.kubernetes_upgrade:
        return Replaces(
            versions=(version,),
            hint="upgrade the cluster, host after host: aiprov cluster upgrade; or "
            "set kubernetes_version to what is installed",
        )
    return Replaces(
        versions=(f"{major}.{minor}", f"{major}.{int(minor) - 1}"),
        hint="kubeadm goes up one minor version at a time, and never back: upgrade to "
        f"{major}.{int(minor) - 1} first",
    )
