"""The self-test's score, as text and JSON: what each check was given, and what it saw."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiprov import FORMAT_VERSION
from aiprov.checks.self_test import Outcome, Score


def text(score: Score) -> str:
    """A line a check, what is not as it must be, and the score."""
    names = list(dict.fromkeys(one.check for one in score.outcomes))
    width = max((len(name) for name in names), default=0)
    lines = [f"{'check':<{width}}  faults  red  good ones ok"]
    for name in names:
        own = Score(outcomes=tuple(one for one in score.outcomes if one.check == name))
        good = [one for one in own.outcomes if one.wanted == "ok"]
        ok = f"{sum(one.right for one in good)} of {len(good)}"
        lines.append(f"{name:<{width}}  {own.injected:>6}  {own.red:>3}  {ok}")
    lines += [f"wrong: {_told(one)}" for one in score.wrong]
    return "\n".join([*lines, "", summary(score)]) + "\n"


def summary(score: Score) -> str:
    """One line: the mutation score, and whether anything failed open."""
    share = score.red / score.injected if score.injected else 0.0
    return (
        f"mutation score: {score.red} of {score.injected} faults red ({_percent(share)}), "
        f"{len(score.fail_open)} fail-open, "
        f"{sum(one.wanted == 'ok' and not one.right for one in score.outcomes)} false alarms"
    )


def _percent(share: float) -> str:
    """Never 100 % unless it is."""
    return "100 %" if share == 1 else f"{min(share, 0.999):.1%}".replace("%", " %")


def _told(one: Outcome) -> str:
    return f"{one.check}: {one.fault}: {one.verdict}, must be {one.wanted}"


def document(score: Score) -> dict[str, Any]:
    """As JSON."""
    return {
        "format_version": FORMAT_VERSION,
        "verb": "validate",
        "self_test": True,
        "proven": score.proven,
        "injected": score.injected,
        "red": score.red,
        "fail_open": len(score.fail_open),
        "outcomes": [{**asdict(one), "right": one.right} for one in score.outcomes],
    }
