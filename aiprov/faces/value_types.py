"""What type of value a setting takes, in Ansible's words and in a reader's."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

_SCALARS: dict[Any, tuple[str, str]] = {
    str: ("str", "text"),
    SecretStr: ("str", "secret text"),
    bool: ("bool", "true or false"),
    int: ("int", "whole number"),
    float: ("float", "number"),
}


@dataclass(frozen=True, kw_only=True)
class ValueType:
    """``ansible`` is the type's name there; ``items`` of a list, ``values`` of a mapping."""

    ansible: str
    word: str
    choices: tuple[str | int, ...] = ()
    items: ValueType | None = None
    values: ValueType | None = None
    model: type[BaseModel] | None = None
    limits: str = ""

    def text(self) -> str:
        """The type as the docs say it."""
        if self.choices:
            return "one of " + ", ".join(f"`{choice}`" for choice in self.choices)
        if self.model is not None:
            return f"[{self.model.__name__}](#{self.model.__name__.lower()})"
        if self.items is not None:
            return f"list of {self.items.text()}"
        if self.values is not None:
            return f"mapping to {self.values.text()}"
        return f"{self.word}, {self.limits}" if self.limits else self.word


ANY = ValueType(ansible="raw", word="anything")


def type_of(field: FieldInfo) -> ValueType:
    """The type of a setting's value."""
    return replace(_type(field.annotation), limits=_limits(field.metadata))


def _type(annotation: Any) -> ValueType:
    if annotation in _SCALARS:
        ansible, word = _SCALARS[annotation]
        return ValueType(ansible=ansible, word=word)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ValueType(ansible="dict", word="mapping", model=annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return replace(_type(arguments[0]), limits=_limits(arguments[1:]))
    if origin is Literal:
        return ValueType(ansible=_SCALARS[type(arguments[0])][0], word="", choices=arguments)
    if origin in (Union, types.UnionType):
        members = [_type(member) for member in arguments if member is not type(None)]
        return members[0] if len(members) == 1 else _either(members)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return ValueType(ansible="dict", word="mapping", values=_type(arguments[1]))
    if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
        return ValueType(ansible="list", word="list", items=_type(arguments[0]))
    if annotation in (dict, list):
        return ValueType(
            ansible=annotation.__name__, word="mapping" if annotation is dict else "list"
        )
    return ANY


def _either(members: list[ValueType]) -> ValueType:
    return ValueType(ansible="raw", word=" or ".join(member.text() for member in members))


def _limits(metadata: Sequence[Any]) -> str:
    """The range of a number or the pattern of a text, from pydantic's marks."""
    for mark in metadata:
        if isinstance(pattern := getattr(mark, "pattern", None), str):
            return f"matching `{pattern}`"
    low = next((mark.ge for mark in metadata if getattr(mark, "ge", None) is not None), None)
    high = next((mark.le for mark in metadata if getattr(mark, "le", None) is not None), None)
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"{low} or more"
    return f"{high} or less" if high is not None else ""
