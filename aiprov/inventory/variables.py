"""A host's variables as the inventory gives them: templated when asked for, plain, and located.

Ansible marks every value with where it was written. Those marks are read here and the values are
turned into plain Python types here, so nothing behind this page meets a type of Ansible's.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiprov.errors import InventoryError

Layers = Callable[[], Iterable[Mapping[str, Any]]]
Template = Callable[[Any], Any]

_PLAIN = (str, int, float, bool, type(None), datetime.date)
_VAULT_HEADER = b"$ANSIBLE_VAULT;"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a value is written. ``path`` is relative to the working directory where it can be."""

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


class Omitted(Exception):  # noqa: N818 - a signal, not an error
    """A template asks for the variable to be as if it were not set (``{{ omit }}``)."""


class Variables:
    """The variables of one host. Nothing is read or templated before it is asked for."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, Any]],
        template: Template,
        layers: Layers = tuple,
    ) -> None:
        """``layers`` gives the mappings that were merged, strongest first.

        A merged mapping keeps the weaker one's key and so its place, and ``true`` and ``null``
        cannot carry a mark of their own: only the layers know where those are written.
        """
        self._read = read
        self._template = template
        self._layers = layers
        self._values: dict[str, Any] = {}

    @functools.cached_property
    def _raw(self) -> Mapping[str, Any]:
        return self._read()

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def names(self) -> Iterator[str]:
        """All names, Ansible's own ones too, as plain strings."""
        return (str(name) for name in self._raw)

    def value(self, name: str, default: Any = None) -> Any:
        """The value, templated and decrypted, in plain types; ``default`` where it is not set.

        Raises ``InventoryError`` with the place of a template or a vault that cannot be resolved.
        """
        if name not in self._raw:
            return default
        if name not in self._values:
            try:
                self._values[name] = plain(self._resolved(name))
            except Omitted:
                return default
        return self._values[name]

    def _resolved(self, name: str) -> Any:
        raw = self._raw[name]
        if not _needs_template(raw):
            return raw
        try:
            return self._template(raw)
        except InventoryError as error:
            raise self.error(f"{name}: {error.message}", name, hint=error.hint) from error

    def error(
        self, message: str, name: str, *path: str | int, hint: str | None = None
    ) -> InventoryError:
        """An error at the place where the variable (or a part of it) is written."""
        where = self.location(name, *path)
        if where is None:
            return InventoryError(message, hint=hint)
        return InventoryError(message, hint=hint, path=where.path, line=where.line)

    def location(self, name: str, *path: str | int) -> Location | None:
        """Where the variable, or the part of it that ``path`` leads to, is written."""
        if name not in self._raw:
            return None
        value = self._raw[name]
        where = origin(value)
        if where is None or not isinstance(value, str):
            where = self._key_location(name, where)
        for part in path:
            key, value = _step(value, part)
            where = origin(value) or origin(key) or where
            if value is None:
                break
        return where

    def _key_location(self, name: str, value_at: Location | None) -> Location | None:
        """The place of the name itself, from the strongest layer that has it."""
        layer = next((layer for layer in self._layers() if name in layer), self._raw)
        key_at = origin(next(key for key in layer if key == name))
        if value_at is None or key_at is None:
            return key_at or value_at
        # A key of another file belongs to a weaker layer: the value's own place is the truth.
        near = key_at.path == value_at.path and (value_at.line or 0) - (key_at.line or 0) in (0, 1)
        return key_at if near else value_at

    def vaulted(self, name: str) -> bool:
        """Whether the value is kept encrypted in the inventory."""
        raw = self._raw.get(name)
        if _encrypted(raw):
            return True
        where = origin(raw)
        return where is not None and _vault_file(Path(where.path).absolute())


def plain(value: Any) -> Any:
    """The value in plain types: no tags, no lazy containers; a date is the text that it was."""
    match value:
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case datetime.date():
            return value.isoformat()
        case Mapping():
            return {plain(key): plain(item) for key, item in value.items()}
        case Sequence() | set() | frozenset() if not isinstance(value, bytes):
            return [plain(item) for item in value]
    return value


def origin(value: Any) -> Location | None:
    """Where Ansible says that it read the value.

    The mark is private to ansible-core 2.19 and later; without it errors have no place.
    """
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:  # pragma: no cover - another ansible-core
        return None
    tag = value if isinstance(value, Origin) else Origin.get_tag(value)
    if tag is None or not (tag.path or tag.description):
        return None
    path = relative(tag.path) if tag.path else str(tag.description)
    return Location(path=path, line=tag.line_num or None)


def relative(path: str) -> str:
    """The path as a user would name it: from the working directory, where it lies below that."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)


def _step(value: Any, part: str | int) -> tuple[Any, Any]:
    """The key and the item that ``part`` names in a container; nothing where it has none."""
    if isinstance(value, Mapping):
        return next(((k, v) for k, v in value.items() if k == part), (None, None))
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return None, value[part]
    return None, None


def _needs_template(value: Any) -> bool:
    """Whether Ansible has to resolve the value. Most values are plain, and its engine is slow."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value or "{#" in value
    if isinstance(value, Mapping):
        return any(_needs_template(key) or _needs_template(value[key]) for key in value)
    if isinstance(value, list | tuple):
        return any(_needs_template(item) for item in value)
    return not isinstance(value, _PLAIN)


def _encrypted(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_encrypted(item) for item in value.values())
    if isinstance(value, list):
        return any(_encrypted(item) for item in value)
    return type(value).__name__ == "EncryptedString"


@functools.cache
def _vault_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_VAULT_HEADER)) == _VAULT_HEADER
    except OSError:
        return False
