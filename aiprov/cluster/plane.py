"""Talking to a cluster's hosts: its programs there, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from aiprov import patience
from aiprov.cluster.members import Member, Members
from aiprov.errors import HostError, UnreachableError
from aiprov.programs import path
from aiprov.programs.kube.all_nodes import AWAY
from aiprov.resources import Argv
from aiprov.survey.transport import Completed, OnLine, Transport, transport_for

ASK_S = 120.0
ADMIN = path("kube-admin")
SPARE_S = 240.0
"""How much longer than a drain's own limit its end is waited for: the program asks about pods
before it and after it, and each question again for a while."""

Say = Callable[[str, str], object]
"""Is told a host and a line of what goes on there."""


class AwayError(HostError):
    """The API did not answer there, and may in a moment."""


@dataclass(frozen=True, kw_only=True)
class Drain:
    """How pods are had to leave a node. ``bare_pods``: those that nothing makes again, too."""

    seconds: int = 600
    bare_pods: bool = False

    def run(self, hosts: Hosts, plane: Member, node: str, say: Say) -> None:
        """Drain a node by way of a control plane. Raises ``HostError`` with what keeps it."""
        argv = (ADMIN, "drain", node, "--timeout", str(self.seconds))
        more = ("--bare-pods",) if self.bare_pods else ()
        hosts.must(plane, (*argv, *more), say, timeout_s=self.seconds + SPARE_S)


class Hosts:
    """The hosts of a cluster, each over one connection that stays open until ``close``."""

    def __init__(self, way: Callable[[Member], Transport] | None = None) -> None:
        self._way = way or (lambda member: transport_for(member.host.connection))
        self._open: dict[str, Transport] = {}

    def run(
        self,
        member: Member,
        argv: Argv,
        *,
        stdin: Iterable[bytes] = (),
        into: IO[bytes] | None = None,
        timeout_s: float | None = ASK_S,
        on_line: OnLine | None = None,
    ) -> Completed:
        """Run a command there. Raises ``UnreachableError`` or ``BecomeError``."""
        from aiprov.survey.commands import run_argv

        name = member.host.name
        if name not in self._open:
            self._open[name] = self._way(member)
        return run_argv(
            self._open[name], member.host.connection, argv,
            stdin=stdin, into=into, timeout_s=timeout_s, on_line=on_line,
        )  # fmt: skip

    def must(
        self,
        member: Member,
        argv: Argv,
        say: Say | None = None,
        *,
        stdin: Iterable[bytes] = (),
        into: IO[bytes] | None = None,
        timeout_s: float | None = ASK_S,
    ) -> Completed:
        """The same; raises ``HostError`` with what the program said where it failed."""
        name = member.host.name

        def told(stream: str, line: str) -> None:
            if say is not None and stream == "stdout":
                say(name, line)

        listener = told if say is not None else None
        done = self.run(member, argv, stdin=stdin, into=into, timeout_s=timeout_s, on_line=listener)
        if done.rc != 0:
            raise failure(name, argv, done)
        return done

    def ask(self, member: Member, *words: str) -> Mapping[str, Any]:
        """What ``kube-admin`` answers there, as a document. Raises ``HostError``."""
        done = self.must(member, (ADMIN, *words))
        try:
            return dict(json.loads(done.stdout))
        except ValueError as error:
            raise HostError(
                member.host.name,
                f"kube-admin {words[0]} gave no answer that can be read",
                hint="does a login script write to the terminal?",
            ) from error

    def close(self) -> None:
        """Let go of all connections."""
        for transport in self._open.values():
            transport.close()
        self._open.clear()


def failure(host: str, argv: Argv, done: Completed) -> HostError:
    """What a program's end means: its message, and its own way out."""
    name = argv[0].rpartition("/")[2]
    if done.rc in (126, 127):
        return HostError(
            host, f"there is no {name} on the host", hint=f"aiprov apply -l {host} puts it there"
        )
    said = done.stderr.decode("utf-8", "replace").strip()
    message, _, hint = said.partition("\nhint: ")
    known = message.partition(": ")
    text = known[2] if known[0].startswith("kube-") else message
    shown = text.splitlines()[-1] if text else f"{name} ended with status {done.rc}"
    kind = AwayError if done.rc == AWAY else HostError
    return kind(host, shown, hint=hint.strip() or "run it again with what it says put right")


def patiently(question: Callable[[], patience.Answer]) -> patience.Answer:
    """Ask again while the API is away. Raises what the last try raised when the time is over."""
    return patience.patiently(question, AwayError)


def answering(hosts: Hosts, members: Members, avoid: Collection[str] = ()) -> Member:
    """The first control plane by way of which the cluster answers, of those not to be avoided.

    All are asked again where it is away. Raises ``HostError`` with what each of them said where
    none answers.
    """
    return patiently(lambda: _answering(hosts, members, avoid))


def _answering(hosts: Hosts, members: Members, avoid: Collection[str]) -> Member:
    reasons: list[HostError] = []
    for member in members.control_planes:
        if member.host.name in avoid:
            continue
        try:
            hosts.ask(member, "version")
        except HostError as error:
            reasons.append(error)
        else:
            return member
    if not reasons:
        raise HostError(", ".join(avoid), "is the only control plane", hint="add another one first")
    if len(reasons) == 1:
        raise reasons[0]
    kind: type[HostError] = HostError
    if any(isinstance(error, AwayError) for error in reasons):
        kind = AwayError
    elif all(isinstance(error, UnreachableError) for error in reasons):
        kind = UnreachableError
    raise kind(
        ", ".join(error.host for error in reasons),
        "no control plane answers: " + "; ".join(str(error) for error in reasons),
        hint=reasons[0].hint,
    )
