"""Figures as Markdown tables, and the targets beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.bench.measure import Figures


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a title and perhaps a remark below."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Target:
    """A figure and what it should be. Missing a target fails nothing."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def row(self) -> tuple[str, str, str, str]:
        if self.at_most is not None:
            wanted, met = f"at most {self.at_most:g} {self.unit}", self.value <= self.at_most
        elif self.at_least is not None:
            wanted, met = f"at least {self.at_least:g} {self.unit}", self.value >= self.at_least
        else:
            return (self.name, f"{self.value:.3g} {self.unit}", "flat", "")
        return (self.name, f"{self.value:.3g} {self.unit}", wanted, "met" if met else "missed")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one part found."""

    tables: Sequence[Table]
    targets: Sequence[Target] = field(default=())


def figures_table(title: str, found: Sequence[Figures], *, compared: bool = True) -> Table:
    """Medians, with how many times the first one's wall time each takes."""
    head = ("", "wall, s", "from - to", "controller CPU, s", "peak memory, MiB", "runs")
    rows = []
    for figures in found:
        low, high = figures.spread
        cells = [
            figures.name,
            f"{figures.wall:.2f}",
            f"{low:.2f} - {high:.2f}",
            f"{figures.cpu:.2f}" if figures.cpu else "",
            f"{figures.memory:.0f}" if figures.memory else "",
            str(len(figures.samples)),
        ]
        if compared:
            cells.append(f"{figures.wall / found[0].wall:.1f}")
        rows.append(cells)
    if compared:
        head = (*head, f"times {found[0].name}")
    return Table(title=title, head=head, rows=rows)


def markdown(results: Iterable[Result], conditions: str) -> str:
    """All results as one Markdown document, the targets last."""
    results = list(results)
    targets = [target.row for result in results for target in result.targets]
    tables = [table for result in results for table in result.tables]
    if targets:
        head = ("", "measured", "target", "")
        tables.append(Table(title="Targets", head=head, rows=targets))
    return "\n".join([f"{conditions}\n", *(_table(table) for table in tables)])


def _table(table: Table) -> str:
    rows = [table.head, ["---"] * len(table.head), *table.rows]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    note = f"\n{table.note}\n" if table.note else ""
    return "\n".join([f"### {table.title}\n", *lines, note])
