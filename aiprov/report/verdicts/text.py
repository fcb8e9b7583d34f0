"""Verdicts on a screen and as Markdown: what is wrong first, then how much was proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiprov.checks.model import VERDICTS, Check, Subject, Verdict, verdict_of
from aiprov.checks.validation import Action, HostRun, Validation
from aiprov.report.verdicts.findings import not_tested, problems, proven, summary

MOST_REASONS = 5
"""Of a subject, on a screen."""
MOST_SUBJECTS = 20
"""That are not ok, one by one on a screen; above it they are told by problem."""
MOST_UNTESTED = 10
"""Lines on a screen of what is not tested."""
MOST_ROWS = 500
"""Of a Markdown table: platforms that show Markdown refuse long documents."""
SELF_TEST = "self-test: the faults below were put there, and say nothing of the hardware"


def text(validation: Validation) -> str:
    """The verdicts as lines: a summary, then what is not ok, and why; then what was proven."""
    lines = [summary(validation)]
    if validation.self_test:
        lines.append(SELF_TEST)
    reasons = reasons_of(validation.checks)
    late = validation.not_done
    if len(reasons) + len(late) > MOST_SUBJECTS:
        lines += _by_problem(validation)
    else:
        lines += [f"\n{host.host}: {_host(host)}" for host in late]
        lines += _by_subject(reasons, validation.by_subject)
    if told := _proven(validation):
        lines.append(f"\n{told}")
    if untested := not_tested(validation):
        lines.append("\nnot tested:")
        lines += [f"  {what}{_places(count)}" for what, count in untested[:MOST_UNTESTED]]
        if len(untested) > MOST_UNTESTED:
            lines.append(f"  … and {len(untested) - MOST_UNTESTED} more, which reports list")
    if validation.actions:
        lines.append("\nactions:")
        lines += [f"  {_action(action)}" for action in validation.actions]
    return "\n".join(lines) + "\n"


def _by_subject(
    reasons: Mapping[Subject, list[str]], verdicts: Mapping[Subject, Verdict]
) -> list[str]:
    lines = []
    for subject, told in reasons.items():
        lines.append(f"\n{subject}: {verdicts[subject]}")
        lines += [f"  {reason}" for reason in told[:MOST_REASONS]]
        if len(told) > MOST_REASONS:
            lines.append(f"  … and {len(told) - MOST_REASONS} more")
    return lines


def _by_problem(validation: Validation) -> list[str]:
    lines = []
    for problem in problems(validation):
        lines.append(f"\n{problem.verdict}: {problem.what}: {problem.reason}")
        shown = ", ".join(map(str, problem.subjects[:MOST_REASONS]))
        more = len(problem.subjects) - MOST_REASONS
        lines.append(f"  {shown}{f' and {more} more' if more > 0 else ''}")
    return lines


def markdown(validation: Validation) -> str:
    """The verdicts as a Markdown document with a table of subjects and checks.

    Of many subjects only those that are not ok stand in the table.
    """
    parts = ["# Validation", summary(validation)]
    if validation.self_test:
        parts.append(f"**{SELF_TEST}**")
    parts.append(_table(validation))
    late = validation.not_done
    if late:
        parts.append("## Hosts that are not done")
        parts.append("\n".join(f"- {_plain(f'{host.host}: {_host(host)}')}" for host in late))
    for subject, reasons in reasons_of(validation.checks).items():
        listed = "\n".join(f"- {_plain(reason)}" for reason in reasons)
        parts.append(f"## {_plain(str(subject))}\n\n{listed}")
    if told := _proven(validation):
        parts.append(f"## Verified\n\n{_plain(told)}")
    if untested := not_tested(validation):
        listed = "\n".join(f"- {_plain(what)}{_places(count)}" for what, count in untested)
        parts.append(f"## Not tested\n\n{listed}")
    if validation.actions:
        listed = "\n".join(f"- {_plain(_action(action))}" for action in validation.actions)
        parts.append(f"## Actions\n\n{listed}")
    return "\n\n".join(parts) + "\n"


def _table(validation: Validation) -> str:
    by_place: dict[tuple[Subject, str], list[Check]] = {}
    for check in validation.checks:
        by_place.setdefault((check.subject, check.name), []).append(check)
    names = sorted({check.name for check in validation.checks})
    subjects = sorted({check.subject for check in validation.checks})
    left_out = ""
    if len(subjects) > MOST_ROWS:
        verdicts = validation.by_subject
        bad = [subject for subject in subjects if verdicts[subject] != "ok"][:MOST_ROWS]
        left_out = f"\n\n{len(subjects) - len(bad)} more, of {len(subjects)}, are not in the table."
        subjects = bad
    rows = [f"| | {' | '.join(map(_plain, names))} |", f"|---|{'---|' * len(names)}"]
    for subject in subjects:
        cells = [
            verdict_of(by_place[subject, name]) if (subject, name) in by_place else ""
            for name in names
        ]
        rows.append(f"| {_plain(str(subject))} | {' | '.join(cells)} |")
    return "\n".join(rows) + left_out


def reasons_of(checks: Iterable[Check]) -> dict[Subject, list[str]]:
    """Why each subject that is not ok is not, what failed first; the worst subjects first."""
    bad = [check for check in checks if check.verdict != "ok"]
    bad.sort(key=lambda check: (VERDICTS.index(check.verdict), check.subject, check.name))
    found: dict[Subject, list[str]] = {}
    for check in bad:
        action = f" [{check.action}]" if check.action else ""
        found.setdefault(check.subject, []).extend(
            f"{why}{action}" if why.startswith(check.name) else f"{check.name}: {why}{action}"
            for why in check.why
        )
    return found


def _host(host: HostRun) -> str:
    hint = f" ({host.hint})" if host.hint else ""
    return f"{host.status}: {host.message or 'no reason is told'}{hint}"


def _proven(validation: Validation) -> str:
    told = proven(validation)
    if not told.subjects:
        return ""
    upper = told.upper_per_hour
    rate = "nothing is known of their fault rate" if upper is None else (
        f"at most {upper:.3g} faults an hour on those that showed none (95 %)"
    )  # fmt: skip
    return (
        f"verified: {told.products:,} products on {told.subjects} subjects in {told.hours:.3g} "
        f"hours under load, {told.faults} faults; {rate}; the chance to have seen a fault of once "
        f"an hour is {told.least_detection:.0%} at least"
    )


def _action(action: Action) -> str:
    told = f": {action.message}" if action.message else ""
    return f"{action.host}: {action.kind} {'done' if action.done else 'NOT DONE'}{told}"


def _places(count: int) -> str:
    return "" if not count else " (once)" if count == 1 else f" ({count} times)"


def _plain(text: str) -> str:
    """As one line that is no markup: hosts say all sorts of things."""
    line = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|" else char for char in line)
