"""A plan as plain Ansible tasks, for people: to read, to compare, to paste into a playbook."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from aiprov.engines.ansible.calls import ENVIRONMENT, ModuleCall
from aiprov.engines.ansible.tasks import steps
from aiprov.plan import Change
from aiprov.survey.facts import Family

HIDDEN = "(secret: the value is in the inventory)"


def render(changes: Sequence[Change], family: Family) -> str:
    """The tasks that would be run, as a YAML list. Secrets are hidden."""
    blocks = []
    for step in steps(changes, family):
        reason = "; ".join(f"{change.address}: {change.reason}" for change in step.changes)
        tasks = yaml.dump(
            [_task(call) for call in step.calls],
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=1000,
        )
        blocks.append(f"# {' '.join(reason.split())}\n{tasks}")
    return "\n".join(["---", *blocks])


def _task(call: ModuleCall) -> dict[str, Any]:
    task: dict[str, Any] = {"name": call.name, call.module: _args(call)}
    if "AIPROV_DOLLAR" in str(call.args):
        task["environment"] = {"AIPROV_DOLLAR": ENVIRONMENT["AIPROV_DOLLAR"]}
    if call.module == "ansible.builtin.command":
        task["changed_when"] = not call.reads
    name = "aiprov_" + re.sub(r"\W+", "_", call.name.lower()).strip("_")
    if call.again is not None or call.expects is not None:
        task["register"] = name
    if call.again is not None:
        task |= {
            "until": f"{name}.{call.again.stream} is not search('{call.again.while_it_says}')",
            "retries": call.again.times,
            "delay": call.again.delay_s,
        }
    if call.expects is not None:
        task["failed_when"] = f"{name}.stdout is not match('^{call.expects}$')"
    if call.no_log:
        task["no_log"] = True
    return task


def _args(call: ModuleCall) -> Mapping[str, Any]:
    args = {key: _Text(value) if _is_template(value) else value for key, value in call.args.items()}
    hidden = {"content", "stdin"} & args.keys() if call.no_log else ()
    return {**args, **dict.fromkeys(hidden, HIDDEN)}


class _Text(str):
    """Text that Ansible must not take for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes many-line text as blocks, and lists indented as Ansible's linter wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value.rstrip("\n") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _unsafe(dumper: yaml.SafeDumper, value: _Text) -> yaml.ScalarNode:
    style = "|" if "\n" in value.rstrip("\n") else '"'
    return dumper.represent_scalar("!unsafe", str(value), style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Text, _unsafe)


def _is_template(value: object) -> bool:
    return isinstance(value, str) and any(mark in value for mark in ("{{", "{%", "{#"))
