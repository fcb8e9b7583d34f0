"""What an action is made of: how it is wished, what was decided of a host, what is held, and a way.

Values only, and the protocol that every way of taking hosts out of service has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from aiprov.checks.model import Verdict
from aiprov.errors import UsageError

ActionName = Literal["report", "quarantine", "kubernetes", "slurm"]

Step = Literal[
    "nothing", "restart the application", "update", "reset the GPU", "reboot", "contact support",
    "examine",
]  # fmt: skip
"""What a person does about a finding, in short. ``examine``: nobody's rule says what."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much of a fleet may be out of service by aiprov: a share (0 to 1) or a number of hosts.

    A share is at least one host, so that a small fleet can have an action at all.
    """

    share: float | None = None
    hosts: int | None = None

    @classmethod
    def of(cls, text: str) -> Limit:
        """From ``10%`` or ``3``. Raises ``UsageError`` for anything else."""
        word = text.strip()
        try:
            if word.endswith("%"):
                share = float(word[:-1]) / 100
                if 0 <= share <= 1:
                    return cls(share=share)
            elif int(word) >= 0:
                return cls(hosts=int(word))
        except ValueError:
            pass
        raise UsageError(
            f"{text!r} is no limit of hosts", hint="write a share, 10%, or a number of hosts, 3"
        )

    def most(self, fleet: int) -> int:
        """How many hosts that is in a fleet of this size."""
        if self.hosts is not None:
            return self.hosts
        return max(1, int(self.share * fleet + 1e-9)) if self.share else 0

    def __str__(self) -> str:
        return f"{self.hosts} hosts" if self.share is None else f"{self.share * 100:g} %"


DEFAULT_LIMIT = Limit(share=0.1)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is to follow from a verdict. By itself: a report, and nothing is touched.

    ``on_not_measured``: hosts that could not be judged are acted on like those that failed.
    """

    action: ActionName = "report"
    on_not_measured: bool = False
    limit: Limit = DEFAULT_LIMIT


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What to do about the worst finding. ``name``: of NVIDIA's action in the catalog, or empty."""

    step: Step
    name: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to become of one host that is not ok, and why.

    ``subject``: the part with the worst finding, as people call it. ``reason``: that finding in a
    line; ``findings``: all of them. ``action``: what is to be done, which of a host that was not
    measured is a report. ``refusal``: why the policy's action is not taken; empty: it is.
    ``hint``: the way out of a refusal.
    """

    host: str
    verdict: Verdict
    action: ActionName
    subject: str
    reason: str
    remedy: Remedy
    findings: tuple[str, ...] = ()
    refusal: str = ""
    hint: str = ""

    @property
    def acts(self) -> bool:
        """Whether anything is to be done to the host."""
        return self.action != "report" and not self.refusal


@dataclass(frozen=True, kw_only=True)
class Held:
    """A host that an earlier action took out of service, why, and since when (ISO 8601)."""

    host: str
    reason: str
    since: str = ""
    note: str = ""


class Way(Protocol):
    """One way to take hosts out of service and to give them back.

    Every call raises ``AiprovError`` where it cannot be done, and is done again without harm.
    """

    kind: str
    """What is done, in a word: ``quarantine``, ``cordon``, ``drain``."""

    def held(self) -> Mapping[str, Held]:
        """The hosts that aiprov took out of service, by name."""
        ...

    def take(self, decision: Decision, since: str, campaign: str) -> str:
        """Take a host out of service; what was done, in a line."""
        ...

    def give(self, host: str) -> str:
        """Undo that, and nothing else; what was done, in a line."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
