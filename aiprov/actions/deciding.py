"""What is to become of each host after a validation, and why. Touches nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from aiprov.actions.model import Decision, Policy, Remedy, Step
from aiprov.catalog.xids import actions
from aiprov.checks.model import Check, Subject, Verdict
from aiprov.checks.validation import HostRun, Validation

MOST_LETTERS = 200
"""Of a reason, which has to fit into a line of ``sinfo -R`` and an annotation."""

_STEPS: dict[str, Step] = {
    "IGNORE": "nothing",
    "RESTART_APP": "restart the application",
    "WORKFLOW_XID_45": "restart the application",
    "UPDATE_SWFW": "update",
    "RESET_GPU": "reset the GPU",
    "CHECK_UVM": "reset the GPU",
    "CHECK_POWER_SMOOTHING": "reset the GPU",
    "WORKFLOW_XID_48": "reset the GPU",
    "WORKFLOW_NVLINK_ERR": "reset the GPU",
    "WORKFLOW_NVLINK5_ERR": "reset the GPU",
    "XID_154": "reset the GPU",
    "RESTART_VM": "reboot",
    "RESTART_BM": "reboot",
    "ENABLE_ECC": "reboot",
    "CONTACT_SUPPORT": "contact support",
    "CHECK_MECHANICALS": "contact support",
}
"""What the actions of NVIDIA's catalog (``data/xids.toml``) come to."""

_RANK: tuple[Step, ...] = (
    "nothing", "restart the application", "update", "examine", "reset the GPU", "reboot",
    "contact support",
)  # fmt: skip
"""The least first. What nobody has a rule for is worse than an application's fault."""

_WRONG = Remedy(
    step="contact support",
    text="what must never be was seen (wrong results, uncorrectable errors): keep it out of "
    "service, run the vendor's field diagnosis, and have it replaced",
)
_EXAMINE = Remedy(step="examine", text="look at the evidence in the report, and validate again")
_NOT_MEASURED = Remedy(
    step="examine", text="see why it could not be measured, put that right, and validate again"
)


def decide(
    validation: Validation, policy: Policy, *, fleet: int = 0, held: Collection[str] = ()
) -> tuple[Decision, ...]:
    """What is to become of each host that is not ok, sorted by name.

    ``fleet``: how many hosts there are to validate at all, where the validation was of a part of
    them. ``held``: those that earlier actions took out of service and that still are: they count
    against the limit, and to act on them again is not more.
    """
    verdicts = validation.by_subject
    names = sorted({subject.host for subject in verdicts})
    runs = {run.host: run for run in validation.hosts}
    checks: dict[str, list[Check]] = {}
    for check in validation.checks:
        checks.setdefault(check.subject.host, []).append(check)
    made = [
        _decision(name, verdicts[Subject(host=name)], checks.get(name, ()), runs.get(name), policy)
        for name in names
        if verdicts[Subject(host=name)] != "ok"
    ]
    if validation.self_test:
        hint = "validate without --self-test"
        return tuple(_refused(one, "its faults were injected by the self-test", hint)
                     for one in made)  # fmt: skip
    return _limited(made, policy, max(fleet, len(names)), set(held))


def _decision(
    host: str, verdict: Verdict, checks: Sequence[Check], run: HostRun | None, policy: Policy
) -> Decision:
    bad = [one for one in checks if one.verdict == verdict]
    worst = max(bad, key=lambda one: _RANK.index(remedy_of(one).step), default=None)
    if worst is None:
        subject = host
        told = [": ".join(text for text in (run.status, run.message) if text) if run else verdict]
    else:
        subject = worst.subject.label or worst.subject.id or host
        told = [*_told(worst), *(line for one in bad if one is not worst for line in _told(one))]
    made = Decision(
        host=host,
        verdict=verdict,
        action=policy.action,
        subject=subject,
        reason=_line(told[0]),
        remedy=_NOT_MEASURED if verdict == "not measured" or worst is None else remedy_of(worst),
        findings=tuple(told),
    )
    if verdict == "not measured" and not policy.on_not_measured and made.acts:
        hint = "put right what it says, or act on such hosts too: --act-on-not-measured"
        told_only = replace(made, action="report")
        return _refused(told_only, "left in service: not measured is no proof of a fault", hint)
    return made


def remedy_of(check: Check) -> Remedy:
    """What to do about a check that failed: what the catalog says, else what its numbers mean."""
    known = actions().get(check.action)
    if known is not None:
        return Remedy(step=_STEPS.get(known.name, "examine"), name=known.name, text=known.text)
    if check.action:
        return Remedy(step="examine", name=check.action, text=_EXAMINE.text)
    exact = any(bound.basis == "exact" for item in check.measurements for bound in item.broken)
    of_gpu = check.subject.kind == "gpu" and not check.name.startswith("kernel log")
    return _WRONG if exact and of_gpu else _EXAMINE


def _told(check: Check) -> list[str]:
    own = check.subject.label or check.subject.id
    return [f"{own}: {line}" if own else line for line in check.why]


def _line(text: str) -> str:
    """The text in one line, and not too long. Control characters of a host's words are left out."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    words = " ".join(shown.split())
    return words if len(words) <= MOST_LETTERS else f"{words[: MOST_LETTERS - 1]}…"


def _limited(
    made: Sequence[Decision], policy: Policy, fleet: int, held: set[str]
) -> tuple[Decision, ...]:
    """The same, all refused where more hosts would be out of service than may be."""
    acting = {one.host for one in made if one.acts}
    new = acting - held
    most = policy.limit.most(fleet)
    if not new or len(held | acting) <= most:
        return tuple(made)
    before = f" beside the {len(held)} that are" if held else ""
    why = (
        f"{len(new)} of {fleet} hosts would be taken out of service{before}, and the limit is "
        f"{most} ({policy.limit}): nothing was done to any of them"
    )
    hint = (
        "so many at once are more likely a fault of the network, the driver or the limits of the "
        f"checks; where they are bad: --action-limit {len(held | acting)}"
    )
    return tuple(_refused(one, why, hint) if one.host in new else one for one in made)


def _refused(one: Decision, why: str, hint: str) -> Decision:
    return one if one.refusal else replace(one, refusal=why, hint=hint)
