"""What is to be done: a plan of cells, each one test on one device or on several together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Tuple

FORMAT_VERSION = "1.0"


class PlanError(Exception):
    """The plan cannot be carried out; the message says why."""


def devices_of(text: str) -> Tuple[str, ...]:
    """Each device of a text: ``cuda:0,1`` is ``cuda:0`` and ``cuda:1``."""
    kind, _, numbers = text.partition(":")
    return tuple(f"{kind}:{number}" for number in numbers.split(","))


@dataclass(frozen=True)
class Cell:
    """One test. ``limit_s``: the time after which it is ended.

    ``device``: ``cuda:3`` or ``cpu:3``, which stands for a simulated GPU, or ``cuda:0,1,2,3`` for a
    test on several together. ``seed`` makes operands.
    """

    kind: str
    device: str
    limit_s: float
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def devices(self) -> Tuple[str, ...]:
        """Each of its devices."""
        return devices_of(self.device)

    @property
    def ranked(self) -> bool:
        """Whether a process each of its devices is started, here and on other hosts: a rank."""
        return len(self.devices) > 1 or "rendezvous" in self.parameters

    @property
    def document(self) -> Dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "device": self.device,
            "limit_s": float(self.limit_s),
            "seed": self.seed,
            "parameters": dict(self.parameters),
        }

    @property
    def id(self) -> str:
        """The same for the same test, so that a plan that is made anew goes on where it was."""
        text = json.dumps(self.document, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """Cells in their order. ``stagger_s``: how long after each other devices begin.

    ``self_test``: faults are injected, so nothing in the journal says anything of the hardware.
    ``keep_s``: seconds between the readings of GPUs that the journal keeps at least.
    """

    campaign: str
    cells: Tuple[Cell, ...]
    stagger_s: float = 0.0
    self_test: bool = False
    keep_s: float = 0.0

    @property
    def by_worker(self) -> Dict[Tuple[str, bool], List[Cell]]:
        """The cells of each worker, in their order: by device, and whether they have ranks."""
        found: Dict[Tuple[str, bool], List[Cell]] = {}
        for cell in self.cells:
            found.setdefault((cell.device, cell.ranked), []).append(cell)
        return found


def plan_from(text: str) -> Plan:
    """A plan of JSON. Raises ``PlanError``."""
    try:
        told = json.loads(text)
        major = str(told["format_version"]).partition(".")[0]
        if major != FORMAT_VERSION.partition(".")[0]:
            raise PlanError(f"a plan of format_version {told['format_version']} cannot be read")
        cells = tuple(
            Cell(
                kind=str(item["kind"]),
                device=str(item["device"]),
                limit_s=float(item["limit_s"]),
                seed=int(item.get("seed", 0)),
                parameters=dict(item.get("parameters", {})),
            )
            for item in told["cells"]
        )
        plan = Plan(
            campaign=str(told["campaign"]),
            cells=cells,
            stagger_s=float(told.get("stagger_s", 0.0)),
            self_test=bool(told.get("self_test", False)),
            keep_s=float(told.get("keep_s", 0.0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(f"the plan makes no sense ({type(error).__name__}: {error})") from error
    if len({cell.id for cell in cells}) != len(cells):
        raise PlanError("the plan has a cell twice")
    for cell in cells:
        if len(set(cell.devices)) != len(cell.devices):
            raise PlanError(f"{cell.device} has a device twice")
    if not plan.self_test and any("inject" in cell.parameters for cell in cells):
        raise PlanError("faults are injected in a self-test only")
    return plan
