"""``aiprov history``: validations that were kept, and how metrics went from one to the next."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from aiprov import FORMAT_VERSION
from aiprov.cli.codes import OK
from aiprov.cli.flags import OUTPUT, with_flags
from aiprov.cli.output import print_json
from aiprov.errors import UsageError

NEWEST = 20
"""Validations that are listed without ``-v``."""


@click.command()
@click.option("--gpu", metavar="SERIAL", help="The trends of this GPU, in whichever host it was.")
@click.option("--host", help="The trends of this host and all that is in it.")
@click.option("--check", metavar="NAME", help="Only this check's.")
@with_flags(OUTPUT)
def history(
    gpu: str | None, host: str | None, check: str | None, as_json: bool, verbose: int
) -> int:
    """List validations, or show how the metrics of a GPU or host went.

    A value is compared with those before it under the same software, and marked as a regression
    by the rule that `aiprov validate` judges by. The history is .aiprov/history.sqlite3, or what
    AIPROV_HISTORY names: another file, or postgresql://USER@HOST/DATABASE.
    """
    if gpu and host:
        raise UsageError("--gpu and --host exclude each other", hint="give one of them")
    if check and not (gpu or host):
        raise UsageError("--check needs a part", hint="give --gpu SERIAL or --host HOST too")
    document: dict[str, Any] = {"format_version": FORMAT_VERSION, "verb": "history"}
    if gpu or host:
        text = _trends(document, gpu, host, check)
    else:
        text = _validations(document, everything=verbose > 0)
    if as_json:
        print_json(document)
    else:
        click.echo(text)
    return OK


def _trends(document: dict[str, Any], gpu: str | None, host: str | None, check: str | None) -> str:
    from aiprov.history import trends
    from aiprov.history.text import trends_text

    found = trends.of_gpu(gpu, check) if gpu else trends.of_host(host or "", check)
    document["trends"] = [trend.document for trend in found]
    if not found:
        return "nothing that can be compared was measured"
    return trends_text(found, sparklines=sys.stdout.isatty())


def _validations(document: dict[str, Any], *, everything: bool) -> str:
    from aiprov.history import trends
    from aiprov.history.text import validations_text

    kept = trends.validations()
    document["validations"] = [asdict(one) for one in kept]
    if not kept:
        return "no validation was kept here: `aiprov validate` first"
    shown = kept if everything else kept[:NEWEST]
    left = len(kept) - len(shown)
    more = f"\n… and {left} older: -v" if left else ""
    return validations_text(shown) + more
