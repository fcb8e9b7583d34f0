"""Doing what was decided, and undoing it. What fails is told as an action that was not done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiprov.actions.deciding import decide
from aiprov.actions.model import ActionName, Decision, Held, Policy, Way
from aiprov.checks.model import Subject
from aiprov.checks.validation import Action, Validation
from aiprov.connection import Connection
from aiprov.errors import AiprovError, UsageError
from aiprov.inventory import Inventory
from aiprov.survey.transport import Transport, transport_for


@dataclass(frozen=True, kw_only=True)
class Context:
    """What ways need of the world.

    ``fleet``: how many hosts there are to validate at all, whatever the limit of this run;
    0: those of the validation. ``quarantine_file``: where the group is kept, in place of a file
    beside the inventory. ``kubeconfig``: of a cluster that is not asked by way of the inventory's
    control planes. ``slurm_host``: the host of the inventory where ``scontrol`` is run; none: this
    machine. ``connect``: how a host is reached.
    """

    inventory: Inventory
    fleet: int = 0
    quarantine_file: Path | None = None
    kubeconfig: Path | None = None
    slurm_host: str | None = None
    connect: Callable[[Connection], Transport] = transport_for
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


def act(validation: Validation, policy: Policy, context: Context) -> tuple[Action, ...]:
    """Do what follows from the verdicts; what was done of each host that is not ok, and what not.

    Never raises for what goes wrong: a verdict is not lost because an action failed.
    """
    if policy.action == "report":
        return tuple(_reported(one) for one in decide(validation, policy))
    try:
        with opened(policy.action, context) as way:
            out = way.held()
            decisions = decide(validation, policy, fleet=context.fleet, held=set(out))
            since = context.clock().isoformat(timespec="seconds")
            done = [_taken(way, one, since, validation.campaign) for one in decisions]
            return (*done, *_well_again(validation, policy.action, out))
    except Exception as error:  # noqa: BLE001  nothing that goes wrong here may hide a verdict
        decisions = decide(validation, policy, fleet=context.fleet)
        return tuple(_failed(policy.action, one, error) for one in decisions)


def ready(policy: Policy, context: Context) -> None:
    """See that the action could be done, before hours are spent. Asks, and touches nothing.

    Raises ``AiprovError`` where it could not.
    """
    if policy.action != "report":
        held(policy.action, context)


def release(
    action: ActionName, hosts: Sequence[str] | None, context: Context
) -> tuple[Action, ...]:
    """Undo what was done to these hosts; ``None``: to all that are held.

    Raises ``UsageError`` for a host that is not held, before anything is undone, and what the way
    raises where it cannot be asked.
    """
    with opened(action, context) as way:
        out = way.held()
        chosen = sorted(out) if hosts is None else list(dict.fromkeys(hosts))
        strange = [name for name in chosen if name not in out]
        if strange:
            raise UsageError(
                f"{', '.join(strange)}: not taken out of service by aiprov ({way.kind})",
                hint=f"held are: {', '.join(sorted(out)) or 'none'}; --action names another way",
            )
        return tuple(_given(way, name) for name in chosen)


def held(action: ActionName, context: Context) -> Mapping[str, Held]:
    """The hosts that are out of service by aiprov. Raises what the way raises."""
    with opened(action, context) as way:
        return way.held()


@contextmanager
def opened(action: ActionName, context: Context) -> Iterator[Way]:
    """The way of this name, its connections closed at the end."""
    way = _way(action, context)
    try:
        yield way
    finally:
        way.close()


def _way(action: ActionName, context: Context) -> Way:
    match action:
        case "quarantine":
            from aiprov.actions.quarantine import Quarantine, place

            sources = context.inventory.sources
            return Quarantine(
                context.quarantine_file or place(sources),
                sources=sources,
                known={host.name for host in context.inventory.everyone},
            )
        case "kubernetes":
            from aiprov.actions.kubernetes import Kubernetes
            from aiprov.actions.node_api import nodes_of

            nodes = nodes_of(context.inventory, context.kubeconfig, context.connect)
            return Kubernetes(nodes, context.inventory)
        case "slurm":
            from aiprov.actions.slurm import Slurm

            return Slurm(context.inventory, context.slurm_host, context.connect)
        case "report":
            raise UsageError(
                "a report takes no host out of service",
                hint="--action quarantine, kubernetes or slurm",
            )


# ---------------------------------------------------------------- what is told


def advice(decision: Decision) -> str:
    """What a person does about it, in a line."""
    remedy = decision.remedy
    name = f" ({remedy.name})" if remedy.name else ""
    return f"{remedy.step}{name}: {remedy.text}" if remedy.text else f"{remedy.step}{name}"


def _reported(one: Decision) -> Action:
    why = f". {_joined(one.refusal, one.hint)}" if one.refusal else ""
    message = f"{one.reason}. {advice(one)}{why}"
    return Action(host=one.host, kind="report", done=True, message=message)


def _taken(way: Way, one: Decision, since: str, campaign: str) -> Action:
    if one.action == "report":
        return _reported(one)
    if not one.acts:
        return _not_done(way.kind, one, one.refusal, one.hint)
    try:
        did = way.take(one, since, campaign)
    except Exception as error:  # noqa: BLE001  of one host, it must not end the others' actions
        return _not_done(way.kind, one, *_said(error))
    return Action(host=one.host, kind=way.kind, done=True, message=f"{did}. {advice(one)}")


def _well_again(
    validation: Validation, action: ActionName, out: Mapping[str, Held]
) -> Iterator[Action]:
    """Hosts that are ok now and still out of service: nobody but a person gives them back."""
    verdicts = validation.by_subject
    for name, held_one in sorted(out.items()):
        if verdicts.get(Subject(host=name)) == "ok" and not validation.self_test:
            since = f" since {held_one.since}" if held_one.since else ""
            way_back = f"aiprov quarantine release {name} --action {action}"
            message = f"it is ok now, and out of service{since}. To give it back: {way_back}"
            yield Action(host=name, kind="report", done=True, message=message)


def _failed(kind: str, one: Decision, error: Exception) -> Action:
    if one.action == "report":
        return _reported(one)
    return _not_done(kind, one, one.refusal or _said(error)[0], one.hint or _said(error)[1])


def _given(way: Way, host: str) -> Action:
    try:
        return Action(host=host, kind=way.kind, done=True, message=way.give(host))
    except (AiprovError, OSError) as error:
        message, hint = _said(error)
        return Action(host=host, kind=way.kind, done=False, message=_joined(message, hint))


def _not_done(kind: str, one: Decision, why: str, hint: str) -> Action:
    told = f"{_joined(why, hint)}. {one.reason}. {advice(one)}"
    return Action(host=one.host, kind=kind, done=False, message=told)


def _said(error: Exception) -> tuple[str, str]:
    if isinstance(error, AiprovError):
        return error.message, error.hint or ""
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), ""
    return f"a defect of aiprov: {type(error).__name__}: {error}", ""


def _joined(message: str, hint: str) -> str:
    return f"{message} (hint: {hint})" if hint else message
