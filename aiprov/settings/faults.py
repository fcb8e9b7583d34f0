"""What is wrong with a role's settings, in users' words, at the place where it is written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from aiprov.errors import InventoryError
from aiprov.inventory.variables import Variables
from aiprov.roles import RoleVars

HIDDEN = "***"
_SHOWN = 60
_YES, _NO = ("yes", "on", "true"), ("no", "off", "false")  # YAML 1.1, in lower case
_PLAIN_WORDS = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "list_type": "is not a list",
    "tuple_type": "is not a list",
    "dict_type": "is not a mapping",
    "model_type": "is not a mapping",
    "string_type": "is not text",
}
_SUBJECT = re.compile(r"^(Input|String|Value|List|Tuple|Set|Dictionary|Number) ")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One reading of a role's settings. ``needed``: whose absence counts as a fault."""

    slug: str
    model: type[RoleVars]
    variables: Variables
    host: str
    needed: frozenset[str]


def faults(error: ValidationError, reading: Reading) -> Iterator[InventoryError]:
    """One error for each value that does not fit."""
    seen: dict[tuple[Any, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        seen.setdefault(_path(detail["loc"]), []).append(detail)
    for path, details in seen.items():
        if details[0]["type"] == "too_short" and _below(path, seen):
            continue  # pydantic counts the items that fit: what is wrong with the others is said
        if details[0]["type"] != "missing" or len(path) > 1:
            yield _fault(path, details, reading)
        elif path[0] in reading.needed:
            yield InventoryError(
                f"{reading.host}: role {reading.slug} needs {path[0]}, which is not set",
                hint=_described(reading.model, str(path[0])),
            )


def _below(path: tuple[Any, ...], paths: Iterable[tuple[Any, ...]]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in paths)


def _fault(path: tuple[Any, ...], details: list[ErrorDetails], reading: Reading) -> InventoryError:
    model, variables, detail = reading.model, reading.variables, details[0]
    if not path:
        return InventoryError(f"{reading.host}: role {reading.slug}: {_own_words(detail)}")
    name = str(path[0])
    secret = variables.vaulted(name) or holds_secret(model.model_fields[name].annotation)
    shown = HIDDEN if secret else shorten(detail["input"])
    told = " or ".join(dict.fromkeys(_problem(item, shown) for item in details))
    if secret and isinstance(detail["input"], str) and detail["input"]:
        told = told.replace(detail["input"], HIDDEN)
    hint = _hint(detail, model, path, variables) or _described(model, name)
    return variables.error(f"{_spoken(path)}: {told}", name, *path[1:], hint=hint)


def _problem(detail: ErrorDetails, shown: str) -> str:
    given = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return "there is no such key"
        case "missing":
            return "is needed and not set"
        case "literal_error" | "enum":
            return f"{shown} is not one of {detail.get('ctx', {}).get('expected')}"
        case "value_error" | "assertion_error":
            text = _own_words(detail)
            return text if shown in text or str(given) in text else f"{shown}: {text}"
        case "string_type" if isinstance(given, int | float):
            return (
                f"{shown} is {'true or false' if isinstance(given, bool) else 'a number'}, not text"
            )
    if given is None:
        return "has no value"
    if words := _PLAIN_WORDS.get(detail["type"]):
        return f"{shown} {words}"
    text = _SUBJECT.sub("", detail["msg"])
    return f"{shown} {text}" if text != detail["msg"] else f"{shown}: {text}"


def _own_words(detail: ErrorDetails) -> str:
    """What the role's validator says, without pydantic's "Value error,"."""
    error = detail.get("ctx", {}).get("error")
    return str(error) if error is not None else detail["msg"]


def _hint(
    detail: ErrorDetails, model: type[RoleVars], path: tuple[Any, ...], variables: Variables
) -> str | None:
    given = detail["input"]
    match detail["type"]:
        case "literal_error" | "enum" if isinstance(given, str | int | float):
            expected = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected")))
            if isinstance(given, bool):
                return _unquoted_word(given, expected)
            near = difflib.get_close_matches(str(given), expected, n=1, cutoff=0.5)
            return f"did you mean {near[0]!r}?" if near else None
        case "extra_forbidden":
            known = _keys_at(model, path[:-1])
            near = difflib.get_close_matches(str(path[-1]), known, n=1)
            return f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
        case "string_type" if isinstance(given, int | float):
            return _quoted(given, path, variables)
    if given is None:
        return "give it a value, or remove it to have the default"
    return None


def _unquoted_word(given: bool, expected: Iterable[str]) -> str | None:
    """What YAML made true or false of, where one of the words that are possible is such a word."""
    meant = [word for word in expected if word in (_YES if given else _NO)]
    said = "true" if given else "false"
    return (
        f'write it in quotes, "{meant[0]}", for YAML reads {meant[0]} as {said}' if meant else None
    )


def _quoted(given: object, path: tuple[Any, ...], variables: Variables) -> str:
    where = variables.location(str(path[0]))
    word = str(given).lower() if isinstance(given, bool) else str(given)
    if where is None or where.path.endswith((".yml", ".yaml", ".json")):
        lost = ", for YAML reads 1.30 as 1.3" if isinstance(given, float) else ""
        return f'write it in quotes, "{word}"{lost}'
    name = path[0]
    return f'write {name}="{word}" below [group:vars], {name}=\'"{word}"\' on a host\'s line'


def _described(model: type[RoleVars], name: str) -> str | None:
    field = model.model_fields.get(name)
    return f"{name}: {field.description}" if field and field.description else None


def _path(location: Iterable[str | int]) -> tuple[Any, ...]:
    """Pydantic's location without the parts that are of its making (union members, key marks)."""
    parts = list(location)
    return tuple(
        part for part in parts if isinstance(part, int) or re.fullmatch(r"[\w./@:-]+", part)
    )


def _spoken(path: tuple[Any, ...]) -> str:
    text = str(path[0])
    for part in path[1:]:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def shorten(value: object) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def holds_secret(annotation: Any) -> bool:
    """Whether a value of this type is, or has in it, something that must not be shown."""
    if annotation is SecretStr:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(holds_secret(f.annotation) for f in annotation.model_fields.values())
    return any(holds_secret(argument) for argument in get_args(annotation))


def _keys_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The keys that the nested model at this path has."""
    found: type[BaseModel] = model
    for part in path:
        field = found.model_fields.get(str(part)) if isinstance(part, str) else None
        nested = next(iter(_models(field.annotation)), None) if field else None
        found = nested or found
    return sorted(found.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
