"""In which order a first boot takes what is wanted, and what of it cloud-init writes itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aiprov.plain_files import repository_files
from aiprov.resources import (
    AptRepository,
    DnfRepository,
    File,
    Merge,
    Resource,
    Service,
    address,
)


def in_order(resources: Sequence[Resource]) -> list[Resource]:
    """Delivered files after their package, services after the files they are restarted on."""
    # Files find their place first: services follow them.
    moving = sorted(resources, key=lambda item: isinstance(item, Service))
    ordered = list(resources)
    for item in moving:
        after = _comes_after(item)
        positions = [at for at, other in enumerate(ordered) if address(other) in after]
        here = ordered.index(item)
        if positions and max(positions) > here:
            ordered.insert(max(positions) + 1, item)
            del ordered[here]
    return ordered


def _comes_after(resource: Resource) -> frozenset[str]:
    match resource:
        case File(delivered_by=str(package)):
            return frozenset({f"Package[{package}]"})
        case Service(restart_on=paths):
            return frozenset(f"{kind}[{path}]" for path in paths for kind in ("File", "Absent"))
        case _:
            return frozenset()


def watchers(resources: Iterable[Resource]) -> Mapping[str, str]:
    """Each path that services restart on, with the last of those services."""
    services = [item for item in resources if isinstance(item, Service)]
    return {path: service.name for service in services for path in service.restart_on}


# ---------------------------------------------------------------- what cloud-init writes itself

# cloud-init sets the host's name after it has written files, so these are written by the steps.
_LATER_OVERWRITTEN = ("/etc/hostname", "/etc/hosts")


def native_prefix(
    ordered: Sequence[Resource], watched: Mapping[str, str]
) -> tuple[list[Resource], list[Resource]]:
    """The leading resources that ``write_files`` expresses exactly, and the rest.

    Only leading ones: ``write_files`` runs before all else, and a file that is laid down before
    its package is a conflict for dpkg, or changes what the package's own scripts do.
    """
    end = 0
    while end < len(ordered) and _exact_in_write_files(ordered[end], watched):
        end += 1
    return list(ordered[:end]), list(ordered[end:])


def _exact_in_write_files(resource: Resource, watched: Mapping[str, str]) -> bool:
    match resource:
        case AptRepository() | DnfRepository():
            return True
        case File(content=Merge()) | File(delivered_by=str()):
            return False
        case File() as file:
            root = (file.owner, file.group) == ("root", "root")
            plain = file.validate is None and file.path not in watched
            return root and plain and file.path not in _LATER_OVERWRITTEN
        case _:
            return False


def plain_files(resource: Resource) -> tuple[File, ...]:
    """The files that ``write_files`` writes for the resource."""
    match resource:
        case AptRepository() | DnfRepository():
            return repository_files(resource)
        case File():
            return (resource,)
        case _:
            raise TypeError(f"{address(resource)} is no plain file")
