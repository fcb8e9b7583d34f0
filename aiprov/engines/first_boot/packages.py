"""Packages: lists fetched, exact versions resolved from the repositories' metadata, holds."""

import importlib
from typing import Any, Dict, List

from .commands import StepFailedError
from .versions import satisfies, upstream

Step = Dict[str, Any]


def _manager(step: Step) -> Any:
    """Module ``apt`` or ``dnf``: only the one that the image has is shipped."""
    return importlib.import_module("." + step["manager"], __package__)


def fetch_lists(step: Step) -> bool:
    """Fetch the package lists. Raises ``StepFailedError`` when a repository is unreachable."""
    _manager(step).fetch_lists()
    return True


def ensure_packages(step: Step) -> bool:
    """One transaction: neighbours of one direction, so that pinned sets go in together."""
    manager = _manager(step)
    if step["absent"]:
        gone = [item["name"] for item in step["packages"] if manager.installed(item["name"])]
        if gone:
            manager.finish_interrupted()
            manager.remove(gone)
        return bool(gone)
    packages = _levelled(manager, step["packages"])
    specs = [_spec(manager, item) for item in packages if not _present(manager, item)]
    if specs:
        manager.finish_interrupted()
        manager.install(specs)
    holds = [manager.hold(item["name"], item["hold"]) for item in step["packages"]]
    return bool(specs) or any(holds)


def _levelled(manager: Any, packages: List[Step]) -> List[Step]:
    """The packages, those of a set with the newest upstream version that all of it is offered in.

    Raises ``StepFailedError`` where there is none.
    """
    sets = {}  # type: Dict[str, List[Step]]
    for item in packages:
        if item.get("together"):
            sets.setdefault(item["together"], []).append(item)
    versions = {name: _common(manager, name, members) for name, members in sets.items()}
    return [{**p, "version": versions.get(p.get("together", ""), p["version"])} for p in packages]


def _common(manager: Any, name: str, members: List[Step]) -> str:
    offers = [
        [upstream(offer) for offer in manager.offers(p["name"], p["version"]) if _fits(offer, p)]
        for p in members
    ]
    for version in offers[0]:
        if all(version in others for others in offers):
            return version
    raise StepFailedError(f"the packages of {name} are not on offer in one version")


def _fits(offer: str, package: Step) -> bool:
    return satisfies(offer, package["version"], package.get("at_least"))


def _present(manager: Any, package: Step) -> bool:
    version = manager.installed(package["name"])
    return version is not None and _fits(version, package)


def _spec(manager: Any, package: Step) -> str:
    """What to ask the package manager for. Raises ``StepFailedError`` when nothing fits."""
    name, wanted = package["name"], package["version"]
    if wanted is None and not package.get("at_least"):
        return str(name)
    offers = manager.offers(name, wanted)
    for offer in offers:
        if _fits(offer, package):
            return str(name + manager.SEPARATOR + offer)
    shown = ", ".join(offers[:5]) or "none"
    raise StepFailedError(f"{name} {wanted} is not on offer; there is: {shown}")
