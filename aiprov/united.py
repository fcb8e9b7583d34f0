"""What several roles want of one host, each address once.

Two roles may want the same thing, watch the same service, or own different keys of one file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from aiprov.errors import UnsupportedError
from aiprov.plan import Desired
from aiprov.resources import Absent, Directory, File, Link, Merge, Resource, Service, address

_AGREE = "set the variables of the roles to agree, or drop one of them"


def united(desired: Iterable[Desired]) -> list[Desired]:
    """The wanted resources, each address once, in order.

    A service may be restarted on files of several roles, and then comes after the last of them.
    Files that are merged into are one file with the keys of all. Wanting different things of one
    resource raises ``UnsupportedError``.
    """
    by_address: dict[str, Desired] = {}
    for item in desired:
        name = address(item.resource)
        first = by_address.get(name)
        if first is not None and isinstance(item.resource, Service):
            del by_address[name]
        by_address[name] = item if first is None else _unite(first, item)
    _refuse_two_kinds_at_a_path(by_address.values())
    return list(by_address.values())


def _refuse_two_kinds_at_a_path(items: Iterable[Desired]) -> None:
    """They would undo each other, stage after stage."""
    by_path: dict[str, Desired] = {}
    for item in items:
        if isinstance(item.resource, File | Directory | Link | Absent):
            other = by_path.setdefault(item.resource.path, item)
            if other is not item:
                one, two = address(other.resource), address(item.resource)
                raise UnsupportedError(
                    f"{one} (role {other.role}) and {two} (role {item.role}) exclude each other",
                    hint=_AGREE,
                )


def _unite(first: Desired, second: Desired) -> Desired:
    one, other = _alike(first, second)
    if one != other:
        fields = ", ".join(
            f"{name} {value!r} and {getattr(other, name)!r}"
            for name, value in vars(one).items()
            if value != getattr(other, name, value) and name != "content"
        )
        raise UnsupportedError(
            f"{address(one)} is wanted differently by roles {first.role} and {second.role}"
            + (f": {fields}" if fields else ""),
            hint=_AGREE,
        )
    return replace(first, resource=one)


def _alike(first: Desired, second: Desired) -> tuple[Resource, Resource]:
    """Both resources, with what each may add to the other."""
    one, other = first.resource, second.resource
    if isinstance(one, Service) and isinstance(other, Service):
        files = tuple(dict.fromkeys((*one.restart_on, *other.restart_on)))
        return replace(one, restart_on=files), replace(other, restart_on=files)
    merges = [item for item in (one, other) if isinstance(item, File) and _is_merge(item)]
    return _one_file(first.role, second.role, *merges) if len(merges) == 2 else (one, other)


def _is_merge(file: File) -> bool:
    return isinstance(file.content, Merge)


def _one_file(role: str, other_role: str, one: File, other: File) -> tuple[File, File]:
    """Two merges into one file: the keys of both. What only one of them says of the file holds."""
    ours, theirs = one.content, other.content
    if not isinstance(ours, Merge) or not isinstance(theirs, Merge):
        raise TypeError("both must be merges")
    if ours.format != theirs.format:
        return one, other
    where = f"{one.path} is wanted differently by roles {role} and {other_role}"
    values = _both(ours.values, theirs.values, where)
    content = replace(ours, values=values, base=ours.base or theirs.base)
    more: dict[str, Any] = {
        "content": content,
        "validate": one.validate or other.validate,
        "delivered_by": one.delivered_by or other.delivered_by,
    }
    return replace(one, **more), replace(
        other,
        **{
            **more,
            "validate": other.validate or one.validate,
            "delivered_by": other.delivered_by or one.delivered_by,
        },
    )


def _both(one: Mapping[str, Any], other: Mapping[str, Any], where: str) -> dict[str, Any]:
    united = dict(one)
    for key, value in other.items():
        present = united.get(key)
        if key not in united or present == value:
            united[key] = value
        elif isinstance(present, Mapping) and isinstance(value, Mapping):
            united[key] = _both(present, value, f"{where}: key {key!r}")
        else:
            raise UnsupportedError(f"{where}: key {key!r}", hint=_AGREE)
    return united
