"""Owned keys set in a TOML file by editing its lines; everything else in it stays as it is.

Python before 3.11 has no TOML parser and no Python writes TOML, so this reads just what is needed
to find a key: table headers, ``key = value`` pairs and how far a value reaches. What it cannot
edit safely (a key inside an inline table, an array of tables) fails the step. Where the host's
Python can parse TOML, the result is parsed and compared with what it should mean.
"""

import json
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .commands import StepFailedError

Path = Tuple[str, ...]

_KEY = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_CLOSERS = {"[": "]", "{": "}"}


class Statement(NamedTuple):
    """A header or a pair: offsets of its lines (``start``, ``end``) and of its ``value``."""

    kind: str  # table, array, pair
    path: Path
    table: Path
    start: int
    end: int
    value: Tuple[int, int]


def merge_toml(text: str, values: Dict[str, Any]) -> str:
    """``values`` set in the TOML text; the text itself where they are there already."""
    new = text if text.endswith("\n") or not text else text + "\n"
    for path, value in _leaves(values, ()):
        new = _remove(new, path) if value is None else _put(new, path, value)
    if new.strip() == text.strip():
        return text
    _compare(text, new, values)
    return new


def _leaves(values: Dict[str, Any], above: Path) -> Iterator[Tuple[Path, Any]]:
    for key, value in values.items():
        path = (*above, key)
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


# ------------------------------------------------------------------ editing


def _put(text: str, path: Path, value: Any) -> str:
    statements = list(_statements(text))
    for item in statements:
        if item.kind == "pair" and item.path == path:
            return _replace(text, item, value)
        if item.kind == "array" and path[: len(item.path)] == item.path:
            raise StepFailedError(f"{dotted(path)} is in an array of tables")
        if item.kind == "pair" and path[: len(item.path)] == item.path:
            raise StepFailedError(f"{dotted(item.path)} has no tables below it")
    if value == {}:
        known = any(item.path[: len(path)] == path for item in statements)
        return text if known else f"{text}\n[{dotted(path)}]\n"
    if any(item.path[: len(path)] == path for item in statements):
        raise StepFailedError(f"{dotted(path)} is a table")
    return _insert(text, statements, path, value)


def _replace(text: str, item: Statement, value: Any) -> str:
    start, end = item.value
    if _same(text[start:end], value):
        return text
    return text[:start] + literal(value) + text[end:]


def _insert(text: str, statements: List[Statement], path: Path, value: Any) -> str:
    table, line = path[:-1], f"{dotted(path[-1:])} = {literal(value)}\n"
    headers = [item for item in statements if item.kind == "table" and item.path == table]
    pairs = [item for item in statements if item.kind == "pair" and item.table == table]
    if any(item.table != table and item.path[: len(table)] == table for item in statements
           if item.kind == "pair" and len(item.table) < len(table)):  # fmt: skip
        raise StepFailedError(f"{dotted(table)} is made by dotted keys")
    if not table and not pairs:
        return line + text
    if not headers and not pairs:
        return f"{text}\n[{dotted(table)}]\n{line}"
    last = (pairs or headers)[-1]
    indent = re.match(r"[ \t]*", text[last.start :])
    assert indent is not None  # noqa: S101 - the pattern matches nothing too
    return text[: last.end] + indent.group() + line + text[last.end :]


def _remove(text: str, path: Path) -> str:
    """Without the pair, or the table and all below it."""
    kept, position = [], 0
    statements = list(_statements(text))
    for number, item in enumerate(statements):
        if item.path[: len(path)] != path:
            continue
        whole = item.kind != "pair" and number + 1 < len(statements)
        end = statements[number + 1].start if whole else item.end
        kept.append(text[position : item.start])
        position = max(position, end)
    return "".join(kept) + text[position:]


def _compare(old: str, new: str, values: Dict[str, Any]) -> None:
    """Where Python can: what was written means what it should. Raises ``StepFailedError``."""
    try:
        import tomllib  # only from Python 3.11 on
    except ImportError:
        return
    try:
        wanted, found = tomllib.loads(old), tomllib.loads(new)
    except ValueError as error:
        raise StepFailedError(f"not valid TOML: {error}") from error
    _set(wanted, values)
    if wanted != found:
        raise StepFailedError("the file's layout is one that cannot be edited at first boot")


def _set(target: Dict[str, Any], values: Dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _set(target.setdefault(key, {}), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value


# ------------------------------------------------------------------ reading


def _statements(text: str) -> Iterator[Statement]:
    table: Path = ()
    position = 0
    while position < len(text):
        start = position
        line_end = _line_end(text, start)
        line = text[start:line_end].strip()
        position = line_end
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            kind = "array" if line.startswith("[[") else "table"
            table, _ = _path(text, text.index("[", start) + (2 if kind == "array" else 1))
            yield Statement(kind, table, table, start, line_end, (start, start))
            continue
        keys, equals = _path(text, start)
        if text[equals : equals + 1] != "=":
            raise _invalid(text, start)
        begin = equals + 1 + len(re.match(r"[ \t]*", text[equals + 1 :]).group())  # type: ignore[union-attr]
        end = _value_end(text, begin)
        position = _line_end(text, end)
        yield Statement("pair", table + keys, table, start, position, (begin, end))


def _invalid(text: str, position: int) -> StepFailedError:
    """Says where, and not what is there: it may be a secret."""
    line = text.count("\n", 0, position) + 1
    return StepFailedError(f"not valid TOML at line {line}")


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _path(text: str, position: int) -> Tuple[Path, int]:
    """The dotted key at the position, and where it ends."""
    keys: List[str] = []
    while True:
        match = _KEY.match(text, position)
        if match is None:
            raise _invalid(text, position)
        quoted, literally, bare = match.groups()
        keys.append(json.loads('"' + quoted + '"') if quoted is not None else literally or bare)
        position = match.end()
        if text[position : position + 1] != ".":
            return tuple(keys), position
        position += 1


def _value_end(text: str, position: int) -> int:
    """Where the value that begins at the position ends: strings, arrays, inline tables, words."""
    closers: List[str] = []
    end = position
    while position < len(text):
        character = text[position]
        if character in "\"'":
            position = end = _string_end(text, position)
            continue
        if character == "#" or (character == "\n" and not closers):
            if not closers:
                break
            position = _line_end(text, position)
            continue
        if character in _CLOSERS:
            closers.append(_CLOSERS[character])
        elif closers and character == closers[-1]:
            closers.pop()
        position += 1
        end = end if character.isspace() else position
    if closers:
        raise StepFailedError("not valid TOML: a bracket is never closed")
    return end


def _string_end(text: str, position: int) -> int:
    quote = text[position]
    mark = quote * 3 if text.startswith(quote * 3, position) else quote
    scan = position + len(mark)
    while not text.startswith(mark, scan):
        scan += 2 if quote == '"' and text[scan : scan + 1] == "\\" else 1
        if scan >= len(text):
            raise StepFailedError("not valid TOML: a string is never closed")
    return scan + len(mark)


def _same(text: str, value: Any) -> bool:
    """Whether the value's text says ``value``. A doubtful case says no and is written anew."""
    if text.startswith("'") and not text.startswith("'''"):
        return bool(text[1:-1] == value)
    try:
        found = json.loads(re.sub(r",\s*]", "]", text))
    except ValueError:
        return False
    return type(found) is type(value) and bool(found == value)


# ------------------------------------------------------------------ writing


def dotted(path: Path) -> str:
    """The path as a TOML key."""
    return ".".join(key if _BARE.match(key) else json.dumps(key) for key in path)


def literal(value: Any) -> str:
    """The value as TOML."""
    if isinstance(value, dict):
        pairs = [f"{dotted((key,))} = {literal(item)}" for key, item in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)  # bool, int, float, str: written alike in both


def supported(value: Optional[Any]) -> bool:
    """Whether the value is one that can be written: JSON's types."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and supported(item) for key, item in value.items())
    if isinstance(value, list):
        return all(supported(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
