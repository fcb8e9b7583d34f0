"""Slurm: ``scontrol`` drains a node with our reason, and takes back what has that reason still.

Seen with Slurm 22.05.8 (2026-11-21): ``state=undrain`` leaves a node that is down so, where
``state=resume`` would put it to service; the reason goes with the state, but stays on a node that
is down; a reason cannot be made empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiprov.actions.model import Decision, Held
from aiprov.connection import Connection
from aiprov.errors import HostError, InventoryError, UsageError
from aiprov.inventory import Host, Inventory
from aiprov.survey.commands import run_argv
from aiprov.survey.transport import Completed, Transport

NODE_VARIABLE = "aiprov_slurm_node"
"""The inventory's variable for a node that Slurm knows by another name."""

OURS = "aiprov: "
ASK_S = 60.0
"""A controller that does not answer is given up by ``scontrol`` after 9 s, two of them after 18."""

_HERE = Connection(name="localhost", address="localhost", kind="local")
_NAME = re.compile(r"^NodeName=(\S+) ")
_ONE = re.compile(r"(?!(?i:all)$)[A-Za-z0-9][A-Za-z0-9._-]*")
_STATE = re.compile(r" State=(\S+)")
_REASON = re.compile(r" Reason=(.*?) \[([^\[\]@ ]*)@([^\[\] ]+)\](?: |$)")
_PLAIN_REASON = re.compile(r" Reason=(.*?)(?: Comment=|$)")
_BEFORE = re.compile(r" \(before: (.*)\)$")


@dataclass(frozen=True, kw_only=True)
class SlurmNode:
    """A node as ``scontrol show node -o`` tells of it. ``states``: its base state and its flags."""

    name: str
    states: tuple[str, ...]
    reason: str = ""
    by: str = ""
    at: str = ""

    @property
    def drained(self) -> bool:
        """Whether no new job gets it, because somebody said so."""
        return "DRAIN" in self.states

    @property
    def ours(self) -> bool:
        """Whether it is aiprov that drained it."""
        return self.drained and self.reason.startswith(OURS)


def parse(text: str) -> dict[str, SlurmNode]:
    """The nodes in ``scontrol show node -o``, a line each. Other lines are passed over."""
    found = {}
    for line in text.splitlines():
        name, state = _NAME.match(line), _STATE.search(line)
        if name is None or state is None:
            continue
        whole = _REASON.search(line)
        plain = _PLAIN_REASON.search(line)
        found[name[1]] = SlurmNode(
            name=name[1],
            states=tuple(part.rstrip("*~#!%$@^-") for part in state[1].split("+")),
            reason=whole[1] if whole else plain[1].strip() if plain else "",
            by=whole[2] if whole else "",
            at=whole[3] if whole else "",
        )
    return found


class Slurm:
    """The cluster that ``scontrol`` of a machine speaks to: of a host, or of this one."""

    kind = "drain"

    def __init__(
        self, inventory: Inventory, host: str | None, connect: Callable[[Connection], Transport]
    ) -> None:
        self._connection = _HERE if host is None else _named(inventory, host).connection
        self._transport = connect(self._connection)
        self._hosts = {node_name(one): one.name for one in inventory.everyone}
        self._nodes = {name: node for node, name in self._hosts.items()}

    def held(self) -> Mapping[str, Held]:
        """The nodes that are drained with a reason of ours. Raises ``HostError``."""
        return {
            self._hosts.get(node.name, node.name): Held(
                host=self._hosts.get(node.name, node.name),
                reason=node.reason.removeprefix(OURS),
                since=node.at,
                note="" if node.name in self._hosts else "not in the inventory that was given",
            )
            for node in self._show().values()
            if node.ours
        }

    def take(self, decision: Decision, since: str, campaign: str) -> str:
        """Drain the node; jobs that run there end by themselves."""
        name = self._nodes.get(decision.host, decision.host)
        node = self._node(name, decision.host)
        if node.drained and not node.ours:
            by = f" by {node.by} since {node.at}" if node.by else ""
            return f"node {name} is drained already{by} ({node.reason}): left as it is"
        reason = f"{OURS}{decision.reason}"
        if node.ours:
            if _BEFORE.sub("", node.reason) == reason:
                return f"node {name} is drained since {node.at}"
            kept = _BEFORE.search(node.reason)
            before = kept[1] if kept else ""
        else:
            before = node.reason
        whole = f"{reason} (before: {before})" if before else reason
        self._update(decision.host, f"nodename={name}", "state=drain", f"reason={whole}")
        after = self._node(name, decision.host)
        if not after.ours:
            raise HostError(
                decision.host,
                f"node {name} was to be drained, and is {'+'.join(after.states)}",
                hint=f"see: scontrol show node {name}",
            )
        return f"node {name} drained ({'+'.join(after.states)}); running jobs end by themselves"

    def give(self, host: str) -> str:
        """Undrain the node, where the reason is ours still. What was down stays down."""
        name = self._nodes.get(host, host)
        node = self._node(name, host)
        if not node.drained:
            return f"node {name} is not drained any more: left as it is"
        if not node.ours:
            return (
                f"node {name} is drained by {node.by or 'another'} ({node.reason}): left as it is"
            )
        done = self._run("update", f"nodename={name}", "state=undrain")
        after = self._node(name, host)
        if after.drained:
            raise self._failure(host, done, "update")
        kept = _BEFORE.search(node.reason)
        if kept and after.reason == node.reason:  # down, so that the reason has stayed
            self._update(host, f"nodename={name}", f"reason={kept[1]}")
        return f"node {name} undrained ({'+'.join(after.states)})"

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    # ------------------------------------------------------------ scontrol

    def _node(self, name: str, host: str) -> SlurmNode:
        if not _ONE.fullmatch(name):  # scontrol would take a list or a range for many nodes
            raise HostError(
                host, f"{name!r} is no name of one node", hint=f"set {NODE_VARIABLE} for the host"
            )
        done = self._run("show", "node", "-o", name)
        found = parse(done.stdout.decode("utf-8", "replace")).get(name)
        if found is None:
            raise self._failure(host, done, "show")
        return found

    def _show(self) -> dict[str, SlurmNode]:
        done = self._run("show", "node", "-o")
        if done.rc != 0:
            raise self._failure(self._connection.name, done, "show")
        return parse(done.stdout.decode("utf-8", "replace"))

    def _update(self, host: str, *words: str) -> None:
        done = self._run("update", *words)
        if done.rc != 0:
            raise self._failure(host, done, "update")

    def _run(self, *words: str) -> Completed:
        argv = ("scontrol", *words)
        return run_argv(self._transport, self._connection, argv, timeout_s=ASK_S)

    def _failure(self, host: str, done: Completed, verb: str) -> HostError:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        where = self._connection.name
        last = said.splitlines()[-1].strip() if said else f"it ended with status {done.rc}"
        if done.rc == 127:
            return HostError(
                host, f"there is no scontrol on {where}",
                hint="name the host that has it: --slurm-host HOST",
            )  # fmt: skip
        return HostError(host, f"scontrol {verb} on {where}: {last}", hint=_hint(said, where))


def node_name(host: Host) -> str:
    """How Slurm calls the host. Raises ``InventoryError`` for a variable that is no name."""
    value = host.variables.value(NODE_VARIABLE)
    if value is None:
        return host.name
    if not isinstance(value, str) or not _ONE.fullmatch(value):
        raise InventoryError(f"{host.name}: {NODE_VARIABLE}: {value!r} is not the name of a node")
    return str(value)


def _named(inventory: Inventory, name: str) -> Host:
    for host in inventory.everyone:
        if host.name == name:
            return host
    raise UsageError(
        f"--slurm-host {name}: no such host in the inventory",
        hint="leave it out to run scontrol on this machine",
    )


def _hint(said: str, where: str) -> str:
    if "not found" in said or "Invalid node name" in said:
        return f"the inventory's variable {NODE_VARIABLE} says how Slurm calls the host"
    if "Invalid user id" in said or "permission denied" in said.lower():
        how = "run aiprov as one" if where == _HERE.name else f"become root on {where} with -b"
        return f"scontrol update is for Slurm's operators and root: {how}"
    if "Unable to contact" in said:
        return f"does slurmctld run? on {where}: scontrol ping"
    if "configuration" in said or "ClusterName" in said:
        return f"{where} is no host of a Slurm cluster: name one with --slurm-host HOST"
    return f"run it there: scontrol show node, on {where}"
