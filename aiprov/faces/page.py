"""A role's page in the docs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aiprov import roles
from aiprov.faces.value_types import ValueType, type_of
from aiprov.roles import Role
from aiprov.settings.show import shown

_IN_EXAMPLE = 3
_BAR = "\\|"


def page(slug: str, role: Role) -> str:
    """The page as Markdown."""
    return "\n".join(_page(slug, role)) + "\n"


def _page(slug: str, role: Role) -> Iterator[str]:
    yield f"<!-- Generated from aiprov/roles/{slug} by `make generated`; edit that. -->"
    yield f"# {slug}\n"
    for paragraph in paragraphs(role):
        yield f"{paragraph}\n"
    required = ", ".join(f"[{other}]({other}.md)" for other in role.REQUIRES)
    yield f"Requires: {required or 'no other role'}.\n"
    yield "## In an inventory\n"
    yield "```yaml"
    yield "# group_vars/gpu.yml"
    yield from _example(slug, role)
    yield "```\n"
    names = ", ".join(f"aiprov.core.{name}" for name in roles.order([slug]))
    yield f"In a play: `roles: [{names}]`. On the command line:"
    yield f"`aiprov plan -i inventory/example --role {slug}`.\n"
    yield "## Variables\n"
    yield from _table(role.Vars.model_fields)
    for model, name in _models(role):
        yield f"\n### {name}\n"
        yield f"{' '.join((inspect.getdoc(model) or '').split())}\n"
        yield from _table(model.model_fields)


def _example(slug: str, role: Role) -> Iterator[str]:
    yield f"aiprov_roles: [{slug}]"
    for name, field in role.Vars.model_fields.items():
        if field.is_required() and field.examples:
            yield yaml.safe_dump({name: field.examples[0]}).strip()
    defaults = {name: default_of(field) for name, field in role.Vars.model_fields.items()}
    scalars = [(n, v) for n, v in defaults.items() if isinstance(v, str | int) and v != ""]
    for name, value in scalars[:_IN_EXAMPLE]:
        yield yaml.safe_dump({name: value}).strip()


def _table(fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| name | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        default = "**needed**" if field.is_required() else _cell(default_of(field))
        cells = (f"`{name}`", type_of(field).text(), default, field.description or "")
        yield f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


def _cell(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip()
    return f"`{text.removesuffix('...').strip()}`"


def _models(role: Role) -> Iterator[tuple[Any, str]]:
    """The nested models of the settings, each once."""
    seen: set[type] = set()
    waiting = [type_of(field) for field in role.Vars.model_fields.values()]
    while waiting:
        value: ValueType = waiting.pop(0)
        waiting.extend(inner for inner in (value.items, value.values) if inner is not None)
        if value.model is not None and value.model not in seen:
            seen.add(value.model)
            yield value.model, value.model.__name__
            waiting.extend(type_of(field) for field in value.model.model_fields.values())


def default_of(field: FieldInfo) -> Any:
    """The default as JSON knows it; ``None`` also where there is none.

    Of a model, what it says otherwise than its own fields do, which have their own defaults.
    """
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True, validated_data={})
    return shown(value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value)


def paragraphs(role: Role) -> list[str]:
    """What the role's module says of itself."""
    text = inspect.cleandoc(getattr(role, "__doc__", None) or role.__name__)
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
