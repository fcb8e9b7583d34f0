"""Merging owned keys into a configuration file that somebody else writes to as well.

Keys that are not ours are kept, with their comments where the format has any. A file that already
says what is wanted is returned as it is, to the byte.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, MutableMapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from aiprov.errors import AiprovError
from aiprov.resources import Merge, Secret


class UnreadableError(AiprovError):
    """The file that keys should be merged into is not what its format says."""


def merged(merge: Merge, current: str | None) -> str:
    """The file's new text. ``current`` is ``None`` where there is no file yet.

    Raises ``UnreadableError`` when the current text cannot be parsed: it is never thrown away.
    """
    text = merge.base if current is None else current
    if merge.format == "json":
        return _merge_json(text, merge.values)
    return _merge_toml(text, merge.values)


def has_secret(value: Any) -> bool:
    """Whether a ``Secret`` stands anywhere in nested mappings and lists."""
    if isinstance(value, Mapping):
        return any(has_secret(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_secret(item) for item in value)
    return isinstance(value, Secret)


def _merge_json(text: str, values: Mapping[str, Any]) -> str:
    try:
        document = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise UnreadableError(
            f"not valid JSON at line {error.lineno}: {error.msg}",
            hint="mend the file or move it away; nothing was changed",
        ) from error
    if not isinstance(document, dict):
        raise UnreadableError("not a JSON object", hint="mend the file or move it away")
    if not _set(document, values):
        return text
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _merge_toml(text: str, values: Mapping[str, Any]) -> str:
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise UnreadableError(
            f"not valid TOML: {error}", hint="mend the file or move it away; nothing was changed"
        ) from error
    if not _set(document, values):
        return text
    new = tomlkit.dumps(document)
    # tomlkit keeps comments by editing in place, and has put keys into the wrong table before.
    plain = tomllib.loads(text)
    _set(plain, values)
    return new if _parses_to(new, plain) else tomlkit.dumps(plain)


def _parses_to(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False


def _set(target: MutableMapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Set ``values`` in ``target``, in place. True when that changed anything."""
    changed = False
    for key, value in values.items():
        if isinstance(value, Mapping):
            if not isinstance(target.get(key), MutableMapping):
                target[key] = {}
                changed = True
            changed |= _set(target[key], value)
        elif value is None:
            changed |= target.pop(key, None) is not None
        else:
            plain = _plain(value)
            if key not in target or not _same(target[key], plain):
                target[key] = plain
                changed = True
    return changed


def _plain(value: Any) -> Any:
    """JSON and TOML types only: secrets revealed, tuples as lists, without ``None`` entries."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _same(left: Any, right: Any) -> bool:
    """Equal also in type: ``1`` is not ``True`` and not ``1.0``."""
    unwrapped = left.unwrap() if hasattr(left, "unwrap") else left
    return type(unwrapped) is type(right) and bool(unwrapped == right)
