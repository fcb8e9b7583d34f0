"""Packages that have to be at one version together: which version that is.

What moved behind our back is moved back, as long as the version that the others have will do and
can still be had; nothing is upgraded because a newer version came out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aiprov.errors import UnsupportedError
from aiprov.plan import Desired
from aiprov.resources import HostState, Package, address
from aiprov.versions import satisfies, upstream


def levelled(items: Sequence[Desired], state: HostState) -> list[Desired]:
    """The items, packages of a set with the one upstream version that the set comes to.

    A set of which nothing can be had yet (its repository is not there) is left as it was wanted.
    Raises ``UnsupportedError`` where there is no version that all of the set can be had at.
    """
    versions = {
        name: version
        for name, members in _sets(items).items()
        if (version := _version(name, members, state)) is not None
    }
    return [_at(item, versions) for item in items]


def _at(item: Desired, versions: Mapping[str, str]) -> Desired:
    package = item.resource
    if not isinstance(package, Package) or package.together is None or package.absent:
        return item
    version = versions.get(package.together, package.version)
    return replace(item, resource=replace(package, version=version))


def _sets(items: Iterable[Desired]) -> dict[str, list[Package]]:
    found: dict[str, list[Package]] = {}
    for item in items:
        package = item.resource
        if isinstance(package, Package) and package.together is not None and not package.absent:
            found.setdefault(package.together, []).append(package)
    return found


def _version(name: str, members: Sequence[Package], state: HostState) -> str | None:
    can_have = [_can_have(package, state) for package in members]
    if not all(can_have):
        return None  # the planner says of each what it waits for, or that it is nowhere
    common = [version for version in can_have[0] if all(version in have for have in can_have)]
    if not common:
        raise UnsupportedError(
            f"the packages of {name} have no version in common: "
            + ", ".join(
                f"{package.name} can be had at {have[0]}"
                for package, have in zip(members, can_have, strict=True)
            ),
            hint="the repository is being updated, or a pin holds some of them back; run "
            "apt-get update or dnf makecache on the host, then plan again",
        )
    present = Counter(
        upstream(version) for package in members if (version := _installed(package, state))
    )
    settled = [version for version, _ in present.most_common() if version in common]
    return settled[0] if settled else common[0]


def _can_have(package: Package, state: HostState) -> list[str]:
    """The upstream versions that will do and can be had, newest first; the present one too."""
    now = state.get(address(package), {})
    offers = [*(now.get("candidates") or ())]
    installed = now.get("version")
    if installed is not None:
        offers.append(installed)
    fitting = (v for v in offers if satisfies(v, package.version, package.at_least))
    return list(dict.fromkeys(upstream(version) for version in fitting))


def _installed(package: Package, state: HostState) -> str | None:
    version = state.get(address(package), {}).get("version")
    return str(version) if version is not None else None
