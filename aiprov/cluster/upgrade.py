"""An upgrade, node after node: drain, converge, see that it is well, let pods come again.

It stops at the first failure, with the node cordoned that failed. Run again it goes on: what has
the version is passed over, and what an earlier run has left cordoned is freed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiprov import fleet
from aiprov.cluster.members import Member, Members
from aiprov.cluster.plane import ADMIN, Drain, Hosts, Say, answering, patiently
from aiprov.cluster.steps import Step, Upgrade, upgrade_steps
from aiprov.converge import HostResult
from aiprov.errors import AiprovError, HostError, UnreachableError, VerificationError

HEALTHY_S = 600.0
LOOK_S = 5.0


class Converge(Protocol):
    """Brings one host to what the inventory wants of it, its new version of Kubernetes too."""

    def __call__(self, member: Member, say: Say) -> HostResult: ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one node. No ``error``: it has the version, and takes pods."""

    host: str
    error: AiprovError | None = None


@dataclass(kw_only=True)
class Upgrading:
    """An upgrade on its way. ``say`` is told what goes on."""

    hosts: Hosts
    members: Members
    converge: Converge
    say: Say
    drain: Drain = field(default_factory=Drain)
    healthy_s: float = HEALTHY_S
    look_s: float = LOOK_S
    done: list[Outcome] = field(default_factory=list)
    wait: Callable[[float], object] = time.sleep

    def plan(self, wave: str, only: Collection[str] | None = None) -> Upgrade:
        """What there is to do, on all hosts or those named. Touches nothing."""
        plane = answering(self.hosts, self.members)
        versions = patiently(lambda: self.hosts.ask(plane, "version"))
        nodes = self.hosts.ask(plane, "nodes")["nodes"]
        present = versions["cluster"] or versions["api"]
        return upgrade_steps(self.members, nodes, present, wave, only)

    def run(self, upgrade: Upgrade) -> Sequence[Outcome]:
        """Go through the waves, to the first that fails. What was done is in ``done``."""
        for wave in upgrade.waves:
            for step in wave:
                _ = step.member.host.connection  # templated here: the templar has no threads
            for outcome in fleet.each(
                lambda step: self._one(step, upgrade.wanted), wave, forks=len(wave)
            ):
                self.done.append(outcome)
            if any(outcome.error is not None for outcome in self.done):
                break
        return self.done

    def _one(self, step: Step, wanted: str) -> Outcome:
        host = step.member.host.name
        try:
            plane = self._by_way_of(step.member)
            if step.upgrade:
                self._upgrade(step, plane, wanted)
            self.hosts.must(plane, (ADMIN, "uncordon", step.member.name), self._of(host))
        except AiprovError as problem:
            error = _of_node(host, problem)
            self.say(host, f"failed: {error.message}")
            return Outcome(host=host, error=error)
        self.say(host, f"has {wanted}")
        return Outcome(host=host)

    def _upgrade(self, step: Step, plane: Member, wanted: str) -> None:
        host = step.member.host.name
        if not step.alone:
            self.drain.run(self.hosts, plane, step.member.name, self._of(host))
        self.say(host, "upgrade")
        result = self.converge(step.member, self.say)
        if result.error is not None:
            raise result.error
        self._healthy(step.member, wanted)

    def _by_way_of(self, member: Member) -> Member:
        """Another control plane, where there is one: this one's is about to be away."""
        several = len(self.members.control_planes) > 1
        avoid = (member.host.name,) if member.control_plane and several else ()
        return answering(self.hosts, self.members, avoid)

    def _healthy(self, member: Member, wanted: str) -> None:
        """Wait until the node is ready and has the version, and its control plane is well."""
        end = time.monotonic() + self.healthy_s
        why = self._unwell(member, wanted)
        while why:
            if time.monotonic() > end:
                raise VerificationError(
                    f"{member.host.name}: {why}, {self.healthy_s:g} s after its upgrade",
                    hint="journalctl -u kubelet there tells why; then run it again, which goes on",
                )
            self.say(member.host.name, f"waiting: {why}")
            self.wait(self.look_s)
            why = self._unwell(member, wanted)

    def _unwell(self, member: Member, wanted: str) -> str:
        """What is not yet as it should be; empty where all is."""
        try:
            plane = self._by_way_of(member)
            nodes = self.hosts.ask(plane, "nodes")["nodes"]
            own = next((node for node in nodes if node["name"] == member.name), None)
            if own is None:
                return "the cluster has no such node"
            if not own["ready"]:
                return f"it is not ready: {own['reason']}"
            if own["version"] != wanted:
                return f"its kubelet is {own['version']}"
            if member.control_plane:
                problems = self.hosts.ask(plane, "health")["problems"]
                mine = [one for one in problems if not one["what"].startswith("node ")]
                return "; ".join(f"{one['what']}: {one['why']}" for one in mine)
        except HostError as error:
            return str(error)
        return ""

    def _of(self, host: str) -> Say:
        """What a control plane says of a node, said as of the node."""
        return lambda _plane, line: self.say(host, line)


def _of_node(host: str, error: AiprovError) -> AiprovError:
    """What a control plane said of a node, as the node's own."""
    if not isinstance(error, HostError) or error.host == host:
        return error
    if isinstance(error, UnreachableError):
        return UnreachableError(host, f"by way of {error}", hint=error.hint)
    return HostError(host, error.message, hint=error.hint)


def outcome_text(upgrade: Upgrade, done: Sequence[Outcome]) -> str:
    """What was done, what failed, what was not begun, and how to go on."""
    good = [outcome.host for outcome in done if outcome.error is None]
    known = {outcome.host for outcome in done}
    later = [step.member.host.name for step in upgrade.steps if step.member.host.name not in known]
    lines = [f"upgraded to {upgrade.wanted}: {', '.join(good) or 'none'}"]
    for outcome in done:
        if outcome.error is not None:
            lines.append(f"failed: {outcome.error}")
            lines += [f"  hint: {outcome.error.hint}"] if outcome.error.hint else []
    if later:
        lines.append(f"not begun: {', '.join(later)}")
    if len(good) < len(upgrade.steps):
        lines.append("run it again to go on: what is done is passed over")
    return "\n".join(lines)
