"""The faces of a role that are generated from its ``Vars``: Ansible's files and the docs page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from aiprov import roles
from aiprov.faces.page import default_of, page, paragraphs
from aiprov.faces.value_types import type_of
from aiprov.roles import Role

_HEADER = "# Generated from aiprov/roles/{slug} by `make generated`; edit that.\n"
_PLATFORMS = (
    ("Debian", ("bookworm", "trixie")),
    ("Ubuntu", ("jammy", "noble")),
    ("EL", ("8", "9", "10")),
)


def render(slug: str) -> dict[str, str]:
    """All generated files of the role: text by path, relative to the project's root."""
    role = roles.load(slug)
    header = _HEADER.format(slug=slug)
    return {
        f"roles/{slug}/meta/argument_specs.yml": header + _yaml(argument_specs(slug, role)),
        f"roles/{slug}/meta/main.yml": header + _yaml(_meta(role)),
        f"roles/{slug}/tasks/main.yml": header + _yaml(_tasks(slug)),
        f"docs/roles/{slug}.md": page(slug, role),
    }


def argument_specs(slug: str, role: Role) -> dict[str, Any]:
    """Ansible's argument specification: what ``ansible-doc -t role`` shows and Ansible validates.

    Secrets carry no ``no_log`` there: ansible-core knows that from 2.22 on only.
    """
    return {
        "argument_specs": {
            "main": {
                "short_description": _headline(role),
                "description": [_ansible_code(text) for text in paragraphs(role)],
                "options": {name: _option(field) for name, field in role.Vars.model_fields.items()},
            }
        }
    }


def _option(field: FieldInfo) -> dict[str, Any]:
    value = type_of(field)
    option: dict[str, Any] = {"type": value.ansible, "description": _sentence(field)}
    if field.is_required():
        option["required"] = True
    default = default_of(field)
    if default is not None:
        option["default"] = default
    if value.choices:
        option["choices"] = list(value.choices)
    if value.items is not None:
        option["elements"] = value.items.ansible
    nested = value.items.model if value.items is not None else value.model
    if nested is not None:
        option["options"] = {name: _option(inner) for name, inner in nested.model_fields.items()}
    return option


def _meta(role: Role) -> dict[str, Any]:
    return {
        "galaxy_info": {
            "author": "aiprov",
            "description": _headline(role),
            "license": "Apache-2.0",
            "min_ansible_version": "2.19",
            "platforms": [
                {"name": name, "versions": list(versions)} for name, versions in _PLATFORMS
            ],
            "galaxy_tags": ["gpu", "nvidia", "cluster", "infrastructure"],
        },
        # A play lists what a role requires before it. As a dependency, Ansible would run that a
        # second time wherever the play gives it a condition of its own.
        "dependencies": [],
    }


def _tasks(slug: str) -> list[dict[str, Any]]:
    return [{"name": f"Converge {slug}", "aiprov.core.converge": {"role": slug}}]


def _headline(role: Role) -> str:
    return paragraphs(role)[0].rstrip(".")


def _sentence(field: FieldInfo) -> str:
    text = (field.description or field.title or "").strip()
    return text[:1].upper() + text[1:]


def _ansible_code(text: str) -> str:
    """``x`` as Ansible's documentation marks code."""
    return re.sub(r"``(.+?)``", r"C(\1)", text)


class _Dumper(yaml.SafeDumper):
    """Lists are indented below their key, as yamllint and ansible-lint want it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _yaml(document: Any) -> str:
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=60, allow_unicode=True)
    return f"---\n{text}"


def stale(root: Path) -> dict[Path, str]:
    """The generated files that are not as they should be, with what they should hold."""
    wanted = {root / path: text for slug in roles.slugs() for path, text in render(slug).items()}
    return {
        path: text
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
