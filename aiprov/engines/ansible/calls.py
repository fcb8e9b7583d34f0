"""One call of one Ansible module, as a plain value.

A call is what both ways of using it share: the action plugins run it inside ``ansible-playbook``,
and ``render`` writes it down as a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiprov.plan import Change
from aiprov.resources import Argv, Secret

# What users' shells and sudo give differs from host to host; commands are found the same way
# everywhere, and what they print is not translated.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "AIPROV_DOLLAR": "$",
}


def literal(argument: str) -> str:
    """The argument as it must be given where Ansible's modules expand variables in it, once."""
    return argument.replace("$", "${AIPROV_DOLLAR}")


@dataclass(frozen=True, kw_only=True)
class Again:
    """The call is made again, after ``delay_s``, while its output says that it is too early."""

    stream: Literal["stdout", "stderr"]
    while_it_says: str  # a regular expression, searched for
    times: int
    delay_s: int


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """A module (or action) of ``ansible.builtin`` and its arguments.

    ``no_log``: neither the arguments nor the result may be shown or logged anywhere. What fails is
    told nevertheless, without the secrets: of a command what the host said, of a file that it did.
    ``reads``: the call changes nothing by itself. ``expects``: a regular expression that all of the
    output must match, or the call has failed.
    """

    name: str
    module: str
    args: Mapping[str, Any]
    no_log: bool = False
    reads: bool = False
    again: Again | None = None
    expects: str | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """The calls that realise some changes: nearly always one, many for a package transaction."""

    changes: Sequence[Change]
    calls: Sequence[ModuleCall]


def command(
    name: str,
    argv: Argv,
    *,
    reads: bool = False,
    again: Again | None = None,
    stdin: Secret | None = None,
) -> ModuleCall:
    """A command, with no shell on its way."""
    args: dict[str, Any] = {"argv": list(argv)}
    if stdin is not None:
        args |= {"stdin": stdin.reveal(), "stdin_add_newline": False}
    if any("$" in argument or argument.startswith("~") for argument in argv):
        args["expand_argument_vars"] = False
    return ModuleCall(
        name=name,
        module="ansible.builtin.command",
        args=args,
        no_log=stdin is not None,
        reads=reads,
        again=again,
    )


WHILE_LOCKED = Again(
    stream="stderr", while_it_says="Could not get lock|lock (is|was) locked", times=60, delay_s=5
)
"""Five minutes, unless the host's ``base_apt_lock_timeout_s`` says otherwise."""
