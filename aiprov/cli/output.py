"""What verbs print alike: errors with their hints, and JSON documents."""

from __future__ import annotations

import json
from typing import Any

import click

from aiprov.errors import AiprovError


def show_error(error: AiprovError, word: str = "error") -> None:
    """An error, or by another ``word`` a warning, and the way out, on standard error."""
    click.echo(f"{click.style(f'{word}:', fg='red', bold=True)} {error}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
